"""Secrets in text that people send to each other: made unreadable, the rest left as it is."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence

MASK = "***"

_KEY = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_ACCOUNT = r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s\"'@]+@"
_WORDS = (
    r"[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|cookie)[\w-]*"
    r"|(?:[\w-]*[_-])?(?:pass|pwd)\b(?<!\bPWD)(?<!\bOLDPWD)"
)
# quotes may themselves be escaped: JSON in a string of JSON
_QUOTE = r"\\*[\"']"
_VALUE = rf"(?P<quote>{_QUOTE})(?:(?!(?<!\\)(?P=quote)).)*(?:(?<!\\)(?P=quote)|\Z)"
_BARE = r"(?:[^\s\"'&,;\\]|\\[^\"'])+"
_NAME = rf"(?P<name>(?<![\w-])(?:{_WORDS})(?:{_QUOTE})?\s*[=:]\s*)"
_NAMED = rf"{_NAME}(?:{_VALUE}|{_BARE})"
_OPTION = rf"(?P<name>--(?:{_WORDS})\s+)(?!-)(?:{_VALUE}|{_BARE})"
_SCHEME = r"(?:(?:bearer|basic|token)\s+)?"
_HEADER = rf"(?P<name>authorization(?:{_QUOTE})?\s*[=:]\s*(?:{_QUOTE})?{_SCHEME})[^\s\"',;\\]+"
_SECRET = rf"-*(?:{_WORDS})"
_SIGNS = ("pass", "pwd", "secret", "token", "key", "credential", "cookie", "authorization", "://")
"""None of the expressions finds anything in a text without one of these."""


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # when it is needed: together they take longer to compile than a command takes that has nothing to do
    return re.compile(pattern, re.DOTALL if pattern == _KEY else re.IGNORECASE | re.DOTALL)


def _harmless(text: str) -> bool:
    # only of ASCII it is certain what matches without regard to case
    small = text.lower()
    return text.isascii() and not any(sign in small for sign in _SIGNS)


def mask(text: str) -> str:
    """Return a text without what looks like a secret.

    Parameters
    ----------
    text : str
        A cluster file, a command line, lines of a log.

    Returns
    -------
    str
        Accounts in addresses (``https://user:word@host``), values of what is named password, secret, token and the
        like, and private keys are replaced by ``***``; quotes stay, so that JSON remains JSON.
    """
    if _harmless(text):
        return text
    text = _compiled(_KEY).sub(MASK, text)
    text = _compiled(_ACCOUNT).sub(rf"\g<scheme>{MASK}@", text)
    text = _compiled(_HEADER).sub(rf"\g<name>{MASK}", text)
    text = _compiled(_OPTION).sub(_hidden, text)
    return _compiled(_NAMED).sub(_hidden, text)


def arguments(argv: Sequence[str]) -> list[str]:
    """Return a command's arguments without what looks like a secret.

    Here a value is known by its argument, whatever blanks and quotes are in it.
    """
    shown, secret = [], False
    for argument in argv:
        name, equals, _ = argument.partition("=")
        if secret and not argument.startswith("-"):
            shown.append(MASK)
            secret = False
        elif equals and _is_secret(name):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(mask(argument))
            secret = not equals and argument.startswith("-") and _is_secret(argument)
    return shown


def command_line(argv: Sequence[str]) -> str:
    """Return a command as a shell would read it, without what looks like a secret."""
    return shlex.join(arguments(argv))


def _is_secret(name: str) -> bool:
    return not _harmless(name) and _compiled(_SECRET).fullmatch(name) is not None


def _hidden(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{found['name']}{quote}{MASK}{quote}"
