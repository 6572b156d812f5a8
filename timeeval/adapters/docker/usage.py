"""What containers consumed, as their control groups say at the moment their first process ends.

A container's control group is gone with it, and asking for its state again and again would disturb what is measured.
So one thread sleeps until the kernel tells of the end of the first process (all others of the container have ended by
then) and reads the counters before the engine removes them, which takes it some milliseconds. On a busy host the engine
can be faster: then the latest look before counts, which is never older than a twentieth of the container's life (10 ms
at least, 1 s at most). Such a look costs three reads of open files. What a container consumed that has ended before the
engine said that it runs is unknown, and no figure is made up for it; but one that was killed at its limit of memory had
reached it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

#: How old the latest look may be: this part of the container's life, within these seconds.
_LOOK_SHARE: Final = 0.05
_LOOK_SECONDS: Final = (0.01, 1.0)


@dataclass(frozen=True, slots=True)
class Usage:
    """What containers consumed; None where it is not known.

    Attributes
    ----------
    cpu_seconds : float or None
        CPU time of all their processes.
    peak_memory : int or None
        Largest size of a container's control group in bytes; what the kernel cached of its files counts as well.
    """

    cpu_seconds: float | None = None
    peak_memory: int | None = None

    def then(self, other: Usage) -> Usage:
        """Return what this and a later container consumed; unknown if either is."""
        cpu, peak = (self.cpu_seconds, other.cpu_seconds), (self.peak_memory, other.peak_memory)
        return Usage(
            None if None in cpu else sum(value for value in cpu if value is not None),
            None if None in peak else max(value for value in peak if value is not None),
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """Files of a container's control group.

    Attributes
    ----------
    cpu, memory : Path or None
        CPU time so far, and the high-water mark of memory.
    memory_now : Path or None
        Memory at this moment, where there is no high-water mark.
    kills : Path or None
        How many processes were killed because the limit of memory was reached, in a line ``oom_kill N``.
    """

    cpu: Path | None
    memory: Path | None
    memory_now: Path | None = None
    kills: Path | None = None

    @classmethod
    def of(cls, container: str, memberships: str, mounts: str) -> Counters | None:
        """Find the control group of a container.

        Parameters
        ----------
        container : str
            Its id; a control group without it in its name is somebody else's (the engine may be on another machine,
            where the same process id means another process).
        memberships : str
            ``/proc/PID/cgroup`` of its first process.
        mounts : str
            ``/proc/self/mountinfo``.

        Returns
        -------
        Counters or None
            None if it cannot be seen from here.
        """
        paths = {}
        for line in memberships.splitlines():
            _, controllers, path = line.split(":", 2)
            above, found, rest = path.partition(container)
            if found:
                own = above + found + rest.partition("/")[0]  # it may be divided further inside
                paths.update({(controller or "unified"): own for controller in controllers.split(",")})
        folders = {name: _folder(mounts, name, path) for name, path in paths.items()}
        cpu, memory, unified = (folders.get(name) for name in ("cpuacct", "memory", "unified"))
        if cpu is not None or memory is not None:  # version 1
            mark, kills = (memory and memory / name for name in ("memory.max_usage_in_bytes", "memory.oom_control"))
            return cls(cpu and cpu / "cpuacct.usage", mark, kills=kills)
        if unified is None:
            return None
        mark = unified / "memory.peak"
        peak = mark if mark.exists() else None
        return cls(unified / "cpu.stat", peak, unified / "memory.current", unified / "memory.events")


def _folder(mounts: str, controller: str, path: str) -> Path | None:
    """Return where a control group's files are seen."""
    for line in mounts.splitlines():
        mount, _, file_system = line.partition(" - ")
        kind, _, options = file_system.split(" ", 2)
        root, place = mount.split(" ")[3:5]
        if kind == "cgroup2" if controller == "unified" else kind == "cgroup" and controller in options.split(","):
            with suppress(ValueError):  # this mount shows another part of the tree
                return Path(place) / PurePosixPath(path).relative_to(root)
    return None


