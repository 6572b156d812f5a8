"""The environment as a resource: the same packages at the same prefix, proven by what RECORD files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.resources.base import Change, Difference, Facts, Finding, Needs, OnEvent, Parcel, Task, Work
from provisioning.resources.environment import adoption, sources, standalone
from provisioning.resources.environment.lock import pins_for
from provisioning.resources.environment.packs import codec_for
from provisioning.resources.environment.target import group
from provisioning.resources.environment.wheelhouse import Wheelhouse, assemble
from provisioning.resources.environment.wheels import wheel_store
from provisioning.shapes import Shape, fits

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Environment, Node
    from provisioning.manifest import Entry
    from provisioning.resources.environment.adoption import Adopted
    from provisioning.resources.environment.standalone import Interpreter

NAME = "environment"
# byte code takes about half of what the packages take
_WITH_BYTE_CODE = 1.6

_GROUPED: Shape = {
    "codecs": [int],
    "environment": dict,
    "interpreter": dict | None,
    "libc": [str],
    "machine": str,
}
_HELD: Shape = {"identity": str, "installed": dict}


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What must be installed, by node; nodes without the interpreter asked for are not among them.

    An environment that others made has no wheelhouses; `adopted` tells what is asked of it.
    """

    houses: Mapping[str, Wheelhouse]
    adopted: Adopted | None = None


class EnvironmentResource:
    """The virtual environment at one prefix on all nodes.

    Parameters
    ----------
    which : str, optional
        Name of the environment in the cluster file; without one it is the environment that runs use.
    """

    program = "provisioning.node.observe_environment"

    def __init__(self, which: str | None = None) -> None:
        self.which = which
        self.name = NAME if which is None else f"{NAME} {which}"

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return the prefix; wheels may lie where other nodes see them too, and be installed by each."""
        environment = self._of(cluster)
        return () if environment is None or not environment.manage else (environment.prefix,)

    def _of(self, cluster: Cluster) -> Environment | None:
        return cluster.using(self.which).environment

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Ask for interpreter, prefix and wheels."""
        del node, needs
        environment = self._of(cluster)
        if environment is None:
            return {"prefix": None}
        return {
            "prefix": str(environment.prefix),
            "python": environment.python,
            "store": str(wheels_on_node(cluster)),
            "adopted": environment.adoption(cluster.state),
        }

    def sensible(self, observed: Mapping[str, Any]) -> bool:
        """Return whether it is known for which kind of machine packages are wanted, and which are there."""
        if not observed:
            return True
        if not fits(observed, _GROUPED) or len(observed["libc"]) != 2:
            return False
        interpreter, seen = observed["interpreter"], observed["environment"]
        return (not interpreter or fits(interpreter, {"version": str})) and (
            not seen.get("identity") or fits(seen, _HELD)
        )

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> EnvironmentPlan:
        """Lock, build and fetch per target; the experiments of a cluster share one environment."""
        del needs
        environment = self._of(cluster)
        if environment is None:
            return EnvironmentPlan({})
        observed = {name: seen[self.name] for name, seen in facts.items() if seen.get(self.name)}
        if not environment.manage:
            return EnvironmentPlan({}, adoption.plan(environment, observed))
        wanted = sources.of(environment)
        interpreter = None
        if environment.python_from is not None:
            interpreter = standalone.read(environment.python_from, environment.python, wheel_store())
            observed = dict(_with(interpreter, observed))
        targets = group(observed, environment.python)
        kinds = {name: (target, codec_for(observed[name]["codecs"])) for name, target in targets.items()}
        pins = {target: pins_for(target, wanted, locks(cluster)) for target in set(targets.values())}
        houses = {
            (target, codec): assemble(target, codec, pins[target], wanted.projects, interpreter)
            for target, codec in set(kinds.values())
        }
        return EnvironmentPlan({name: houses[kind] for name, kind in kinds.items()})

    def difference(
        self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: EnvironmentPlan
    ) -> Difference:
        """Compare what is installed with what the wheels hold."""
        environment, house = self._of(cluster), desired.houses.get(node.name)
        if environment is None:
            return Difference()
        if desired.adopted is not None:
            return adoption.difference((node.name, self.name), environment, observed, desired.adopted)
        if house is None:
            return Difference(findings=(self._no_interpreter(node, environment, observed),))
        why = _lacking(observed["environment"], house)
        if not why:
            return Difference()
        there = dict(observed["store"])
        missing = [entry for entry in house.manifest.entries if there.get(entry.path) != entry.size]
        size = sum(entry.size for entry in missing)
        title = f"install {len(house.installed)} packages at {environment.prefix} ({why})"
        change = Change(node.name, self.name, title, size, {"missing": [entry.path for entry in missing]})
        return Difference((change,), tuple(self._obstacles(node, environment, observed, house, size)))

    def bring(self, work: Work[EnvironmentPlan]) -> Sequence[Parcel]:
        """Return one parcel per target: the packs, and an interpreter that travels."""
        missing: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, difference in work.differences.items():
            for change in difference.changes:
                if change.detail["missing"]:
                    missing.setdefault(work.desired.houses[name].slug, {})[name] = tuple(change.detail["missing"])
        houses = {house.slug: house for house in work.desired.houses.values()}
        store, target_folder = wheel_store(), wheels_on_node(work.cluster)
        return [
            Parcel(self.name, store, houses[slug].manifest, target_folder, lacking) for slug, lacking in missing.items()
        ]

    def settle(self, task: Task[EnvironmentPlan], on_event: OnEvent) -> None:
        """Build beside the prefix, prove, switch."""
        environment, house = self._of(task.cluster), task.desired.houses[task.node.name]
        if environment is None:
            return
        task.session.call(
            "provisioning.node.settle_environment",
            {
                "prefix": str(environment.prefix),
                "python": environment.python,
                "store": str(wheels_on_node(task.cluster)),
                "wheels": [[_row(entry) for entry in packs.entries] for packs in house.packs],
                "base": None if house.base is None else _row(house.base),
                "lock": house.lock,
                "lock_digest": house.lock_digest,
                "installed": dict(house.installed),
                "identity": house.identity,
                "keep": sorted(
                    {entry.path for each in task.desired.houses.values() for entry in each.manifest.entries}
                ),
            },
            on_event=on_event,
        )

    def _no_interpreter(self, node: Node, environment: Environment, observed: Mapping[str, Any]) -> Finding:
        if environment.python_from is not None:
            message = f"the interpreter in {environment.python_from} does not run on {observed['machine']}"
            message += f" with {observed['libc'][0]}"
            remedy = "leave this node to a cluster file of its own, with an interpreter that is built for it"
            return Finding(node.name, self.name, message, remedy)
        return Finding(
            node.name,
            self.name,
            f"there is no Python {environment.python}; the node's own is {observed['own_python']}",
            f"install python{environment.python} there, or bring one along: "
            '[environment] python_from = "FOLDER" names a standalone build on this machine',
        )

    def _obstacles(
        self, node: Node, environment: Environment, observed: Mapping[str, Any], house: Wheelhouse, size: int
    ) -> list[Finding]:
        findings = []
        prefix, seen = environment.prefix, observed["environment"]

        def find(message: str, remedy: str) -> None:
            findings.append(Finding(node.name, self.name, message, remedy))

        if seen["state"] == "blocked":
            find(seen["why"], f"move it away: {prefix} has to be a folder of its own, or choose another prefix")
        if seen["state"] == "foreign":
            find(f"{prefix} was not made by create-envs", "move it away, choose another prefix, or set manage = false")
        for room in (observed["room"], observed["store_room"]):
            if not room["directory"]:
                find(
                    f"{room['nearest']} is not a folder",
                    f"move it away; {prefix.parent} and the state folder lie below it",
                )
            elif not room["writable"]:
                find(f"{room['nearest']} cannot be written to", "give it to this user, or mount it writable")
        need, shared = (
            int(house.unpacked * _WITH_BYTE_CODE),
            observed["room"]["device"] == observed["store_room"]["device"],
        )
        wishes = [(str(prefix.parent), observed["room"], need + (size if shared else 0), len(house.installed) * 200)]
        wishes += [] if shared else [("the state folder", observed["store_room"], size, len(house.installed) * 2)]
        for folder, room, bytes_, files in wishes:
            if room["free"] < bytes_:
                find(
                    f"{bytes_} bytes have to fit on the file system of {folder}, {room['free']} are free",
                    "make room there",
                )
            if 0 <= room["inodes"] < files:
                find(
                    f"about {files} files have to fit into {folder}, {room['inodes']} inodes are free",
                    "remove files there",
                )
        return findings


