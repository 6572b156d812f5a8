"""The way back of results: what experiments wrote on the nodes of a cluster, fetched by proven copies."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError, UnreachableError
from provisioning.transfer.gather import Gathering
from timeeval.cluster.translated import translated
from timeeval.errors import EngineError
from timeeval.run import layout
from timeeval.run.collecting import Brought

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from timeeval.run.collected import Collect

logger = logging.getLogger(__name__)


class ClusterDepot:
    """The folders of one run on the nodes of a cluster.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
        Nodes that are reached in another way than the cluster file says.
    remote : PurePosixPath
        Results folder on the nodes.
    local : Path
        Results folder on the driver.
    logs : mapping of str to str
        Log file of Dask on the nodes that have one, by the node's name.
    """

    def __init__(
        self,
        cluster: Cluster,
        nodes: Sequence[Node],
        remote: PurePosixPath,
        local: Path,
        logs: Mapping[str, str] | None = None,
    ) -> None:
        self.parallel = cluster.limits.uploads
        self._cluster = cluster
        self._nodes = {node.name: node for node in nodes}
        self._remote = remote
        self._local = local
        self._logs = dict(logs or {})
        self._gatherings: dict[tuple[str, PurePosixPath], Gathering] = {}
        self._unreached: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False

    def fetch(
        self, host: str, attempts: Mapping[str, Collection[str]], level: Collect, recorded: Sequence[str]
    ) -> Brought:
        """See `timeeval.run.collecting.Depot.fetch`."""
        with translated(EngineError), self._noticed(host):
            got = self._gathering(host).fetch(
                [layout.attempt_path(attempt) for attempt in attempts],
                only=level.patterns,
                have=[f"{layout.attempt_path(name)}/{file}" for name, files in attempts.items() for file in files],
                drop=[layout.outcome_path(attempt) for attempt in recorded],
            )
        for path in got.other:
            logger.info("%s: %s is no regular file and stays there", host, path)
        names = {layout.attempt_path(attempt): attempt for attempt in attempts}
        return Brought(
            got.files,
            got.size,
            {names[path]: f"{host}: {why}" for path, why in got.failed.items()},
            {names[path]: why for path, why in got.refused.items()},
        )

    def outcomes(self, host: str, attempts: Sequence[str]) -> None:
        """See `timeeval.run.collecting.Depot.outcomes`."""
        with translated(EngineError):
            got = self._gathering(host).fetch([layout.outcome_path(attempt) for attempt in attempts], most=1 << 26)
        if got.failed:
            path, why = next(iter(got.failed.items()))
            raise EngineError(f"{path}: {why}", host=host)

    def logs(self) -> None:
        """Bring Dask's logs, as far as they can be had: no result depends on them, and no lost host is waited for."""
        wanted = {host: PurePosixPath(file) for host, file in self._logs.items() if host not in self._unreached}
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="timeeval-logs") as threads:
            for _ in threads.map(self._log, wanted, wanted.values()):
                pass

    def _log(self, host: str, path: PurePosixPath) -> None:
        try:
            self._gathering(host, path.parent).fetch([path.name])
        except (ProvisionError, EngineError) as error:
            logger.info("A log of Dask was not collected: %s", error)

    def close(self) -> None:
        """See `timeeval.run.collecting.Depot.close`."""
        with self._lock:
            self._closed = True
            gatherings, self._gatherings = list(self._gatherings.values()), {}
        for gathering in gatherings:
            gathering.close()

    @contextlib.contextmanager
    def _noticed(self, host: str) -> Iterator[None]:
        """Notice whether a host is reached."""
        try:
            yield
        except UnreachableError:
            self._unreached.add(host)
            raise
        self._unreached.discard(host)

    def _gathering(self, host: str, remote: PurePosixPath | None = None) -> Gathering:
        remote = remote or self._remote
        with self._lock:
            if self._closed:
                raise EngineError("collecting was stopped", host=host)
            if (host, remote) not in self._gatherings:
                node = self._nodes.get(host) or self._cluster.node(host)
                stage = layout.stage_dir(self._local, host)
                self._gatherings[host, remote] = Gathering(self._cluster, node, remote, self._local, stage)
            return self._gatherings[host, remote]
