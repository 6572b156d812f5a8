"""Errors of `provisioning` in the words of `timeeval`."""

from __future__ import annotations

from provisioning.errors import ProvisionError
from timeeval.errors import TimeEvalError


class Translated:
    """Turns the errors of `provisioning` into those of `timeeval`, with their exit codes as the cause."""

    def __init__(self, kind: type[TimeEvalError]) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ProvisionError):
            raise self._kind(error.message, host=error.host, remedy=error.remedy) from error


def translated(kind: type[TimeEvalError] = TimeEvalError) -> Translated:
    """Let a block raise this kind of error where `provisioning` raises its own."""
    return Translated(kind)
