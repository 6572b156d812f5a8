"""Secrets in text that people send to each other: made unreadable, the rest left as it is."""

from __future__ import annotations

import re

MASK = "***"

_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ACCOUNT = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s\"'@]+@", re.IGNORECASE)
_WORDS = r"[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|credential)[\w-]*"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'&,;]+)"
_NAMED = re.compile(rf"(?P<name>{_WORDS}[\"']?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
_OPTION = re.compile(rf"(?P<name>--{_WORDS}\s+)(?!-){_VALUE}", re.IGNORECASE)
_SCHEME = r"(?:(?:bearer|basic|token)\s+)?"
_HEADER = re.compile(rf"(?P<name>authorization[\"']?\s*[=:]\s*[\"']?{_SCHEME})[^\s\"',;]+", re.IGNORECASE)


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
        like, and private keys are replaced by ``***``.
    """
    text = _KEY.sub(MASK, text)
    text = _ACCOUNT.sub(rf"\g<scheme>{MASK}@", text)
    text = _HEADER.sub(rf"\g<name>{MASK}", text)
    text = _OPTION.sub(rf"\g<name>{MASK}", text)
    return _NAMED.sub(rf"\g<name>{MASK}", text)
