"""Bringing Dask up on guards that stand: one scheduler, the workers of all hosts, the client beside the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeeval.engines.dask_settings import DaskSettings, dask_config, scheduler_options, worker_options
from timeeval.engines.worker_main import versions
from timeeval.errors import EngineError

if TYPE_CHECKING:
    from timeeval.engines.hosts import GuardedHost


@dataclass(frozen=True, slots=True)
class Names:
    """What the guards call the processes of one Dask; another one of the same run has other names."""

    scheduler: str
    workers: str
    client: str

    @classmethod
    def of(cls, number: int) -> Names:
        """Return the names of the n-th Dask of a run."""
        suffix = "" if number == 1 else f"-{number}"
        return cls(f"scheduler{suffix}", f"workers{suffix}", f"client{suffix}")


@dataclass(frozen=True, slots=True)
class Dask:
    """One Dask that is up.

    Attributes
    ----------
    centre : GuardedHost
        Host of the scheduler and the client.
    failures : dict of str to EngineError
        Why a host has no workers, by name.
    worker_spec : callable
        Gives how workers are started, for a guard; with credentials of their own.
    """

    names: Names
    centre: GuardedHost
    failures: dict[str, EngineError]
    worker_spec: Callable[[GuardedHost], dict[str, Any]]

    def way(self) -> Callable[[dict[str, Any]], None] | None:
        """Return what speaks to the client; None while its host is not reached."""
        centre = self.centre
        return (lambda message: centre.tell(self.names.client, message)) if centre.ready and centre.reached else None


async def start_dask(
    guards: Sequence[GuardedHost], preferred: str, run_id: str, settings: DaskSettings, names: Names
) -> Dask:
    """Start all roles, with certificates that only they have.

    Parameters
    ----------
    guards : sequence of GuardedHost
        The hosts.
    preferred : str
        Where the scheduler should run; another host takes its place when it cannot.
    run_id : str
        Names the certificate authority.
    settings : DaskSettings
        Options of the roles.
    names : Names
        What the guards call the processes.

    Raises
    ------
    EngineError
        If no host could be the scheduler's, or the client did not come up.
    """
    from timeeval.engines.security import Authority

    authority = Authority.make(run_id)
    environment = settings.all_environment()
    failures: dict[str, EngineError] = {}
    for centre in sorted(guards, key=lambda guard: guard.name != preferred):
        spec = {
            "role": "scheduler",
            "config": dask_config(authority.issue("scheduler"), environment, settings.lease),
            "options": scheduler_options(settings, centre.address),
            "logging": settings.logging_config(centre.name),
        }
        try:
            address = _checked(centre, await centre.spawn(names.scheduler, spec))["address"]
            break
        except EngineError as error:
            failures[centre.name] = error
    else:
        raise EngineError(
            "no host could run the Dask scheduler:" + "".join(f"\n  {text}" for text in failures.values())
        )

    def worker_spec(guard: GuardedHost) -> dict[str, Any]:
        return {
            "role": "workers",
            "child": names.workers,
            "scheduler": address,
            "slots": guard.host.slot_names(),
            "standing": guard.host.standing,
            "config": dask_config(authority.issue("worker"), environment, settings.lease),
            "options": worker_options(settings, guard.address),
            "logging": settings.logging_config(guard.name),
        }

    async def start_workers(guard: GuardedHost) -> None:
        try:
            _checked(guard, await guard.spawn(names.workers, worker_spec(guard)))
        except EngineError as error:
            failures[guard.name] = error

    async def start_client() -> None:
        spec = {
            "role": "client",
            "scheduler": address,
            "config": dask_config(authority.issue("client"), environment, settings.lease),
            "logging": settings.logging_config(centre.name),
        }
        await centre.spawn(names.client, spec)

    workers = [guard for guard in guards if guard.host.slots and guard.name not in failures]
    await asyncio.gather(start_client(), *(start_workers(guard) for guard in workers))
    return Dask(names, centre, failures, worker_spec)


def _checked(guard: GuardedHost, message: Mapping[str, Any]) -> Mapping[str, Any]:
    here, there = versions(), message["versions"]
    differing = [f"{name} {there.get(name)} there, {here[name]} here" for name in here if here[name] != there.get(name)]
    if differing:
        raise EngineError(
            f"its environment differs from the driver's: {', '.join(differing)}",
            host=guard.name,
            remedy="Run `timeeval-provision create-envs`.",
        )
    guard.versions = dict(there)
    return message
