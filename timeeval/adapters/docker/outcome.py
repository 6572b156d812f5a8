"""What the end of a container means."""

import signal
from dataclasses import dataclass
from typing import Final

from timeeval.errors import (
    DockerAdapterInternalError,
    DockerAlgorithmFailedError,
    DockerMemoryError,
    TimeEvalError,
)


@dataclass(frozen=True, slots=True)
class ContainerExit:
    """How a container ended.

    Parameters
    ----------
    code
        Exit code of its first process.
    oom_killed
        Whether the engine saw the kernel kill one of its processes for memory.
    timed_out
        Whether we stopped it because its time was over.
    error
        What the engine says about it, mostly nothing.
    """

    code: int
    oom_killed: bool = False
    timed_out: bool = False
    error: str = ""


_LOG_HINT = "Please consider log files (execution.log in the result folder of the experiment) for what it said"

KILLED: Final = 137
"""Exit code of a first process that was ended by SIGKILL."""

_CODES = {
    125: "the container engine itself failed to run the command",
    126: "its command 'execute-algorithm' or its entry point is not executable; is it built for this architecture?",
    127: "its command 'execute-algorithm' or its entry point was not found; is this an algorithm image?",
}


def failure_of(end: ContainerExit, image: str, memory_limit: int, host: str) -> TimeEvalError | None:
    """Tell which failure, if any, the end of a container means.

    Parameters
    ----------
    end
        How the container ended by itself, i.e. not stopped by us for time.
    image
        Its image.
    memory_limit
        Bytes it was allowed.
    host
        Name of the host it ran on.

    Returns
    -------
    TimeEvalError or None
        ``None`` for success. Exit code 0 is success even if the kernel killed a child of the algorithm for memory:
        the algorithm coped. Exit code 137 without the engine's word that memory was the cause is somebody else's
        SIGKILL, so the host is to blame.
    """
    if end.code == 0:
        return None
    detail = f" ({end.error})" if end.error else ""
    if end.oom_killed:
        return DockerMemoryError(
            f"The container of {image} exceeded memory limit of {memory_limit} bytes (exit code {end.code}){detail}",
            host=host,
            remedy="Give it more (task_memory_limit or memory_limit_overwrite), run fewer tasks per host, or use a "
            "smaller parameter setting",
        )
    if end.code == KILLED:
        return DockerAdapterInternalError(
            f"The container of {image} was ended by SIGKILL (exit code 137), but not for its memory limit{detail}",
            host=host,
            remedy="An operator, the container engine or the host's own lack of memory did it: look at the engine's "
            "and the kernel's log, then run it again",
        )
    return DockerAlgorithmFailedError(
        f"The container of {image} failed with exit code {end.code}: {_meaning(end.code)}{detail}",
        host=host,
        remedy=_LOG_HINT,
    )


def _meaning(code: int) -> str:
    if code in _CODES:
        return _CODES[code]
    if 128 < code < 128 + signal.NSIG:
        try:
            name = signal.Signals(code - 128).name
        except ValueError:
            return f"ended by signal {code - 128}"
        if name == "SIGILL":
            return "ended by SIGILL: its code needs CPU instructions that this host does not have"
        return f"ended by {name}"
    return "the algorithm reported an error"
