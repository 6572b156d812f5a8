"""The thin engine: the driver sends to every node and fetches from every node itself, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, ProvisionError
from provisioning.launch import open_session
from provisioning.parallel import for_each
from provisioning.transfer.base import MOST, Arrival, Gathered, OnNodeEvent
from provisioning.transfer.gather import CONTROL, Meeting, offered
from provisioning.transfer.rsync import Copier
from provisioning.transfer.spread import deliver

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.manifest import Entry
    from provisioning.resources.base import Parcel

TRIES = 2


class Star:
    """Parallel rsync; see `provisioning.transfer.base.Transfer`.

    Parameters
    ----------
    uploads : int or None
        Nodes that are sent to at a time; ``limits.uploads`` when None.
    bwlimit : int or None
        Bytes per second to each of them.
    """

    def __init__(self, *, uploads: int | None = None, bwlimit: int | None = None) -> None:
        self._uploads = uploads
        self._bwlimit = bwlimit

    def spread(
        self,
        cluster: Cluster,
        parcels: Sequence[Parcel],
        sessions: Mapping[str, Session],
        arrived: Callable[[Arrival], None],
        on_event: OnNodeEvent,
    ) -> None:
        """Bring parcels to the nodes that lack parts of them."""
        receivers = {name for parcel in parcels for name in parcel.missing}
        nodes = [session.node for name, session in sessions.items() if name in receivers]
        copiers = {node.name: Copier(cluster, node, self._bwlimit) for node in nodes}

        def one(node: Node) -> Arrival:
            files = size = 0
            for parcel in parcels:
                if node.name in parcel.missing:
                    count, sent = deliver(
                        sessions[node.name], parcel, copiers[node.name].push, lambda event: on_event(node.name, event)
                    )
                    files, size = files + count, size + sent
            return Arrival(node.name, files, size)

        def note(node: Node, outcome: Arrival | ProvisionError) -> None:
            arrived(Arrival(node.name, error=outcome) if isinstance(outcome, ProvisionError) else outcome)

        try:
            for_each(nodes, one, parallel=self._uploads or cluster.limits.uploads, progress=note)
        finally:
            for copier in copiers.values():
                copier.stop()

    def gather(
        self,
        cluster: Cluster,
        nodes: Sequence[Node],
        remote: PurePosixPath,
        local: Path,
        *,
        most: int = MOST,
        skip: Sequence[str] = (),
        on_event: OnNodeEvent | None = None,
    ) -> dict[str, Gathered | ProvisionError]:
        """Fetch one folder of many nodes into one folder of the driver."""
        request = {"folder": str(remote), "most": most, "skip": [CONTROL, *skip]}
        meeting = Meeting(local, [node.name for node in nodes])
        round_ = _Round(cluster, remote, meeting, request, on_event or (lambda _node, _event: None))
        meeting.open()
        results: dict[str, Gathered | ProvisionError] = {}
        left = list(nodes)
        try:
            for _ in range(TRIES):
                results.update(round_.fetch(left, results))
                left = [node for node in left if isinstance(got := results[node.name], Gathered) and got.pending]
                if not left:
                    break
        finally:
            meeting.close()
            round_.close()
        return results


class _Round:
    """What the tries of one `gather` have in common."""

    def __init__(
        self,
        cluster: Cluster,
        remote: PurePosixPath,
        meeting: Meeting,
        request: Mapping[str, Any],
        on_event: OnNodeEvent,
    ) -> None:
        self.cluster = cluster
        self.remote = remote
        self.meeting = meeting
        self.request = request
        self.on_event = on_event
        self.sessions: dict[str, Session] = {}
        self.copiers: dict[str, Copier] = {}

    def fetch(
        self, nodes: Sequence[Node], before: Mapping[str, Gathered | ProvisionError]
    ) -> dict[str, Gathered | ProvisionError]:
        """Ask what the nodes hold, choose whose files are wanted, fetch and prove them."""
        offers = for_each(nodes, self._offer, parallel=self.cluster.limits.parallel)
        results: dict[str, Gathered | ProvisionError] = {}
        wanted: dict[str, list[Entry]] = {}
        for node in nodes:
            offer = offers[node.name]
            if isinstance(offer, ProvisionError):
                results[node.name] = offer
                continue
            try:
                wanted[node.name], present = self.meeting.choose(node.name, offer["manifest"])
            except ProvisionError as error:
                results[node.name] = error
                continue
            earlier = before.get(node.name)
            files, size = (earlier.files, earlier.size) if isinstance(earlier, Gathered) else (0, 0)
            results[node.name] = Gathered(files, size, present - files, offer["other"], offer["changing"])

        def one(node: Node) -> Gathered:
            seen = results[node.name]
            if isinstance(seen, ProvisionError):
                raise seen
            return self._pull(node, wanted[node.name], seen)

        pulling = [node for node in nodes if wanted.get(node.name)]
        return results | for_each(pulling, one, parallel=self.cluster.limits.uploads)

    def _offer(self, node: Node) -> dict[str, Any]:
        if node.name not in self.sessions:
            self.sessions[node.name] = open_session(self.cluster, node)
        return offered(self.sessions[node.name], self.request, lambda event: self.on_event(node.name, event))

    def _pull(self, node: Node, entries: Sequence[Entry], seen: Gathered) -> Gathered:
        total = sum(entry.size for entry in entries)
        copier = self.copiers.setdefault(node.name, Copier(self.cluster, node))

        def tell(done: int) -> None:
            event = {"title": f"fetch {self.remote}", "done": min(done, total), "total": total, "unit": "B"}
            self.on_event(node.name, event)

        most = int(self.request["most"])
        copier.pull(str(self.remote), [entry.path for entry in entries], self.meeting.stage(node.name), tell, most)
        try:
            placed = [entry for entry in entries if self.meeting.place(node.name, entry)]
        except OSError as error:
            raise NodeError(
                f"what was fetched cannot be placed on this machine: {error}",
                host=node.name,
                remedy=f"see whether {self.meeting.local} can be written to and has room, then run it again",
            ) from error
        pending = tuple(sorted({*seen.pending, *(entry.path for entry in set(entries) - set(placed))}))
        size = sum(entry.size for entry in placed)
        return Gathered(seen.files + len(placed), seen.size + size, seen.present, seen.other, pending)

    def close(self) -> None:
        for copier in self.copiers.values():
            copier.stop()
        for session in self.sessions.values():
            session.close()
