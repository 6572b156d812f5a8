"""What a node said, as a terminal may show it."""

from __future__ import annotations

import logging

__all__ = ["PlainFormatter", "plain"]


def plain(text: str) -> str:
    """Return text that does nothing to a terminal: what cannot be seen, line ends and tabs aside, is replaced."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


class PlainFormatter(logging.Formatter):
    """Writes log records so that they do nothing to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return plain(super().format(record))
