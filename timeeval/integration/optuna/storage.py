"""Opening the storage of a study, and keeping its secrets out of messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from timeeval.errors import StudyError, TimeEvalError
from timeeval.integration.optuna.config import JOURNAL_FILE, POSTGRESQL
from timeeval.integration.optuna.imported import optuna

_MASK = "***"


def open_storage(given: Any) -> Any:  # noqa: ANN401 - str, function or storage to storage
    """Return the storage that a configuration names.

    Raises
    ------
    ValueError
        If there is none, or it is a word that `OptunaConfiguration.default_storage` alone knows.
    StudyError
        If the storage does not answer; passwords are masked.
    """
    if given is None:
        raise ValueError("The study has no storage: give OptunaStudyConfiguration a storage, or run it by TimeEval.")
    if isinstance(given, str) and given in {JOURNAL_FILE, POSTGRESQL}:
        raise ValueError(
            f"storage={given!r} is unknown for a single study; give a URL or a function, or leave it to the default."
        )
    with guarded(given, "opening the storage of the parameter search"):
        if isinstance(given, str):
            return optuna().storages.get_storage(given)
        return given() if callable(given) else given


@contextlib.contextmanager
def guarded(storage: object, doing: str) -> Iterator[None]:
    """Turn what Optuna, its sampler or its storage raise into one error without secrets."""
    try:
        yield
    except TimeEvalError:
        raise
    except Exception as error:  # noqa: BLE001 - samplers and storages are other people's
        hidden = secrets_of(storage)
        raise StudyError(
            f"{doing} failed: {type(error).__name__}: {masked(str(error), hidden)}",
            remedy="Nothing that was computed is lost: mend the cause and resume the run",
        ) from (None if hidden else error)  # the chained traceback would show what the text hides


def secrets_of(storage: object) -> list[str]:
    """Return the passwords in the URL of a storage, as written and decoded; longest first."""
    url = storage if isinstance(storage, str) else getattr(storage, "url", None)
    if not isinstance(url, str):
        return []
    parts = urlsplit(url)
    found = {value for key, value in parse_qsl(parts.query) if "pass" in key.lower()}
    # up to the last @, as databases read it: a password may hold one itself
    _, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if colon:
        found |= {password, unquote(password)}
    return sorted(filter(None, found), key=len, reverse=True)


def masked(text: str, hidden: list[str]) -> str:
    """Return a text without the given secrets."""
    for secret in hidden:
        text = text.replace(secret, _MASK)
    return text
