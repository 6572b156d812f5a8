"""The ways in which a program on a node ends badly, told as errors."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from provisioning.errors import NodeError, ProvisionError, UnreachableError

__all__ = ["NONSENSE", "ended_early", "failure", "no_python", "senseless", "silent", "understood"]

log = logging.getLogger(__name__)

NONSENSE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What reading an answer raises that is not what was agreed."""


def failure(error: Mapping[str, Any], host: str, program: str, tail: str) -> NodeError:
    """Make the driver's error of what a program raised on a node.

    Parameters
    ----------
    error : mapping
        ``type``, ``message``, ``remedy`` and ``traceback`` as the bootstrap sends them.
    host, program : str
    tail : str
        End of the program's standard error.

    Returns
    -------
    NodeError
        Its `kind` is the name of the exception's class.
    """
    remedy = error.get("remedy")
    text = str(error.get("message", "it does not say why"))
    message = text if remedy else f"{program.rpartition('.')[2]} failed: {text}"
    found = NodeError(message, host=host, remedy=str(remedy) if remedy else None, kind=str(error.get("type", "")))
    found.details = "\n".join(str(part) for part in (error.get("traceback"), tail) if part)
    log.debug("%s: %s\n%s", host, message, found.details)
    return found


def understood(
    message: Mapping[str, Any], host: str, program: str, tail: Callable[[], str]
) -> tuple[str, dict[str, Any]]:
    """Take a program's message apart.

    Parameters
    ----------
    message : mapping
    host, program : str
    tail : callable
        Waits for the end of the program's standard error, and returns its last lines.

    Returns
    -------
    tuple of (str, dict)
        ``"event"`` or ``"result"``, and what it holds.

    Raises
    ------
    NodeError
        When the program raised, or says what is none of these.
    """
    kind = next((kind for kind in ("event", "error", "result") if kind in message), "")
    said = message.get(kind)
    if not isinstance(said, dict):
        raise senseless(host, dict(list(message.items())[:3]), program=program)
    if kind == "error":
        raise failure(said, host, program, tail())
    return kind, said


def senseless(host: str, error: object, *, program: str = "its agent") -> NodeError:
    """Make the error of an answer that is not what was agreed."""
    remedy = "see whether that machine is well, and whose it is"
    found = NodeError(f"{program} said what makes no sense: {error!r}", host=host, remedy=remedy)
    if isinstance(error, Exception):
        found.details = "".join(traceback.format_exception(error))
    return found


def ended_early(host: str, program: str, *, status: int | None, noise: str, tail: str) -> ProvisionError:
    """Make the error of a line that ended before the result came."""
    said = " ".join((noise + " " + tail).replace("\0", " ").split())[-500:]
    if status is None:
        lost = UnreachableError(
            f"the connection was lost while {program} ran", host=host, remedy="run the command again"
        )
        lost.details = said
        return lost
    what = f"{program} ended with status {status}" if not noise else f"its login shell ended with status {status}"
    return NodeError(f"{what}{': ' + said if said else ''}", host=host, remedy="look at the machine, then run it again")


def no_python(host: str) -> NodeError:
    """Make the error of a node on which nothing can run."""
    return NodeError(
        "there is no Python 3.8 or later in the usual places or on the PATH of its login shell",
        host=host,
        remedy="install python3 there",
    )


def silent(host: str, program: str, seconds: float) -> NodeError:
    """Make the error of a program that said nothing for too long."""
    return NodeError(
        f"{program} said nothing for {seconds:g} s and was ended",
        host=host,
        remedy="see whether the machine is overloaded or a file system hangs, or raise limits.command_timeout",
    )
