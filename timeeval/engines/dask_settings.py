"""What Dask is told in each of its processes, and what a user's `RemoteConfiguration` may say about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timeeval.engines.security import Credentials

DASK_SLACK_SECONDS = 60.0
HEALTH_ONLY = ["distributed.http.health"]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class DaskSettings:
    """How the engine starts and holds its processes.

    Attributes
    ----------
    lease : float
        A node whose driver is silent for so many seconds ends the run's work there.
    linger : float
        A node whose driver hung up, rather than fell silent, waits so many seconds for it to come back.
    takeover : float
        A host of the scheduler that is not reached for so many seconds, while others are, loses that office; never more
        than a quarter of the lease.
    beat, grace, start_seconds : float
        Seconds between two signs of life; that children get to end by themselves; that a host gets to come up.
    back_seconds : float
        Seconds that a lost worker gets to come back before its host counts as lost.
    scheduler_port : int
        0 for any free one.
    worker_ports : str
        "0" for any free one, or a range "30000:30100"; two for each slot.
    scheduler_options, worker_options : Mapping[str, object]
        Further keywords of `distributed.Scheduler` and `distributed.Nanny`.
    environment : Mapping[str, str]
        Environment of all processes, by name; thread counts are 1 unless said otherwise.
    log_file : str
        Absolute path of Dask's log on the nodes ("" for none), the node's name is put before the suffix.
    file_level, console_level : str
        What goes to the log file and to the run folder's log.
    """

    lease: float = 300.0
    linger: float = 10.0
    takeover: float = 30.0
    beat: float = 2.0
    grace: float = 3.0
    start_seconds: float = 60.0
    back_seconds: float = 30.0
    scheduler_port: int = 0
    worker_ports: str = "0"
    scheduler_options: Mapping[str, object] = field(default_factory=dict)
    worker_options: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    log_file: str = ""
    file_level: str = "INFO"
    console_level: str = "INFO"

    @property
    def takeover_seconds(self) -> float:
        """How long a scheduler's host that is not reached keeps its office."""
        return min(self.takeover, self.lease / 4)

    def all_environment(self) -> dict[str, str]:
        """Return the environment of the processes: one thread each unless the user says more."""
        return {**dict.fromkeys(THREAD_VARIABLES, "1"), **self.environment}

    @property
    def threads(self) -> dict[str, str]:
        """Variables by which experiments choose their number of threads."""
        return {name: value for name, value in self.all_environment().items() if name in THREAD_VARIABLES}

    def log_file_on(self, node: str) -> str:
        """Return the path of a node's log file: its name is in it, for the folder may be shared."""
        stem, dot, suffix = self.log_file.rpartition(".")
        return f"{stem}-{node}.{suffix}" if dot and "/" not in suffix else f"{self.log_file}-{node}"

    def logging_config(self, node: str) -> dict[str, Any]:
        """Return the `logging.config.dictConfig` document of the processes on a node."""
        handlers: dict[str, Any] = {
            "stderr": {"class": "logging.StreamHandler", "level": self.console_level.upper(), "formatter": "verbose"}
        }
        if self.log_file:
            handlers["file"] = {
                "class": "logging.FileHandler",
                "filename": self.log_file_on(node),
                "level": self.file_level.upper(),
                "formatter": "verbose",
                "encoding": "utf-8",
                "delay": True,
            }
        levels = [str(handler["level"]) for handler in handlers.values()]
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"verbose": {"format": "%(asctime)s - %(process)d - %(name)s - %(levelname)s - %(message)s"}},
            "handlers": handlers,
            "root": {"level": min(levels, key=logging.getLevelNamesMapping().__getitem__), "handlers": list(handlers)},
        }


def dask_config(credentials: Credentials, environment: Mapping[str, str], lease: float) -> dict[str, Any]:
    """Return the Dask configuration of one role.

    Nothing is tried twice, moved or held back by Dask: whether and where to try again is the journal's decision. And
    nobody counts as dead for Dask before the guards' leases are over: what was computed during a cut comes in after it.
    """
    patience = f"{lease + DASK_SLACK_SECONDS:g}s"
    return {
        "distributed": {
            "comm": {
                "require-encryption": True,
                "default-scheme": "tls",
                "tls": credentials.dask_config(),
                "timeouts": {"connect": "10s", "tcp": patience},
                "retry": {"count": 0},
            },
            "scheduler": {
                "allowed-failures": 0,
                "no-workers-timeout": "20s",
                "worker-ttl": patience,
                "work-stealing": False,
                "worker-saturation": 1.0,
                "idle-timeout": None,
                "active-memory-manager": {"start": False},
                "http": {"routes": HEALTH_ONLY},
            },
            "worker": {
                "http": {"routes": HEALTH_ONLY},
                "profile": {"enabled": False},
                "memory": {"target": False, "spill": False, "pause": False, "terminate": False},
            },
            "nanny": {"pre-spawn-environ": {**environment}, "environ": {}},
            # Dask looks at itself 50 times a second: 2 % of a core for each worker, beside what is measured there.
            "admin": {
                "tick": {"interval": "1s", "cycle": "5s"},
                "system-monitor": {"interval": "5s", "gil": {"enabled": False}, "disk": False},
            },
        }
    }


def scheduler_options(settings: DaskSettings, address: str) -> dict[str, Any]:
    """Return the keywords of the scheduler: bound to the cluster's address, its web server to the loopback."""
    return {
        "dashboard_address": "127.0.0.1:0",
        "dashboard": False,
        **settings.scheduler_options,
        "host": _host(address),
        "port": settings.scheduler_port,
        "protocol": "tls",
    }


def worker_options(settings: DaskSettings, address: str) -> dict[str, Any]:
    """Return the keywords of a nanny."""
    return {
        "nthreads": 1,
        "memory_limit": 0,
        "death_timeout": settings.start_seconds,
        "dashboard_address": "127.0.0.1:0",
        "dashboard": False,
        **settings.worker_options,
        "host": _host(address),
        "port": settings.worker_ports,
        "worker_port": settings.worker_ports,
        "protocol": "tls",
    }


def room_for_more(settings: DaskSettings, slots: int) -> bool:
    """Tell whether a host has ports for other workers while those before them still run."""
    first, _, last = settings.worker_ports.partition(":")
    return first == "0" or int(last or first) - int(first) + 1 >= 4 * slots


def _host(address: str) -> str:
    return f"tls://[{address}]" if ":" in address else f"tls://{address}"
