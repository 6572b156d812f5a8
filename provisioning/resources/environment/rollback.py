"""Back to the environment before the present one: ``create-envs --rollback``. It is still there, beside the prefix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.receipt import withdraw
from provisioning.resources.base import Change, Difference, Facts, Needs, OnEvent, Parcel, Task, Work
from provisioning.resources.findings import Findings
from provisioning.shapes import fits

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Environment, Node

_OLDER = "bring its lock back under [environment] requirements and run `timeeval-provision create-envs`"


class Rollback:
    """The environment before the present one, the same on all nodes.

    Nodes exchange both, so that a second rollback goes forward again. Receipts are withdrawn: what they prove is gone.
    """

    name = "environment"
    program = "provisioning.node.observe_previous"

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return the prefix."""
        return (_of(cluster).prefix,)

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Ask for both environments."""
        del node, needs
        return {"prefix": str(_of(cluster).prefix)}

    def sensible(self, observed: Mapping[str, Any]) -> bool:
        """Return whether it is told which environment has been kept."""
        if not fits(observed, {"previous": {"state": str}}):
            return False
        return observed["previous"]["state"] != "ours" or fits(observed["previous"], {"identity": str})

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> str:
        """Return the identity of the environment to go back to: the one that most nodes have kept.

        Raises
        ------
        UsageError
            When as many nodes have kept one environment as another.
        """
        del needs
        kept = Counter(
            seen[self.name]["previous"]["identity"]
            for seen in facts.values()
            if seen.get(self.name, {}).get("previous", {}).get("state") == "ours"
        ).most_common(2)
        if not kept:
            return ""
        if len(kept) == 2 and kept[0][1] == kept[1][1]:
            raise UsageError(
                f"the nodes have kept different environments before the one at {_of(cluster).prefix}",
                remedy="name those that belong together with --limit; `timeeval-provision create-envs` makes all equal",
            )
        return str(kept[0][0])

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: str) -> Difference:
        """Return the exchange that is due, or why there can be none."""
        prefix, found = _of(cluster).prefix, Findings(node.name, self.name)
        here, before = observed["environment"], observed["previous"]
        if desired and here.get("identity") == desired:
            return Difference()
        if before["state"] != "ours":
            found.error(f"there is no environment before the one at {prefix}", _OLDER)
        elif before["edited"]:
            found.error(f"{prefix}.previous: {before['edited'][0]}", _OLDER)
        elif not before["starts"]:
            found.error(f"the interpreter of {prefix}.previous is gone", _OLDER)
        elif before["identity"] != desired:
            found.error(f"{prefix}.previous is not the environment that most nodes have kept", _OLDER)
        if here["state"] not in ("ours", "absent"):
            found.error(f"{prefix} was not made by create-envs", "move it away; nothing was changed")
        if found.all():
            return Difference(findings=found.all())
        title = f"switch {prefix} back to the {len(before['installed'])} packages before (lock {before['lock'][:12]})"
        return Difference((Change(node.name, self.name, title),))

    def bring(self, work: Work[str]) -> Sequence[Parcel]:
        """Return nothing: it is all there."""
        del work
        return ()

    def settle(self, task: Task[str], on_event: OnEvent) -> None:
        """Exchange both environments, and withdraw the receipt."""
        args = {"prefix": str(_of(task.cluster).prefix), "identity": task.desired}
        task.session.call("provisioning.node.switch_environment", args, on_event=on_event)
        withdraw(task.cluster, task.node)


def _of(cluster: Cluster) -> Environment:
    environment = cluster.environment
    if environment is None or not environment.manage:
        raise UsageError(
            f"{cluster.file} has no environment that create-envs makes", remedy="there is nothing to go back to"
        )
    return environment
