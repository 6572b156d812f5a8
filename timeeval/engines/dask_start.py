"""Bringing Dask up on guards that stand: one scheduler, the workers of all hosts, the client beside the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timeeval.engines.dask_settings import DaskSettings, dask_config, scheduler_options, worker_options
from timeeval.engines.worker_main import versions
from timeeval.errors import EngineError

if TYPE_CHECKING:
    from timeeval.engines.hosts import GuardedHost


async def start_dask(
    guards: Sequence[GuardedHost], preferred: str, run_id: str, settings: DaskSettings
) -> tuple[GuardedHost, dict[str, EngineError]]:
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

    Returns
    -------
    centre : GuardedHost
        Host of the scheduler and the client.
    failures : dict of str to EngineError
        Why a host has no workers, by name.

    Raises
    ------
    EngineError
        If no host could be the scheduler's, or the client did not come up.
    """
    from timeeval.engines.security import Authority

    authority = Authority.make(run_id)
    environment = settings.all_environment()
    failures: dict[str, EngineError] = {}
    candidates = sorted(guards, key=lambda guard: guard.name != preferred)
    for centre in candidates:
        spec = {
            "role": "scheduler",
            "config": dask_config(authority.issue("scheduler"), environment, settings.lease),
            "options": scheduler_options(settings, centre.address),
            "logging": settings.logging_config(centre.name),
        }
        try:
            address = _checked(centre, await centre.spawn("scheduler", spec))["address"]
            break
        except EngineError as error:
            failures[centre.name] = error
    else:
        raise EngineError(
            "no host could run the Dask scheduler:" + "".join(f"\n  {text}" for text in failures.values())
        )

    async def start_workers(guard: GuardedHost) -> None:
        spec = {
            "role": "workers",
            "scheduler": address,
            "slots": guard.host.slot_names(),
            "standing": guard.host.standing,
            "config": dask_config(authority.issue("worker"), environment, settings.lease),
            "options": worker_options(settings, guard.address),
            "logging": settings.logging_config(guard.name),
        }
        try:
            _checked(guard, await guard.spawn("workers", spec))
        except EngineError as error:
            failures[guard.name] = error

    async def start_client() -> None:
        spec = {
            "role": "client",
            "scheduler": address,
            "config": dask_config(authority.issue("client"), environment, settings.lease),
            "logging": settings.logging_config(centre.name),
        }
        await centre.spawn("client", spec)

    workers = [guard for guard in guards if guard.host.slots and guard.name not in failures]
    await asyncio.gather(start_client(), *(start_workers(guard) for guard in workers))
    return centre, failures


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