def _row(entry: Entry) -> list[Any]:
    return [entry.path, entry.size, entry.sha256]


def wheels_on_node(cluster: Cluster) -> PurePosixPath:
    """Return the folder of wheels on every node."""
    return cluster.state / "store" / "wheels"


def locks(cluster: Cluster) -> Path:
    """Return the folder on the driver for locks that were made here; a person may keep it under version control."""
    return cluster.file.parent / ".timeeval" / cluster.name / "locks"


def _with(
    interpreter: Interpreter, observed: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give what nodes have when they get an interpreter; those it does not run on have none."""
    for name, seen in observed.items():
        fits = (seen["machine"], seen["libc"][0]) == (interpreter.machine, interpreter.libc)
        yield name, {**seen, "interpreter": {"version": interpreter.version} if fits else None}


def _lacking(seen: Mapping[str, Any], house: Wheelhouse) -> str:
    """Return why an environment is not the one of the wheelhouse; "" when it is."""
    if seen["state"] in ("absent", "empty"):
        return "there is none"
    if seen.get("identity") != house.identity:
        installed = seen.get("installed") or {}
        odd = {key.split("==")[0] for key, digest in installed.items() if house.installed.get(key) != digest}
        odd |= {key.split("==")[0] for key in house.installed if key not in installed}
        names = ", ".join(sorted(odd)[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        return f"other packages are there: {names}" if installed else "no packages are there"
    if seen["edited"]:
        return "; ".join(seen["edited"][:2]) + (f" and {len(seen['edited']) - 2} more" if seen["edited"][2:] else "")
    # an interpreter that travels is the same everywhere; the nodes' own need only agree in their minor version
    runs, wanted = seen.get("python") or "?", house.target.python + "." if house.base is None else house.target.full
    if not f"{runs}.".startswith(wanted):
        return f"it runs Python {runs}, not {wanted.rstrip('.')}"
    if not seen.get("starts"):
        return "its interpreter does not start"
    return ""
