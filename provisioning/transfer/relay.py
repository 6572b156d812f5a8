"""Spread parcels by agents on the nodes: straight to each of them, or from node to node.

A round goes over all nodes that still lack something. Who receives everything is done; who was lost on the way, or
came after one that was, is in the next round with what it then still lacks.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from provisioning.endings import NONSENSE, senseless
from provisioning.errors import NodeError, ProvisionError, UnreachableError
from provisioning.host_keys import host_keys
from provisioning.node.codec import RAW
from provisioning.parallel import for_each, together
from provisioning.ssh import resolve
from provisioning.transfer import key
from provisioning.transfer.base import Arrival
from provisioning.transfer.feed import Item, Throttle, frames
from provisioning.transfer.line import Lack, Line
from provisioning.transfer.pace import Pace
from provisioning.transfer.route import segments
from provisioning.transfer.spread import explain

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.resources.base import Parcel
    from provisioning.transfer.base import OnNodeEvent

log = logging.getLogger(__name__)

ROUNDS = 4
TRIES = 2
"""That one node may get wrong bytes, or lose its line, before it is given up."""

SILENCE_SECONDS = 20
DOOR_SECONDS = 15
WAY_SECONDS = 35
ALIVE_SECONDS = 3


class Relay:
    """One transfer.

    Parameters
    ----------
    cluster : Cluster
    parcels : sequence of Parcel
    sessions : mapping of str to Session
    arrived : callable
        Called once per node.
    on_event : callable
    throttle : Throttle
    uploads : int
        Nodes that the driver sends to at a time.
    """

    def __init__(
        self,
        cluster: Cluster,
        parcels: Sequence[Parcel],
        sessions: Mapping[str, Session],
        arrived: Callable[[Arrival], None],
        on_event: OnNodeEvent,
        *,
        throttle: Throttle,
        uploads: int,
    ) -> None:
        self.cluster = cluster
        self.parcels = parcels
        self.arrived = arrived
        self.on_event = on_event
        self.throttle = throttle
        self.uploads = uploads
        self.lines = {
            name: Line(session, parcels, lambda event, name=name: on_event(name, event))  # type: ignore[misc]
            for name, session in sessions.items()
            if any(parcel.missing.get(name) for parcel in parcels)
        }
        self.left: dict[str, Line] = {}
        self.totals: dict[str, int] = {}
        self.travelled: dict[str, list[int]] = {}
        self.pace = Pace()
        self._said: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._over = threading.Event()

    def carry(self, chain: Sequence[str]) -> None:
        """Bring everything to every node that can take it.

        Parameters
        ----------
        chain : sequence of str
            Nodes that pass on what they receive, in this order; all others are sent to by the driver.
        """
        try:
            self._open()
            for _ in range(ROUNDS):
                order = [name for name in chain if name in self.left and name not in self.pace.apart]
                self._round(order, [name for name in self.left if name not in order])
                if not self.left:
                    return
            for name in list(self.left):
                self._fail(
                    name, NodeError("was lost in each round", host=name, remedy="see whether its network is well")
                )
        finally:
            self._over.set()
            together(line.close for line in self.lines.values())

    def _open(self) -> None:
        nodes = [line.session.node for line in self.lines.values()]

        def note(node: Node, outcome: ProvisionError | None) -> None:
            if outcome is not None:
                self.arrived(Arrival(node.name, error=outcome))
                self.lines[node.name].drop()
                return
            line = self.left[node.name] = self.lines[node.name]
            self.totals[node.name], self.travelled[node.name] = line.missing, [0, 0]
            line.listen(lambda name, event: self._said.put((name, event)))

        for_each(nodes, lambda node: self.lines[node.name].open(), parallel=self.cluster.limits.parallel, progress=note)

        def alive() -> None:
            while not self._over.wait(ALIVE_SECONDS):
                # also to those that have everything, or have failed: they go on passing on
                for line in self.lines.values():
                    line.send({"do": "alive"})

        threading.Thread(target=alive, name="alive", daemon=True).start()

    def _round(self, chain: Sequence[str], others: Sequence[str]) -> None:
        parts = segments(chain, self._link(chain)) if len(chain) > 1 else [[name] for name in chain]
        parts += [[name] for name in others]
        waiting = {name: self.left[name] for part in parts for name in part if name in self.left}
        after = {one: other for part in parts for one, other in pairwise(part)}
        heads = {part[0] for part in parts}
        self.pace.begin(after)
        with ThreadPoolExecutor(max(1, self.uploads)) as pool:
            # who is fed from another node must be ready when that one begins
            for name, line in sorted(waiting.items(), key=lambda item: item[0] in heads):
                line.send({"do": "round", "by": "driver" if name in heads else "door"})
            feeding = [pool.submit(self._feed, part) for part in parts if part[0] in waiting]
            try:
                self._follow(waiting, after)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for line in waiting.values():
                    line.stop_feeding()
        for each in feeding:
            each.result()
        self._stop(waiting)

    def _feed(self, part: Sequence[str]) -> None:
        lines = [self.lines[name] for name in part]
        local = lines[0].session.node.is_driver
        codec = RAW if local else next(each for each in lines[0].codecs if all(each in line.codecs for line in lines))
        try:
            lines[0].feed(frames(self._items(lines), codec), self.throttle)
        except ProvisionError as error:
            self._said.put((lines[0].name, {"source": error}))

    def _items(self, lines: Sequence[Line]) -> list[Item]:
        """Return what must travel down a chain: what any of its nodes lacks, from where the first of them needs it."""
        items = []
        for number, parcel in enumerate(self.parcels):
            lacks = [line.lacks[number] for line in lines if number in line.lacks]
            lacking: dict[str, list[Lack]] = {}
            for lack in lacks:
                for path in lack.paths:
                    lacking.setdefault(path, []).append(lack)
            last = set(parcel.last)
            for entry in sorted(parcel.manifest.select(lacking).entries, key=lambda entry: entry.path in last):
                begin = min(lack.begin(entry.path, entry.size) for lack in lacking[entry.path])
                items.append(Item(number, parcel.source, entry.path, entry.size, entry.sha256, begin))
        return items

    def _follow(self, waiting: Mapping[str, Line], after: Mapping[str, str]) -> None:
        """Hear what the nodes say until each of them is done with this round."""
        going = dict(waiting)
        while going:
            try:
                name, event = self._said.get(timeout=0.5)
            except queue.Empty:
                pass
            else:
                if name in going and self._heard(name, event, after):
                    del going[name]
            for name in [name for name, line in going.items() if time.monotonic() - line.heard > SILENCE_SECONDS]:
                del going[name]
                self._gone(name, _silent(name))
            slow = self.pace.slowest()
            if slow is not None:
                log.warning("%s takes what comes much slower than the others; it is sent to apart", after[slow])
                self.lines[slow].send({"do": "cut"})

    def _heard(self, name: str, event: Mapping[str, Any], after: Mapping[str, str]) -> bool:
        """Take what a node says, as `_hear`; one that talks nonsense harms nobody but itself."""
        try:
            return self._hear(name, event, after)
        except NONSENSE as error:
            self._gone(name, senseless(name, error))
            return True

    def _hear(self, name: str, event: Mapping[str, Any], after: Mapping[str, str]) -> bool:
        """Take what a node says; return whether it is done with this round."""
        if event.get("tick"):
            self._show(name, event["tick"])
        elif "child" in event:
            log.info("%s lost %s on its way: %s", name, after.get(name), event["child"])
            self.pace.apart.add(after.get(name, ""))
        elif "settled" in event:
            files, size = event["settled"]["files"], event["settled"]["size"]
            self.travelled[name] = [self.travelled[name][0] + files, self.travelled[name][1] + size]
            del self.left[name]
            self.arrived(Arrival(name, self.travelled[name][0], self.travelled[name][1]))
        elif "failed" in event:
            remedy = event["remedy"] or "mend that, then run the command again"
            self._fail(name, NodeError(str(event["failed"]), host=name, remedy=remedy))
        elif "bad" in event:
            self._mend(name, {int(number): bad for number, bad in event["bad"].items()})
        elif "gone" in event:
            self._gone(name, event["gone"])
        elif "source" in event:
            self._fail(name, event["source"])
        elif "lost" in event:
            log.info("%s: %s", name, event["lost"])
        return not event.keys().isdisjoint({"settled", "failed", "bad", "gone", "source", "lost"})

    def _show(self, name: str, tick: Mapping[str, Any]) -> None:
        self.pace.note(name, tick, time.monotonic())
        if name in self.left:
            parcel = self.left[name].parcels[0][1]
            done, total = min(tick["done"] + self.travelled[name][1], self.totals[name]), self.totals[name]
            title = f"{parcel.resource}: copy to {parcel.target}"
            self.on_event(name, {"title": title, "done": done, "total": total, "unit": "B"})

    def _mend(self, name: str, bad: Mapping[int, dict[str, str]]) -> None:
        """Let what came wrong come again, unless it is wrong here, or came wrong before."""
        line = self.left[name]
        line.tries += 1
        for number, paths in bad.items():
            parcel = self.parcels[number]
            if not paths.keys() <= set(parcel.missing.get(name, ())):
                raise ValueError(f"{min(paths)!r} was never sent")
            error = explain(line.session.node, parcel, paths)
            if line.tries >= TRIES or not isinstance(error, NodeError):
                self._fail(name, error)
                return

    def _fail(self, name: str, error: ProvisionError) -> None:
        if self.left.pop(name, None) is not None:
            self.arrived(Arrival(name, error=error))

    def _gone(self, name: str, error: ProvisionError) -> None:
        self._fail(name, error)
        self.lines[name].drop()

    def _stop(self, waiting: Mapping[str, Line]) -> None:
        """End a round everywhere; who is in the next one says what came meanwhile."""
        stopping = {name: line for name, line in waiting.items() if name in self.left}
        for line in stopping.values():
            line.send({"do": "stop"})
        together(line.close for name, line in waiting.items() if name not in stopping)
        for name, answers in self._gather("stopped", stopping, SILENCE_SECONDS).items():
            try:
                self.lines[name].refresh(answers)
            except NONSENSE as error:
                self._gone(name, senseless(name, error))
        for name in stopping.keys() & self.left.keys():
            done = self.totals[name] - self.lines[name].missing
            self.travelled[name][1] = max(0, done)

    def _gather(self, key_: str, lines: Mapping[str, Line], seconds: float) -> dict[str, Any]:
        """Wait for one answer of each node; who gives none in time is missing."""
        answers: dict[str, Any] = {}
        deadline = time.monotonic() + seconds
        while (waiting := lines.keys() & self.left.keys() - answers.keys()) and time.monotonic() < deadline:
            try:
                name, event = self._said.get(timeout=0.5)
            except queue.Empty:
                continue
            if "gone" in event:
                self._gone(name, event["gone"])
            elif key_ in event and name in waiting:
                answers[name] = event[key_]
        return answers

    def _link(self, chain: Sequence[str]) -> set[str]:
        """Let each node of a chain reach the next one; return those that are not reached."""
        pairs = {after: key.made() for after in chain[1:]}
        before = dict(zip(chain[1:], chain, strict=False))
        for name, pair in pairs.items():
            self.left[name].send({"do": "listen", "public": pair.public})
        targets = for_each(
            [self.lines[name].session.node for name in pairs], self._address, parallel=self.cluster.limits.parallel
        )
        doors = self._gather("door", {name: self.lines[name] for name in pairs}, DOOR_SECONDS)
        reached = {}
        for name, pair in pairs.items():
            target = targets[name]
            if doors.get(name, "it did not answer") is None and not isinstance(target, ProvisionError):
                self.lines[before[name]].send({"do": "connect", "to": {**target, "private": pair.private}})
                reached[before[name]] = name
        ways = self._gather("way", {name: self.lines[name] for name in reached}, WAY_SECONDS)
        broken = {}
        for name in pairs:
            why = doors.get(name, "it did not answer") or ways.get(before[name], "it was not reached in time")
            if why is not None:
                broken[name] = why
                log.warning("%s is sent to by this machine, not by %s: %s", name, before[name], why)
        return set(broken)

    def _address(self, node: Node) -> dict[str, Any]:
        """Return how another node reaches this one, and by which host keys it knows it."""
        endpoint = resolve(self.cluster, node)
        known = host_keys(endpoint)
        keys = [f"relay {each}" for each in known.trusted if each not in known.revoked]
        keys += [f"@cert-authority relay {each}" for each in known.authorities]
        return {"host": endpoint.hostname, "port": endpoint.port, "user": endpoint.user, "keys": keys}


def _silent(name: str) -> UnreachableError:
    return UnreachableError(
        f"said nothing for {SILENCE_SECONDS} s while files were sent", host=name, remedy="see whether it hangs"
    )
