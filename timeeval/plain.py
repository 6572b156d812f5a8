"""Text from elsewhere as a terminal may show it and a database may store it."""

from __future__ import annotations

MOST = 64 * 1024
ROOM = 60


def plain(text: str, most: int = MOST) -> str:
    """Return a text without what a terminal would obey or no encoding knows, and not longer than bearable.

    Parameters
    ----------
    text : str
        What a node, a container or an algorithm said: it may hold escape sequences, halves of surrogate pairs (names of
        files that are no UTF-8), and be of any length.
    most : int
        So long the answer is at most; what is left out is said in the middle.

    Returns
    -------
    str
        Line ends and tabs stay; every other character that is not printable is written as Python would write it.
    """
    if len(text) <= most and text.isprintable():
        return text
    shown = _shown(text) if len(text) <= 2 * most else _shown(text[:most]) + _shown(text[-most:])
    if len(shown) <= most:
        return shown
    half = (most - ROOM) // 2
    return f"{shown[:half]} … ({len(text) - 2 * half} characters left out) … {shown[-half:]}"


def line(text: str, most: int = MOST) -> str:
    """Return a text as one line, which looks like nothing that is said beside it."""
    return plain(text.strip().replace("\n", " ").replace("\t", " "), most)


def item(text: str, most: int = MOST) -> str:
    """Return a text of which only the first line begins at the margin: what it quotes makes no line of ours."""
    first, *more = plain(text, most).split("\n")
    return "\n".join([first, *(each if each.startswith("  ") else f"  {each}" for each in more)])


def _shown(text: str) -> str:
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text.replace("\r\n", "\n")
    )
