"""Access: every SSH stack gets in, clocks agree, nodes reach the scheduler and each other, shared storage is known."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.meeting import Attendance, hold
from provisioning.noderange import fold
from provisioning.resources.base import Difference, Facts, Needs, OnEvent, Parcel, Severity, Task, Work
from provisioning.resources.findings import Findings
from provisioning.resources.host import managed_paths

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

SKEW_ERROR_SECONDS = 30.0
SKEW_WARNING_SECONDS = 1.0
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Together:
    """What a meeting of all nodes has shown.

    Attributes
    ----------
    attendance : mapping of str to Attendance
    median : float
        Median of the clocks' offsets from the driver's, in seconds, the driver's own among them.
    refusing : mapping of str to tuple of str
        Node name -> folders that take no file although their mode says so.
    """

    attendance: Mapping[str, Attendance]
    median: float
    refusing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Access:
    """How nodes are reached, from the driver and from each other. Only a person can change it."""

    name = "access"
    program = "provisioning.node.observe_access"

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:  # noqa: ARG002
        """Return none: nothing is written to."""
        return ()

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:  # noqa: ARG002
        """Return an empty question: a node knows who has logged in."""
        return {}

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> Together:  # noqa: ARG002
        """Hold a meeting of all nodes that have answered."""
        nodes = [node for node in cluster.nodes if node.name in facts]
        attendance = hold(cluster, nodes, managed_paths(cluster))
        offsets = [seen.offset for seen in attendance.values() if seen.offset is not None]
        if not any(node.is_driver for node in nodes):
            offsets.append(0.0)
        refusing = {
            # What the mode already forbids, the host's own findings tell.
            node.name: tuple(path for path in attendance[node.name].unwritable if _looks_writable(facts, node, path))
            for node in nodes
        }
        return Together(attendance, statistics.median(offsets) if offsets else 0.0, refusing)

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: Together) -> Difference:
        """Return all findings about one node."""
        seen = desired.attendance.get(node.name)
        if seen is None:
            return Difference()
        found = Findings(node.name, self.name)
        for stack, error in seen.logins.items():
            found.error(f"{stack} cannot log in: {error.message}", error.remedy or "mend that")
        if seen.error is not None:
            found.error(seen.error.message, seen.error.remedy or "look at the machine, then check again")
        self._clock(seen, desired.median, found)
        self._reach(cluster, node, seen, desired, found)
        for path in desired.refusing.get(node.name, ()):
            found.error(
                f"{observed['user']} cannot make a file in {path} although its mode allows it",
                "see whether the disk is full, or the share is read-only for this machine or user",
            )
        for path, others in seen.shares.items():
            found.warning(
                f"shares {path} with {fold(others)} (logged in as {observed['user']})",
                "nothing is wrong: what is changed there is changed once for all of them",
            )
        return Difference(findings=found.all())

    def _clock(self, seen: Attendance, median: float, found: Findings) -> None:
        if seen.offset is None or seen.round_trip is None:
            return
        # Half the round trip is what the measurement itself may be wrong by.
        skew = abs(seen.offset - median) - seen.round_trip / 2
        if skew > SKEW_WARNING_SECONDS:
            severity: Severity = "error" if skew > SKEW_ERROR_SECONDS else "warning"
            found.add(
                severity,
                f"its clock is {seen.offset - median:+.1f} s off the median of all clocks",
                "let chrony or systemd-timesyncd set it: timedatectl set-ntp true",
            )

    def _reach(self, cluster: Cluster, node: Node, seen: Attendance, desired: Together, found: Findings) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, where, cause in seen.unreached:
            groups.setdefault(cause, []).append((name, where))
        for cause, targets in groups.items():
            shown = ", ".join(f"{name} at {where}" for name, where in targets[:SHOWN])
            more = f" and {len(targets) - SHOWN} more" if len(targets) > SHOWN else ""
            found.error(
                f"does not reach {shown}{more}: {cause}",
                "let firewalls pass TCP between the nodes, or set [ports] to ranges that they let pass",
            )
        if seen.worker_unreached is not None:
            where, cause = seen.worker_unreached
            found.error(
                f"the scheduler on {cluster.scheduler.name} does not reach its worker's port at {where}: {cause}",
                "let firewalls pass it, or set ports.workers to a range that they let pass",
            )
        driver = desired.attendance.get(cluster.driver.name)
        if node.name == cluster.scheduler.name and driver is not None and node.name != cluster.driver.name:
            for _, where, cause in driver.unreached:
                found.error(
                    f"this machine does not reach the scheduler's port at {where}: {cause}",
                    "let firewalls pass it, or set ports.scheduler to a port that they let pass",
                )

    def bring(self, work: Work[Together]) -> Sequence[Parcel]:  # noqa: ARG002
        """Return nothing to bring."""
        return ()

    def settle(self, task: Task[Together], on_event: OnEvent) -> None:
        """Never asked: there are findings only."""
        raise AssertionError(f"access of {task.node.name} has no changes to make for {on_event!r}")


def _looks_writable(facts: Facts, node: Node, path: str) -> bool:
    rooms = facts[node.name].get("host", {}).get("rooms", {})
    return bool(rooms.get(path, {}).get("writable", True))
