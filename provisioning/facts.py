"""What is known of a node in plain words, one value per fact, and what a difference in it can change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from provisioning.noderange import fold

Effect = Literal["results", "times", "nothing"]
Answers = Mapping[str, Mapping[str, Any]]
"""Resource name -> what was observed on one node."""

GIB = 1 << 30
PACKAGES = 3
"""So many packages that differ are named each."""

# A processor decides which kernels numerical libraries choose, and these the last digits.
_EFFECTS: dict[str, Effect] = {
    "machine": "results",
    "libc": "results",
    "processor": "results",
    "vector units": "results",
    "python": "results",
    "environment": "results",
    "dataset": "results",
    "image": "results",
    "package": "results",
    "machine-id": "nothing",
    "boot": "nothing",
}
_TIMES = ("kernel", "cores", "threads", "memory", "swap", "governor", "docker", "storage driver", "cgroup", "byte code")
_OWN = ("machine-id", "boot")
"""Facts that no two machines share."""


def effect(fact: str) -> Effect:
    """Return what a difference in a fact can change: results, run times, or nothing of either."""
    known = _EFFECTS.get(fact) or _EFFECTS.get(fact.partition(" ")[0])
    return known or ("times" if fact in _TIMES else "nothing")


def flat(answers: Answers) -> dict[str, str]:
    """Return the facts of a node.

    Parameters
    ----------
    answers : mapping
        Resource name -> what was observed; resources that were not looked at give no facts.

    Returns
    -------
    dict
        Name of the fact -> its value, such as ``{"kernel": "6.1.0-18-amd64", "package numpy": "2.1.0 (5f1c…)"}``.
    """
    facts: dict[str, str] = {}
    for resource, tell in _TELLERS.items():
        if answers.get(resource):
            facts.update(tell(answers[resource]))
    return facts


def _host(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "machine-id", str(seen.get("machine_id") or "none")
    yield "boot", str(seen.get("boot_id"))
    yield "system", str(seen.get("os") or seen.get("system"))
    yield "kernel", str(seen.get("kernel"))
    yield "machine", str(seen.get("machine"))
    yield "libc", " ".join(part for part in seen.get("libc", ()) if part)
    processor = seen.get("cpu") or {}
    if processor:
        yield "processor", str(processor["model"])
        yield "vector units", " ".join(processor["units"]) or "none"
        yield "threads", "several per core" if processor["smt"] else "one per core"
        yield "governor", str(processor["governor"] or "unknown")
    yield "cores", str(seen.get("cores"))
    memory = seen.get("memory") or {}
    if memory:
        yield "memory", f"{memory['total'] / GIB:.1f} GiB"
        yield "swap", f"{memory['swap'] / GIB:.1f} GiB"
    yield "own python", str((seen.get("python") or {}).get("version"))
    yield "rsync", str(seen.get("rsync") or "none")
    docker = seen.get("docker") or {}
    if "version" in docker:
        yield "docker", str(docker["version"])
        yield "storage driver", str(docker["driver"])
        yield "cgroup", str(docker["cgroup"])


def _access(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "user", str(seen.get("user"))
    yield "login shell", str(seen.get("shell"))


def _environment(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    there = seen.get("environment") or {}
    if there.get("identity") is None:
        yield "environment", str(there.get("state", "unknown"))
        return
    yield "python", str(there.get("python") or "unknown")
    yield "environment", str(there["identity"])[:12]
    yield "lock", str(there.get("lock") or "none")[:12]
    yield "byte code", "compiled" if there.get("compiled") else "not compiled"
    for key, digest in sorted((there.get("installed") or {}).items()):
        name, _, version = key.partition("==")
        yield f"package {name}", f"{version} ({digest[:12] or 'no RECORD'})"


def _datasets(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, folder in sorted((seen.get("folders") or {}).items()):
        yield f"dataset {path}", str(folder["digest"])[:12] if folder.get("marked") else "not there"


def _images(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, image in sorted((seen.get("images") or {}).items()):
        # by layers and configuration: the id of one image differs between kinds of stores
        yield f"image {name}", "not there" if image is None else str(image["print"])[:12]


_TELLERS = {
    "host": _host,
    "access": _access,
    "environment": _environment,
    "datasets": _datasets,
    "images": _images,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One fact of many nodes.

    Attributes
    ----------
    fact : str
    effect : {"results", "times", "nothing"}
        What a difference in it can change.
    values : tuple of (str, tuple of str)
        Value and the nodes that have it, the most frequent first.
    """

    fact: str
    effect: Effect
    values: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def equal(self) -> bool:
        """Whether all nodes have one value."""
        return len(self.values) < 2

    def __str__(self) -> str:
        told = "; ".join(f"{fold(nodes)}: {value}" for value, nodes in self.values)
        return f"{self.fact}: {told}" + ("" if self.equal else f" ({told_effect(self.effect)})")

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON document."""
        values = [{"value": value, "nodes": list(nodes)} for value, nodes in self.values]
        return {"fact": self.fact, "changes": self.effect, "equal": self.equal, "values": values}


def told_effect(effect: Effect) -> str:
    """Say what a difference can change."""
    return {
        "results": "may change results",
        "times": "may change run times",
        "nothing": "changes neither results nor run times",
    }[effect]


def matrix(nodes: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """Compare the facts of nodes.

    Parameters
    ----------
    nodes : mapping
        Node name -> its facts by `flat`. Nodes without any are left out.

    Returns
    -------
    list of Row
        One per fact that machines can share, in the order in which they are first told; a fact that a node does not
        have is ``"unknown"`` there.
    """
    known = {name: facts for name, facts in nodes.items() if facts}
    names = dict.fromkeys(fact for facts in known.values() for fact in facts if fact not in _OWN)
    rows = []
    for fact in names:
        values: dict[str, list[str]] = {}
        for name, facts in known.items():
            values.setdefault(facts.get(fact, "unknown"), []).append(name)
        ordered = sorted(values.items(), key=lambda item: -len(item[1]))
        rows.append(Row(fact, effect(fact), tuple((value, tuple(holders)) for value, holders in ordered)))
    return rows


@dataclass(frozen=True, slots=True)
class Step:
    """How one fact differs between two nodes, or between two times."""

    fact: str
    effect: Effect
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.fact}: {self.before or 'unknown'} -> {self.after or 'unknown'} ({told_effect(self.effect)})"

    def to_json(self) -> dict[str, Any]:
        """Return the step as a JSON document."""
        return {"fact": self.fact, "changes": self.effect, "before": self.before, "after": self.after}


def steps(before: Mapping[str, str], after: Mapping[str, str], *, own: bool = True) -> list[Step]:
    """Return the facts that differ, those that can change results first.

    Parameters
    ----------
    before, after : mapping
        Facts by `flat`.
    own : bool
        Whether to compare what no two machines share as well: between two times of one node.
    """
    names: Sequence[str] = [fact for fact in dict.fromkeys((*before, *after)) if own or fact not in _OWN]
    found = [Step(n, effect(n), before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]
    return sorted(found, key=lambda step: ("results", "times", "nothing").index(step.effect))


def lines(rows: Sequence[Row], *, everything: bool = False) -> Iterator[str]:
    """Tell which nodes are unlike the others.

    Parameters
    ----------
    rows : sequence of Row
        By `matrix`.
    everything : bool
        Whether to tell equal facts as well, and differences that change nothing.
    """
    told = [row for row in rows if everything or (not row.equal and row.effect != "nothing")]
    packages = [row for row in told if row.fact.startswith("package ")]
    few = everything or len(packages) <= PACKAGES
    for row in told:
        if few or row not in packages:
            yield f"{'equal' if row.equal else 'odd':<5} {row}"
    if not few:
        yield f"odd   {len(packages)} packages differ (may change results); --matrix names them"
