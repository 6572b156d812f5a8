"""What a script's `RemoteConfiguration` says to the Dask engine, and what it may not say.

Everything keeps the meaning it has for ``distributed.SSHCluster``, but nothing weakens what protects the run: strict
host keys, TLS with the run's own certificates, sockets bound to the cluster's address, pages on the loopback only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from timeeval.errors import EngineError

if TYPE_CHECKING:
    from timeeval.engines.dask_settings import DaskSettings
    from timeeval.remote_configuration import RemoteConfiguration

DEFAULT_PORT = 8786
CONNECTION_KEYS = {"username": "user", "port": "port", "client_keys": "key"}
OVERRULED = frozenset(
    {"security", "protocol", "host", "interface", "listen_address", "contact_address", "preload_nanny_security", "tls"}
)
OURS = frozenset(
    {"name", "scheduler_ip", "scheduler_port", "scheduler_file", "nanny", "loop", "asynchronous", "local_directory"}
)
DOORS = frozenset({"jupyter", "services", "service_kwargs"})
"""What opens a page or a server of its own, in which whoever is on that host could run code as this user."""
GUARDED_CONFIG = ("distributed.comm", "distributed.scheduler.http", "distributed.worker.http")
LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a script wants of the engine.

    Attributes
    ----------
    settings : DaskSettings
        The given settings with the script's options.
    slots : int or None
        Workers per host (``n_workers``, which older versions of Dask called ``nprocs``).
    connection : Mapping[str, object]
        ``user``, ``port`` and ``key`` for SSH, where the script names them.
    warnings : tuple of str
        One for each option that was overruled.
    """

    settings: DaskSettings
    slots: int | None = None
    connection: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def wishes_of(remote: RemoteConfiguration, settings: DaskSettings) -> Wishes:
    """Read a script's configuration.

    Parameters
    ----------
    remote : RemoteConfiguration
        As the script made it, its log file's path made absolute.
    settings : DaskSettings
        What the cluster file and the command line say.

    Raises
    ------
    EngineError
        If an option contradicts the cluster file or is no JSON value.
    """
    given = dict(remote.kwargs_overwrites)
    warnings: list[str] = []
    connection = _connection(given.pop("connect_options", None) or {}, warnings)
    worker = dict(given.pop("worker_options", None) or {})
    scheduler = dict(given.pop("scheduler_options", None) or {})
    if "remote_python" in given:
        raise EngineError(
            f"the interpreter is {given['remote_python']!r} in kwargs_overwrites, but [environment] names it too",
            remedy="Remove it from the script: it is PREFIX/bin/python of the cluster file",
        )
    worker_class = given.pop("worker_class", worker.pop("worker_class", None))
    if worker_class is not None:
        warnings.append(_overruled('kwargs_overwrites["worker_class"]', "every worker is guarded by a nanny"))
    why = "the run has its own TLS and its own start"
    warnings += [_overruled(f'kwargs_overwrites["{key}"]', why) for key in given if key != "hosts"]
    slots = _slots(worker)
    port = scheduler.pop("port", remote.scheduler_port)
    if not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise EngineError(f"the script wants the scheduler at port {port!r}, which is no number of a port")
    worker = _allowed("worker_options", worker, warnings)
    scheduler = _allowed("scheduler_options", scheduler, warnings)
    if port not in {DEFAULT_PORT, 0, settings.scheduler_port}:
        if settings.scheduler_port:
            raise EngineError(
                f"the script wants the scheduler at port {port}, the cluster file at {settings.scheduler_port}",
                remedy="Remove one of them",
            )
        settings = replace(settings, scheduler_port=int(port))
    settings = replace(
        settings,
        worker_options={**settings.worker_options, **worker},
        scheduler_options={**settings.scheduler_options, **scheduler},
        file_level=remote.dask_logging_file_level,
        console_level=remote.dask_logging_console_level,
    )
    return Wishes(settings, slots, connection, tuple(warnings))


def _connection(options: object, warnings: list[str]) -> dict[str, object]:
    if not isinstance(options, Mapping):
        raise EngineError(
            'kwargs_overwrites["connect_options"] holds one entry per host, which a cluster file says better',
            remedy='Put user, port and key under [host."NAME"] in cluster.toml',
        )
    connection: dict[str, object] = {}
    for key, value in options.items():
        if key in CONNECTION_KEYS:
            first = value[0] if key == "client_keys" and isinstance(value, list | tuple) and value else value
            connection[CONNECTION_KEYS[key]] = first
        else:
            why = "host keys are strict" if key == "known_hosts" else "cluster.toml and the ssh configuration say it"
            warnings.append(_overruled(f'kwargs_overwrites["connect_options"]["{key}"]', why))
    return connection


def _slots(worker: dict[str, Any]) -> int | None:
    given = [worker.pop(key) for key in ("nprocs", "n_workers") if key in worker]
    if not given:
        return None
    if not isinstance(given[-1], int) or given[-1] < 1:
        raise EngineError(
            f'kwargs_overwrites["worker_options"] wants {given[-1]!r} workers per host, not a number from 1'
        )
    return given[-1]


def _allowed(name: str, options: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    kept = {}
    for key, value in options.items():
        place = f'kwargs_overwrites["{name}"]["{key}"]'
        if key in OVERRULED:
            warnings.append(_overruled(place, "everything listens on the cluster's address, with TLS of the run's own"))
        elif key in DOORS:
            warnings.append(_overruled(place, "whoever is on that host could enter by it"))
        elif key == "config":
            kept[key] = _config(place, value, warnings)
        elif key == "dashboard_address" and not str(value).startswith(LOOPBACK):
            warnings.append(_overruled(place, "pages are served on 127.0.0.1 only"))
        elif key in OURS:
            warnings.append(_overruled(place, "the engine sets it"))
        else:
            try:
                json.dumps(value)
            except (TypeError, ValueError):
                raise EngineError(
                    f"{place} is {type(value).__name__}, which cannot be sent to a host", remedy="Use plain values"
                ) from None
            kept[key] = value
    return kept


def _config(place: str, value: object, warnings: list[str]) -> dict[str, Any]:
    """Return Dask's own configuration without what opens or unlocks a door of the run."""
    kept = {}
    for key, setting in _flat(value):
        if key.replace("_", "-").lower().startswith(GUARDED_CONFIG):
            warnings.append(_overruled(f'{place}["{key}"]', "connections, their TLS and their pages are the run's own"))
        else:
            kept[key] = setting
    return kept


def _flat(value: object, above: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping) or (above and not value):
        yield above, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{above}.{key}" if above else str(key))


def _overruled(place: str, why: str) -> str:
    return f"{place} has no effect: {why}"
