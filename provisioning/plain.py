"""What a node said, as a terminal may show it."""

from __future__ import annotations

__all__ = ["plain"]


def plain(text: str) -> str:
    """Return text that does nothing to a terminal: what cannot be seen, line ends and tabs aside, is replaced."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
