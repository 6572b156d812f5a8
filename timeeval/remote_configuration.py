"""Which machines a distributed evaluation uses, as a script says it."""

import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from timeeval.resource_constraints import ResourceConstraints

DEFAULT_SCHEDULER_HOST = "localhost"
DEFAULT_DASK_PORT = 8786
DEFAULT_DASK_LOG_FILENAME = "dask.log"


@dataclass
class RemoteConfiguration:
    """Hosts, interpreter and logging of a distributed evaluation.

    Parameters
    ----------
    scheduler_host
        Name or address of the host on which the scheduler runs.
    scheduler_port
        TCP port of the scheduler.
    worker_hosts
        Names or addresses of the hosts on which experiments run.
    remote_python
        Path of the Python interpreter on all hosts.
    kwargs_overwrites
        Options for the cluster that win over those derived from the other fields; dictionaries are merged key by key.
    dask_logging_file_level
        Least level of the messages in the log file.
    dask_logging_console_level
        Least level of the messages on the console.
    dask_logging_filename
        Log file; a relative name lies in the results folder.
    """

    scheduler_host: str = DEFAULT_SCHEDULER_HOST
    scheduler_port: int = DEFAULT_DASK_PORT
    worker_hosts: list[str] = field(default_factory=lambda: ["localhost"])
    remote_python: str = field(default_factory=lambda: sys.executable)
    kwargs_overwrites: dict[str, Any] = field(default_factory=dict)
    dask_logging_file_level: str = "INFO"
    dask_logging_console_level: str = "INFO"
    dask_logging_filename: str = DEFAULT_DASK_LOG_FILENAME
    _moved: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    def update_logging_path(self, results_path: Path) -> None:
        """Put the log file into a results folder.

        Parameters
        ----------
        results_path
            Folder of the run. A second call moves the log file on to the folder of the next run; a file name that was
            absolute from the start stays where it is.
        """
        name = self.dask_logging_filename
        if self._moved is not None and self._moved[1] == name:
            name = self._moved[0]
        moved = str((results_path / name).resolve())
        self._moved = (name, moved)
        self.dask_logging_filename = moved

    def with_logging_path(self, results_path: Path) -> "RemoteConfiguration":
        """Return a copy whose log file lies in a results folder; the object itself stays as the user made it."""
        copy = replace(self)
        copy._moved = self._moved  # noqa: SLF001 - a copy of this very class
        copy.update_logging_path(results_path)
        return copy

    def to_ssh_cluster_kwargs(self, limits: ResourceConstraints) -> dict[str, Any]:
        """Arguments for ``distributed.SSHCluster``.

        Parameters
        ----------
        limits
            Its tasks per host become worker processes, its memory limit theirs.

        Returns
        -------
        dict[str, Any]
            Fresh dictionaries, ``kwargs_overwrites`` merged in key by key.
        """
        arguments: dict[str, Any] = {
            "hosts": [self.scheduler_host, *self.worker_hosts],
            "worker_options": {
                "n_workers": limits.tasks_per_host,
                "nthreads": 1,
                "memory_limit": limits.task_memory_limit or "auto",
            },
            "scheduler_options": {"host": self.scheduler_host, "port": self.scheduler_port},
            "remote_python": self.remote_python,
        }
        return _merge(arguments, self.kwargs_overwrites)

    def get_remote_logging_config(self) -> dict[str, Any]:
        """Return a ``logging.config.dictConfig`` for every host: brief to the console, verbose to the file."""
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "incremental": False,
            "formatters": {
                "brief": {"format": "%(name)s - %(levelname)s - %(message)s"},
                "verbose-file": {"format": "%(asctime)s - %(levelname)s - %(process)d %(name)s - %(message)s"},
            },
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "level": self.dask_logging_console_level.upper(),
                    "formatter": "brief",
                },
                "log_file": {
                    "class": "logging.FileHandler",
                    "level": self.dask_logging_file_level.upper(),
                    "formatter": "verbose-file",
                    "filename": self.dask_logging_filename,
                    "mode": "a",
                },
            },
            "root": {"level": "DEBUG", "handlers": ["stdout", "log_file"]},
        }


def _merge(base: Mapping[str, Any], overwrites: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overwrites.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else deepcopy(value)
    return merged
