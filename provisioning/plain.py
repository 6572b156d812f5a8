"""What a node said, as a terminal may show it."""

from __future__ import annotations

import logging

__all__ = ["PlainFormatter", "item", "line", "plain"]


def plain(text: str) -> str:
    """Return text that does nothing to a terminal: what cannot be seen, line ends and tabs aside, is replaced."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def line(text: str) -> str:
    """Return text as one line: what a node says of itself must not look like what we say of another."""
    return plain(" ".join(text.split()))


def item(text: str) -> str:
    """Return text of which only the first line begins at the margin, so that a node's words make no line of ours."""
    first, *more = plain(text).split("\n")
    return "\n".join([first, *(each if each.startswith("  ") else f"  {each}" for each in more)])


class PlainFormatter(logging.Formatter):
    """Writes log records so that they do nothing to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, of which only the first line begins at the margin."""
        return item(super().format(record))
