"""Processes below one process: how much memory they hold, and how all of them are ended (Linux)."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator, Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, without itself, parents before children."""
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children(queue.pop())
        found.extend(below)
        queue.extend(below)
    return found


def children(pid: int) -> list[int]:
    """Return the direct children of a process, those of all its threads."""
    return list(_children(pid))


def _children(pid: int) -> Iterator[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - polled: no Path objects
    except OSError:
        return
    for task in tasks:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123
            yield from map(int, file.read().split())


def resident_memory(pid: int, below: Sequence[int] | None = None) -> int:
    """Return the resident memory of a process and everything below it (`below`, where that is known), in bytes."""
    return sum(_resident(process) for process in (pid, *(descendants(pid) if below is None else below)))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # it ended meanwhile


def kill_tree(pid: int) -> None:
    """Kill a child of this process and everything below it; it is not reaped here.

    A stopped process cannot fork, so the tree is stopped from the top before it is killed.
    """
    _signal(pid, signal.SIGSTOP)
    seen: list[int] = []
    while fresh := [process for process in descendants(pid) if process not in seen]:
        for process in fresh:
            _signal(process, signal.SIGSTOP)
        seen.extend(fresh)
    for process in reversed(seen):
        _signal(process, signal.SIGKILL)
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for want of memory since it started; 0 if unknown."""
    try:
        with open("/proc/vmstat", "rb", buffering=0) as file:  # noqa: PTH123 - before each experiment
            text = file.read()
    except OSError:
        return 0
    _, found, rest = text.partition(b"\noom_kill ")
    return int(rest.partition(b"\n")[0]) if found else 0


def oom_kills_lately() -> int:
    """Return `oom_kills` as it was at most a second ago: to be asked before each experiment, however short."""
    return _oom_kills_in(int(time.monotonic()))


def forget_lately() -> None:
    """Let `oom_kills_lately` look anew, because something was killed."""
    _oom_kills_in.cache_clear()


@functools.lru_cache(maxsize=1)
def _oom_kills_in(_second: int) -> int:
    return oom_kills()
