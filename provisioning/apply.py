"""Make changes on nodes: bring what has to travel, then let each place settle on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, ProvisionError
from provisioning.locks import Held, beside, hold, let_go, within
from provisioning.parallel import for_each, guarded, together
from provisioning.places import leaders
from provisioning.resources.base import Task, Work

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Conversation, Session
    from provisioning.resources.base import Difference, Parcel, Resource
    from provisioning.transfer.base import Arrival, OnNodeEvent, Transfer

Differences = Mapping[str, Mapping[str, "Difference"]]


class Wave:
    """One application of differences to nodes.

    Nodes that share a place have one leader there: it alone receives and settles; the others wait for it.

    Parameters
    ----------
    cluster : Cluster
    resources : sequence of Resource
        In the order in which they settle.
    desired : mapping
        Resource name -> what it wants.
    sessions : mapping of str to Session
    on_event : callable

    Attributes
    ----------
    errors : dict
        Resource name -> why the driver has nothing to bring; the resource was not changed anywhere.
    """

    def __init__(
        self,
        cluster: Cluster,
        resources: Sequence[Resource[Any]],
        desired: Mapping[str, Any],
        sessions: Mapping[str, Session],
        on_event: OnNodeEvent,
    ) -> None:
        self.cluster = cluster
        self.resources = resources
        self.desired = desired
        self.sessions = sessions
        self.on_event = on_event
        self.errors: dict[str, ProvisionError] = {}
        self._failed: dict[str, ProvisionError] = {}
        self._leaders: dict[tuple[str, str], str] = {}
        self._held: dict[str, Held] = {}

    def run(
        self, stack: ExitStack, nodes: Sequence[Node], differences: Differences, transfer: Transfer
    ) -> dict[str, ProvisionError]:
        """Make the changes.

        Parameters
        ----------
        stack : ExitStack
            Keeps the locks; closing it frees them.
        nodes : sequence of Node
        differences : mapping
            Node name -> resource name -> what can be changed there.
        transfer : Transfer

        Returns
        -------
        dict
            Node name -> why its changes were not all made.
        """
        parcels = self._parcels(differences)
        changed = {name for each in differences.values() for name in each}
        locks = {str(parcel.target): within(parcel.target) for parcel in parcels}
        for resource in self.resources:
            if resource.name in changed:
                locks |= {str(folder): beside(folder) for folder in resource.folders(self.cluster)}
        lines: dict[str, Conversation] = {}
        stack.callback(lambda: together(partial(let_go, line) for line in lines.values()))
        self._leaders, self._failed = leaders(self.cluster, nodes, self.sessions, locks, lines)
        self._lock(stack, [node for node in nodes if node.name not in self._failed], locks, lines)
        parcels = [self._led(parcel) for parcel in parcels]
        self._carry(nodes, differences, [parcel for parcel in parcels if parcel.missing], transfer)
        return self._failed

    def _parcels(self, differences: Differences) -> list[Parcel]:
        parcels: list[Parcel] = []
        for resource in self.resources:
            own = {node: each[resource.name] for node, each in differences.items() if resource.name in each}
            if not own:
                continue
            try:
                parcels += resource.bring(Work(self.cluster, self.desired[resource.name], own))
            except ProvisionError as error:
                self.errors[resource.name] = error
        return parcels

    def _leads(self, node: str, path: str) -> bool:
        return self._leaders.get((node, path)) == node

    def _led(self, parcel: Parcel) -> Parcel:
        missing = {
            node: paths
            for node, paths in parcel.missing.items()
            if self._leads(node, str(parcel.target)) and node not in self._failed
        }
        return replace(parcel, missing=missing)

    def _lock(
        self,
        stack: ExitStack,
        nodes: Sequence[Node],
        locks: Mapping[str, PurePosixPath],
        lines: Mapping[str, Conversation],
    ) -> None:
        def one(node: Node) -> None:
            held = {folder: file for folder, file in locks.items() if self._leads(node.name, folder)}
            if held:
                session = self.sessions[node.name]
                session.held = self._held[node.name] = hold(stack, session, held, lines.get(node.name))
                stack.callback(setattr, session, "held", None)

        for name, outcome in for_each(nodes, one, parallel=self.cluster.limits.parallel).items():
            if isinstance(outcome, ProvisionError):
                self._failed[name] = outcome
        stack.callback(lambda: together(held.free for held in self._held.values()))

    def _carry(
        self, nodes: Sequence[Node], differences: Differences, parcels: Sequence[Parcel], transfer: Transfer
    ) -> None:
        """Send the parcels; a node settles as soon as its own have arrived, and followers after their leaders."""
        receivers = {node for parcel in parcels for node in parcel.missing}
        followers = [node.name for node in nodes if self._follows(node.name)]
        with ThreadPoolExecutor(self.cluster.limits.parallel) as pool:
            running: dict[str, Future[ProvisionError | None]] = {}
            work = {node.name: node for node in nodes}

            def one(node: Node) -> None:
                self._settle(node, differences[node.name])

            def settle(names: Iterable[str]) -> None:
                running.update({name: pool.submit(guarded, one, work[name]) for name in names})

            def arrived(arrival: Arrival) -> None:
                if arrival.error is not None:
                    self._failed[arrival.node] = arrival.error
                elif arrival.node not in followers:
                    settle([arrival.node])

            try:
                settle(work.keys() - receivers - set(followers) - self._failed.keys())
                if receivers:
                    transfer.spread(self.cluster, parcels, self.sessions, arrived, self.on_event)
                self._finish(running)
                settle(name for name in followers if self._may_follow(name))
                self._finish(running)
            except BaseException:
                # the threads wait for their nodes, and the pool for its threads; without a connection they end at once
                for session in self.sessions.values():
                    session.close()
                raise

    def _finish(self, running: dict[str, Future[ProvisionError | None]]) -> None:
        for name, future in running.items():
            if (error := future.result()) is not None:
                self._failed[name] = error
        running.clear()

    def _follows(self, name: str) -> bool:
        return any(node == name and leader != name for (node, _), leader in self._leaders.items())

    def _may_follow(self, name: str) -> bool:
        for (node, path), leader in self._leaders.items():
            if node == name and leader in self._failed and name not in self._failed:
                self._failed[name] = NodeError(
                    f"{path} is the same place as on {leader}, which failed",
                    host=name,
                    remedy=f"mend {leader} first, then run the command again",
                )
        return name not in self._failed

    def _settle(self, node: Node, differences: Mapping[str, Difference]) -> None:
        def tell(event: dict[str, Any]) -> None:
            self.on_event(node.name, event)

        for resource in self.resources:
            difference = differences.get(resource.name)
            folders = [str(folder) for folder in resource.folders(self.cluster)]
            if difference is None or resource.name in self.errors:
                continue
            if all(self._leads(node.name, folder) for folder in folders):
                if node.name in self._held:
                    self._held[node.name].check()
                task = Task(self.sessions[node.name], self.cluster, node, difference, self.desired[resource.name])
                resource.settle(task, tell)
