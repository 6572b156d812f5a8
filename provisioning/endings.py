"""The ways in which a program on a node ends badly, told as errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from provisioning.errors import NodeError, ProvisionError, UnreachableError

__all__ = ["ended_early", "failure", "no_python", "silent"]

log = logging.getLogger(__name__)


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
    message = str(error["message"]) if remedy else f"{program.rpartition('.')[2]} failed: {error['message']}"
    found = NodeError(message, host=host, remedy=remedy, kind=str(error["type"]))
    found.details = "\n".join(part for part in (error.get("traceback"), tail) if part)
    log.debug("%s: %s\n%s", host, message, found.details)
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
