"""What every engine is to the run: it brings hosts, carries attempts there and posts events. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from timeeval.run.model import Attempt, Event

Post = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes to one slot of one host, to be run one after the other.

    Attributes
    ----------
    attempts : tuple of Attempt
        All of one host.
    jobs : tuple of bytes
        Their jobs, in the same order, made by `timeeval.run.packing.Packer`.
    parts : mapping of str to bytes
        What jobs of this run have in common, by the digest by which a job names it; one object for all parcels.
    """

    attempts: tuple[Attempt, ...]
    jobs: tuple[bytes, ...]
    parts: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def whole_jobs(self) -> tuple[bytes, ...]:
        """The jobs with their parts in them, for where parts cannot be had one by one."""
        from timeeval.run.packing import whole

        return tuple(whole(job, self.parts.__getitem__) for job in self.jobs) if self.parts else self.jobs

    @property
    def host(self) -> str:
        """Where it goes."""
        return self.attempts[0].host


class Engine(Protocol):
    """A place where attempts are computed.

    All methods run on the driver's event loop. `post` may be called from that loop only. An engine never retries, never
    moves an attempt and never reports one twice on purpose; what it cannot carry it posts as `Interrupted`.
    """

    name: str
    threads: Mapping[str, str]
    """Variables by which experiments on its hosts choose their number of threads."""

    async def start(self, post: Post) -> None:
        """Bring the hosts up and post `HostUp` for each; raise `timeeval.errors.EngineError` when too few come."""
        ...

    def results_dir(self, results_path: Path) -> Path:
        """Return the folder, identical on every host, below which experiments write what belongs in `results_path`."""
        ...

    async def submit(self, parcel: Parcel) -> None:
        """Send attempts to a slot of their host; return when they are on their way.

        Each is reported the moment it ends. When the slot's process is lost, all that were not reported are posted as
        `Interrupted`.
        """
        ...

    async def cancel(self, attempt_id: str) -> None:
        """End the attempt where it runs and post `Interrupted(cancelled=True)`; no error when it has ended already."""
        ...

    async def stop(self) -> None:
        """End everything this engine started on any host, within a bounded time; safe to call twice."""
        ...
