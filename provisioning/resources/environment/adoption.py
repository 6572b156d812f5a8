"""Environments that others made (``manage = false``): verified where they are, equal on all nodes, never written to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning.node import records
from provisioning.resources.base import Difference, Severity
from provisioning.resources.environment import lock, sources
from provisioning.resources.environment.target import Target
from provisioning.resources.findings import Findings

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from provisioning.inventory import Environment

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Adopted:
    """What is asked of an environment that others made.

    Attributes
    ----------
    packages : mapping
        ``name==version`` -> digest of its RECORD, as most nodes have it.
    holders : int
        How many nodes have exactly that.
    nodes : int
        How many nodes have an environment at all.
    requirements : tuple of Requirement
        What the files that the cluster file names ask for; a lock asks for one version each.
    projects : mapping
        ``name==version`` -> digest of the RECORD of local projects.
    """

    packages: Mapping[str, str]
    holders: int
    nodes: int
    requirements: tuple[Requirement, ...] = ()
    projects: Mapping[str, str] = field(default_factory=dict)


def plan(environment: Environment, observed: Mapping[str, Mapping[str, Any]]) -> Adopted:
    """Return what all nodes must have: what most of them have, and what the cluster file asks for.

    Raises
    ------
    ProvisionError
        When a requirements file cannot be read or a project does not build.
    """
    from packaging.requirements import Requirement

    wanted = sources.of(environment)
    texts = [line for file in wanted.requirements for line in lock.wishes(file)]
    installed = {
        seen["environment"]["identity"]: seen["environment"]["installed"]
        for seen in observed.values()
        if seen["environment"].get("identity")
    }
    counts = Counter(
        seen["environment"]["identity"] for seen in observed.values() if seen["environment"].get("identity")
    )
    most, holders = counts.most_common(1)[0] if counts else ("", 0)
    return Adopted(
        packages=installed.get(most, {}),
        holders=holders,
        nodes=counts.total(),
        requirements=tuple(Requirement(text) for text in (*texts, *wanted.wishes)),
        projects=dict(wheel.identity for wheel in wanted.projects),
    )


def difference(
    names: tuple[str, str], environment: Environment, observed: Mapping[str, Any], wanted: Adopted
) -> Difference:
    """Return what is wrong with the environment of one node; `names` are the node's and the resource's."""
    found, seen, prefix = Findings(*names), observed["environment"], environment.prefix
    if seen["state"] == "absent":
        found.error(f"there is no environment at {prefix}", "make it there, or let it be made: manage = true")
        return Difference(findings=found.all())
    if seen["state"] != "adopted":
        found.error(
            seen["why"], f"mend it there, or name the prefix of an environment with Python {environment.python}"
        )
        return Difference(findings=found.all())
    for line in seen["edited"][:_SHOWN]:
        found.error(f"{prefix}: {line} after it was installed", "install the package that holds it again")
    for name in seen["outside"]:
        found.error(f"{name} is imported from outside of {prefix} (editable)", f"install {name} as a wheel there")
    for severity, message, remedy in _warnings(environment, seen):
        found.add(severity, message, remedy)
    _required(environment, observed, wanted, found)
    for key, digest in wanted.projects.items():
        if seen["installed"].get(key) != digest:
            found.error(f"{key} there is not the project on this machine", "build a wheel of it and install that there")
    if seen["installed"] != wanted.packages:
        found.error(
            f"{prefix} differs from that of {wanted.holders} of {wanted.nodes} nodes: "
            + _differences(seen["installed"], wanted.packages),
            "install the same there; a package of the same version may have been built on the node itself",
        )
    return Difference(findings=found.all())


def _warnings(environment: Environment, seen: Mapping[str, Any]) -> Iterator[tuple[Severity, str, str]]:
    if seen["shared"]:
        yield (
            "warning",
            f"{environment.prefix} also sees the packages of {seen['shared']}, which are not verified",
            "make it without --system-site-packages",
        )
    if seen["unproven"]:
        yield (
            "warning",
            f"no RECORD tells the files of {_some(seen['unproven'])}: they are compared as they are",
            "install a wheel of each",
        )


def _required(environment: Environment, observed: Mapping[str, Any], wanted: Adopted, found: Findings) -> None:
    """Compare the versions there with what the files of the cluster file ask for on this machine."""
    seen = observed["environment"]
    versions = {key.split("==")[0]: key.split("==")[1] for key in seen["installed"] if not key.startswith("conda:")}
    target = Target(environment.python, seen["python"], observed["machine"], str(observed["libc"][0]), (0, 0))
    for requirement in wanted.requirements:
        if requirement.marker is not None and not requirement.marker.evaluate(target.markers()):
            continue
        version = versions.get(records.canonical(requirement.name))
        if version is None:
            found.error(f"{requirement.name} is not there, {requirement} is asked for", "install it there")
        elif version != "?" and not requirement.specifier.contains(version, prereleases=True):
            found.error(
                f"{requirement.name} {version} is there, {requirement} is asked for", "install that version there"
            )


def _differences(here: Mapping[str, str], most: Mapping[str, str]) -> str:
    """Return what one environment has that most have not, and the other way round."""
    odd = [key for key in sorted(here) if most.get(key) != here[key]]
    lacking = [key for key in sorted(most) if key not in here]
    parts = []
    if odd:
        parts.append("it has " + _some([_shown(key, most) for key in odd]))
    if lacking:
        parts.append("they have " + _some(lacking))
    return "; ".join(parts)


def _shown(key: str, most: Mapping[str, str]) -> str:
    return f"{key} with other files" if key in most else key


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
