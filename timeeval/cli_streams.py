"""The standard streams of a command: there may be none, nobody may read them, their disk may be full."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from timeeval.plain import item

UNSAID = 4
LONGEST_RECORD = 1 << 20


class PlainFormatter(logging.Formatter):
    """Writes log records so that they do nothing to a terminal, whatever node they quote."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, of which only the first line begins at the margin."""
        return item(super().format(record), LONGEST_RECORD)


def told(error: Exception | str) -> str:
    """Return an error as a terminal shows it: what it quotes stays off the margin, where our own remedy may stand."""
    text, remedy = str(error), getattr(error, "remedy", None)
    if remedy and "\n" not in remedy and text.endswith(f"\n{remedy}"):
        return f"{item(text.removesuffix(remedy).rstrip())}\n{remedy}"
    return item(text)


@contextlib.contextmanager
def standard_streams(command: str) -> Iterator[None]:
    """Give a command standard streams that can be written to, and end it in one line where they cannot any more.

    A descriptor that is missing would be given to the next file that is opened, and be written to by whoever prints.
    """
    _fill()
    code: str | int | None = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    except OSError as error:
        code = _unsaid(command, error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _unsaid(command, error)
        _away()
    sys.exit(code)


def _fill() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _unsaid(command: str, error: OSError) -> int:
    if not isinstance(error, BrokenPipeError):  # who does not read on knows it
        sys.stderr.write(f"{command}: its output could not be written: {error.strerror}\n")
    return UNSAID


def _away() -> None:
    """Let what is still in the buffer go nowhere: Python would try once more at its end, and complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
