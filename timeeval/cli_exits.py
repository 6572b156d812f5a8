"""What the exit codes of ``timeeval-run`` and ``timeeval-results`` mean."""

from __future__ import annotations

from enum import IntFlag


class Exit(IntFlag):
    """What the exit codes mean, the same for all commands of this project."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    FAILED = 4
    UNREACHABLE = 8
    NOT_VERIFIED = 16
    LOCKED = 32
    NOT_OK = 64


def code_of(error: BaseException) -> int:
    """Return the exit code of an error: its own, the one of what caused it, or that of its class."""
    from timeeval import errors

    link: BaseException | None = error
    while link is not None:
        own = getattr(link, "exit_code", None)
        if isinstance(own, int):
            return own
        link = link.__cause__
    if isinstance(error, errors.JournalError) and isinstance(error.__cause__, BlockingIOError):
        return Exit.LOCKED
    return Exit.UNREACHABLE if isinstance(error, errors.EngineError) else Exit.USAGE