class _Meter(threading.Thread):
    """Sleeps until a container ends, and reads its counters then; looks at them now and then before."""

    def __init__(self, pid: int, counters: Counters) -> None:
        super().__init__(name="timeeval-usage", daemon=True)
        self._cpu: float | None = None
        self._peak: int | None = None
        self._end = os.pidfd_open(pid)
        self._stopped = os.eventfd(0, os.EFD_CLOEXEC)
        self._files: dict[str, int] = {}
        self.out_of_memory = False
        for name in ("cpu", "memory", "memory_now", "kills"):
            path: Path | None = getattr(counters, name)
            with suppress(OSError):
                if path is not None:
                    self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._look()

    @property
    def usage(self) -> Usage:
        """What was seen last."""
        return Usage(self._cpu, self._peak)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        least, most = _LOOK_SECONDS
        began = time.monotonic()
        while not poll.poll(1000 * min(max((time.monotonic() - began) * _LOOK_SHARE, least), most)):
            self._look()
        self._look()

    def stop(self) -> None:
        """Read the counters now if the container has not ended, and let go of it."""
        os.eventfd_write(self._stopped, 1)
        self.join()
        for descriptor in (self._end, self._stopped, *self._files.values()):
            os.close(descriptor)

    def _look(self) -> None:
        cpu = self._cpu_seconds()
        if cpu is not None:
            self._cpu = cpu
        memory = self._number("memory" if "memory" in self._files else "memory_now")
        if memory is not None:
            self._peak = max(memory, self._peak or 0)
        self.out_of_memory |= bool(_counter(self._read("kills"), "oom_kill"))

    def _cpu_seconds(self) -> float | None:
        text = self._read("cpu")
        if text is None:
            return None
        if text.isdigit():
            return int(text) / 1e9
        used = _counter(text, "usage_usec")
        return None if used is None else used / 1e6

    def _number(self, name: str) -> int | None:
        text = self._read(name)
        return int(text) if text is not None and text.isdigit() else None

    def _read(self, name: str) -> str | None:
        if name not in self._files:
            return None
        try:
            return os.pread(self._files[name], 4096, 0).decode("ascii").strip()
        except OSError:  # the engine was faster and has removed it
            return None


def _counter(text: str | None, name: str) -> int | None:
    """Return a number of a file whose lines are ``NAME NUMBER``; None where it has no such line."""
    found = next((line for line in (text or "").splitlines() if line.startswith(name + " ")), None)
    return None if found is None else int(found.split()[1])


_ledger: list[Usage] = []


@dataclass(slots=True)
class Kills:
    """What is known of kills when a container has ended.

    Attributes
    ----------
    out_of_memory : bool
        Whether the kernel is seen to have killed a process of it at its limit of memory.
    """

    out_of_memory: bool = False


@contextmanager
def metered(container: str, state: Mapping[str, object]) -> Iterator[Kills]:
    """Note what a container consumes until the end of the context; unknown if it cannot be seen from here.

    Parameters
    ----------
    container : str
        Its id.
    state : mapping
        What the engine says of its state, the id of its first process (``Pid``) included.

    Yields
    ------
    Kills
        Complete when the context has ended.
    """
    meter, kills = _meter(container, state.get("Pid")), Kills()
    try:
        yield kills
    finally:
        if meter is not None:
            meter.stop()
            kills.out_of_memory = meter.out_of_memory
        _ledger.append(Usage() if meter is None else meter.usage)


def _meter(container: str, pid: object) -> _Meter | None:
    if not isinstance(pid, int) or pid <= 0:
        return None
    try:
        memberships = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        counters = Counters.of(container, memberships, mounts)
        meter = None if counters is None else _Meter(pid, counters)
    except (OSError, ValueError):  # it has ended, or is not on this machine
        return None
    if meter is not None:
        meter.start()
    return meter


def reached(limit: int) -> None:
    """Note that the latest container was killed at its limit of memory: so much it had, whatever was seen of it.

    Parameters
    ----------
    limit : int
        Bytes.
    """
    _ledger[-1] = replace(_ledger[-1], peak_memory=max(limit, _ledger[-1].peak_memory or 0))


def taken() -> Usage | None:
    """Return what the containers of this process consumed since this was asked last; None if there were none."""
    usages, _ledger[:] = list(_ledger), []
    if not usages:
        return None
    total = usages[0]
    for usage in usages[1:]:
        total = total.then(usage)
    return total
