"""Algorithms that start processes on other hosts by themselves."""

import getpass
import logging
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

from timeeval.adapters.base import Adapter
from timeeval.data_types import AlgorithmParameter, TSFunction
from timeeval.errors import InfrastructureError

_START_SECONDS = 60


class DistributedAdapter(Adapter):
    """Starts a command on other hosts, then runs a function here that works with them.

    Parameters
    ----------
    algorithm
        Called as ``algorithm(data, args)`` on this host, with all arguments of the run.
    remote_command
        Shell command that is started on each host, in a detached ``screen`` session.
    remote_user
        Login name on the hosts.
    remote_hosts
        The hosts.

    .. deprecated:: 1.0
        Let the cluster run the algorithm instead (``timeeval-run --cluster``).
    """

    def __init__(
        self, algorithm: TSFunction, remote_command: str, remote_user: str, remote_hosts: Sequence[str]
    ) -> None:
        warnings.warn(
            "DistributedAdapter is deprecated: run algorithms on a cluster with 'timeeval-run --cluster'.",
            DeprecationWarning,
            stacklevel=2,
        )
        self.algorithm = algorithm
        self.remote_command = remote_command
        self.remote_user = remote_user
        self.remote_hosts = list(remote_hosts)

    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:
        for host in self.remote_hosts:
            self._start(host)
        return self.algorithm(dataset, args)

    def _start(self, host: str) -> None:
        if self.remote_user != getpass.getuser():
            logging.getLogger().warning(
                "The command on %s runs as %s, but this process as %s.", host, self.remote_user, getpass.getuser()
            )
        quoted = self.remote_command.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        script = f'screen -dm bash -c "{quoted}"\n'  # on standard input: the command line of ssh stays constant
        done = subprocess.run(
            ["ssh", "-T", "-o", "BatchMode=yes", "--", f"{self.remote_user}@{host}"],
            check=False,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_START_SECONDS,
        )
        if done.returncode != 0:
            msg = f"The command could not be started (ssh ended with {done.returncode}): {done.stderr.strip()}"
            raise InfrastructureError(msg, host=host, remedy="Can this user log in there, and is 'screen' installed?")
