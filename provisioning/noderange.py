"""Node names as people write them: `node[01-07,09].lab`, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

from provisioning.errors import UsageError

__all__ = ["expand", "fold", "split"]

LARGEST = 65536
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_NUMBER = re.compile(r"([0-9]+)")

_Part = str | frozenset[str]


def split(text: str) -> list[str]:
    """Cut a list of patterns at the commas that stand outside of brackets.

    Parameters
    ----------
    text : str
        Such as ``"node[01-03,07],gpu1"``.

    Returns
    -------
    list of str
        Such as ``["node[01-03,07]", "gpu1"]``; blanks around a pattern are dropped, empty ones too.
    """
    return [part for part in (part.strip() for part in re.split(r",(?![^\[]*\])", text)) if part]


def expand(pattern: str) -> list[str]:
    """Names that a pattern stands for, in the order in which it is written.

    Parameters
    ----------
    pattern : str
        A name, or one with any number of ranges in brackets (``rack[1-2]n[01-08,12]``), or several with commas between.
        A first number with leading zeros sets the width.

    Returns
    -------
    list of str

    Raises
    ------
    UsageError
        When a bracket holds anything but numbers and ranges, or the pattern stands for more than 65,536 names.
    """
    names: list[str] = []
    for part in split(pattern):
        names.extend(_expand_one(part))
    return names


def _expand_one(pattern: str) -> list[str]:
    pieces = _BRACKETS.split(pattern)
    if any("[" in text or "]" in text for text in pieces[::2]):
        raise UsageError(f"brackets of '{pattern}' do not match", remedy="write ranges like node[01-16].lab")
    choices: list[list[str]] = []
    count = 1
    for position, piece in enumerate(pieces):
        choices.append(_numbers(piece, pattern) if position % 2 else [piece])
        count *= len(choices[-1])
        if count > LARGEST:
            raise UsageError(f"'{pattern}' stands for more than {LARGEST} names", remedy="write a smaller range")
    return ["".join(choice) for choice in product(*choices)]


def _numbers(text: str, pattern: str) -> list[str]:
    numbers: list[str] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise UsageError(
                f"'{item}' in '{pattern}' is neither a number nor a range", remedy="write ranges like node[01-16].lab"
            )
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise UsageError(f"the range '{item}' in '{pattern}' runs backwards", remedy=f"write {last}-{first}")
        if int(last) - int(first) >= LARGEST:
            raise UsageError(f"'{pattern}' stands for more than {LARGEST} names", remedy="write a smaller range")
        width = len(first) if first.startswith("0") else 0
        numbers.extend(str(number).zfill(width) for number in range(int(first), int(last) + 1))
    return numbers


def fold(names: Iterable[str]) -> str:
    """Shortest pattern for some names: what `expand` makes of it is the same set of names.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    str
        Such as ``"gpu1,node[01-07,09].lab"``; empty for no names.
    """
    rows: list[tuple[_Part, ...]] = [tuple(_NUMBER.split(name)) for name in dict.fromkeys(names)]
    longest = max((len(row) for row in rows), default=0)
    # Numbers stand at the odd positions; the last one counts nodes more often than those before it.
    for position in range(longest - 1 - longest % 2, 0, -2):
        rows = _merge(rows, position)
    return ",".join("".join(part if isinstance(part, str) else _ranges(part) for part in row) for row in rows)


def _merge(rows: Sequence[tuple[_Part, ...]], position: int) -> list[tuple[_Part, ...]]:
    groups: dict[tuple[object, ...], set[str]] = {}
    order: list[tuple[tuple[object, ...], tuple[_Part, ...]]] = []
    for row in rows:
        key: tuple[object, ...] = (len(row), *row[:position], *row[position + 1 :])
        if len(row) <= position:
            key = row
        if key not in groups:
            order.append((key, row))
        groups.setdefault(key, set()).update([str(row[position])] if len(row) > position else [])
    return [
        row if len(row) <= position else (*row[:position], frozenset(groups[key]), *row[position + 1 :])
        for key, row in order
    ]


def _ranges(numbers: frozenset[str]) -> str:
    if len(numbers) == 1:
        return next(iter(numbers))
    padded = {len(number) for number in numbers if number.startswith("0") and len(number) > 1}
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda text: (len(text) if len(text) in padded else 0, int(text))):
        before = runs[-1][-1] if runs else None
        same = before is not None and (len(number) == len(before) or not padded & {len(number), len(before)})
        if before is not None and same and int(number) == int(before) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"[{','.join(texts)}]"
