"""All that is known of one node, and how two nodes or two times differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from provisioning import history, locks, runlog
from provisioning.commands import NOT_VERIFIED, Options, open_cluster
from provisioning.errors import ProvisionError, UsageError
from provisioning.facts import Step, steps
from provisioning.launch import open_session
from provisioning.receipt import load, readable

if TYPE_CHECKING:
    from provisioning.history import Entry
    from provisioning.inventory import Cluster, Node

EXPLAIN_SCHEMA = "timeeval.explain/1"
DIFF_SCHEMA = "timeeval.diff/1"
SHOWN = 12
"""Events of the history that are told to a person."""

SEE = "provisioning.node.see_locks"


def explain(options: Options, host: str, *, as_json: bool) -> tuple[int, list[str]]:
    """Tell what is known of a node: who it is, its proof and how that came about, its facts, who works on it now.

    Parameters
    ----------
    options : Options
    host : str
        Its name in the cluster file.
    as_json : bool

    Returns
    -------
    tuple of (int, list of str)
        Exit code (16 where nothing is proven of it now), and lines.
    """
    cluster, _ = open_cluster(options)
    node = cluster.node(host)
    entries, broken = history.load(cluster, node)
    receipt, damage = readable(cluster, node)
    code = 0 if receipt is not None else NOT_VERIFIED
    facts = next((entry.facts for entry in reversed(entries) if entry.facts), {})
    now, said = _now(cluster, node), runlog.last(cluster, node.name)
    if as_json:
        document = {
            "schema": EXPLAIN_SCHEMA,
            "node": node.name,
            "receipt": None if receipt is None else receipt.to_json(),
            "history": [entry.to_json() for entry in entries],
            "tampered": broken,
            "facts": dict(facts),
            "now": now,
            "reported": None if said is None else {"said": said[0], "command": said[1]},
        }
        return code, [json.dumps(document)]
    lines = [f"{node.name}: {_who(cluster, node)}"]
    if receipt is None:
        lines.append(f"proof: {damage or history.unproven(cluster, node)}")
    else:
        lines.append(f"proof: verified {history.Entry(receipt.time, 'verified').when} by version {receipt.tool}")
        lines += [f"  {line}" for line in _proven(receipt.to_json())]
    lines += ["history:", *_told(entries)] if entries else []
    lines += [f"  entry {position + 1} is not what was written there: somebody changed it" for position in broken]
    lines += _reported(said) if said is not None else []
    lines += ["now:", *(f"  {line}" for line in _told_now(now))]
    shared = {name: value for name, value in facts.items() if not name.startswith("package ")}
    if shared:
        width = max(map(len, shared))
        lines += [
            "facts, when it was last looked at:",
            *(f"  {name:<{width}}  {value}" for name, value in shared.items()),
            f"  {'packages':<{width}}  {len(facts) - len(shared)}",
        ]
    return code, lines


def _who(cluster: Cluster, node: Node) -> str:
    parts = ["this machine"] if node.is_driver else [f"reached at {node.address or node.name}"]
    parts.append(f"{node.slots} experiment{'s' if node.slots > 1 else ''} at a time")
    if node.name == cluster.scheduler.name:
        parts.append("runs the scheduler")
    groups = [group for group, members in cluster.groups.items() if node.name in members]
    return ", ".join([*parts, *(f"in @{group}" for group in groups)])


def _proven(receipt: dict[str, Any]) -> Iterator[str]:
    for folder, proven in receipt["datasets"].items():
        yield f"{folder}: {len(proven['files'])} files, {proven['digest'][:12]}"
    for name, identity in receipt["images"].items():
        yield f"{name}: {identity.removeprefix('sha256:')[:12]}"
    if receipt["prefix"] is not None:
        yield f"{receipt['prefix']}: python {receipt['python']}, environment {str(receipt['environment'])[:12]}"
    yield f"kernel {receipt['kernel']}, its clock was {receipt['clock_offset']:+.3f} s off the driver's"


def _told(entries: Sequence[Entry]) -> Iterator[str]:
    """Tell the last events, each with what was new then."""
    before: Entry | None = None
    lines: list[tuple[str, str, int]] = []
    for entry in entries:
        text = entry.event + (f": {entry.why}" if entry.why else "")
        if entry.event == "verified":
            new = [] if before is None else steps(before.facts, entry.facts)
            text += "".join(
                f"; {step.fact} {step.before or 'unknown'} -> {step.after or 'unknown'}" for step in new[:3]
            )
            text += f" and {len(new) - 3} more" if len(new) > 3 else ""
            before = entry
        if lines and lines[-1][1] == text:
            lines[-1] = (entry.when, text, lines[-1][2] + 1)
        else:
            lines.append((entry.when, text, 1))
    if len(lines) > SHOWN:
        yield f"  {len(lines) - SHOWN} earlier events (--json has all)"
    for when, text, times in lines[-SHOWN:]:
        yield f"  {when}  {text}" + (f" ({times} times)" if times > 1 else "")


def _reported(said: tuple[dict[str, Any], dict[str, Any]]) -> Iterator[str]:
    """Tell what the last command that looked at the node said of it."""
    document, command = said
    when = history.Entry(command["ended"], "verified").when
    yield f"last command: {command['command']} at {when}: {document.get('state') or 'done'}"
    error = document.get("error")
    if error:
        yield f"  error {error['message']}"
    for finding in document.get("findings") or ():
        yield f"  {finding['severity']} {finding['resource']}: {finding['message']}; {finding['remedy']}"


def _now(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Ask the node who works on it."""
    args = {
        "locks": {folder: str(file) for folder, file in locks.known(cluster).items()},
        "history": str(history.place_on_node(cluster, node)),
    }
    try:
        with open_session(cluster, node) as session:
            return {"error": None, **session.call(SEE, args)}
    except ProvisionError as error:
        return {"error": str(error), "held": {}, "entries": 0, "broken": []}


def _told_now(now: dict[str, Any]) -> Iterator[str]:
    if now["error"] is not None:
        yield f"it was not reached: {now['error']}"
        return
    for folder, holder in now["held"].items():
        yield f"{folder} is being changed by {holder}"
    if not now["held"]:
        yield "nobody changes anything on it"
    if now["broken"]:
        yield f"its own history was changed by somebody, at entry {now['broken'][0] + 1}"


def diff(options: Options, hosts: Sequence[str], since: str | None, *, as_json: bool) -> tuple[int, list[str]]:
    """Compare two nodes as they were last verified, or one node with itself at an earlier time.

    Parameters
    ----------
    options : Options
    hosts : sequence of str
        Two names, or one together with `since`.
    since : str or None
        See `provisioning.history.find`.
    as_json : bool

    Returns
    -------
    tuple of (int, list of str)
        Exit code: 16 when something differs that can change results, else 0; and lines.
    """
    if len(hosts) != (2 if since is None else 1):
        raise UsageError("name two hosts, or one host and --since", remedy="timeeval-provision diff HOST --since 1")
    cluster, _ = open_cluster(options)
    nodes = [cluster.node(host) for host in hosts]
    before, after = (
        _proof(cluster, nodes[0], "0" if since is None else since),
        _proof(cluster, nodes[-1], "0"),
    )
    found = steps(before.facts, after.facts, own=since is not None)
    files = _files(cluster, nodes[0], nodes[1]) if since is None else []
    code = NOT_VERIFIED if files or any(step.effect == "results" for step in found) else 0
    if as_json:
        sides = [{"node": n.name, "time": e.time} for n, e in ((nodes[0], before), (nodes[-1], after))]
        differences = [step.to_json() for step in [*found, *files]]
        return code, [json.dumps({"schema": DIFF_SCHEMA, "sides": sides, "differences": differences})]
    lines = [f"{nodes[0].name} at {before.when} -> {nodes[-1].name} at {after.when}"]
    return code, lines + ([str(step) for step in [*found, *files]] or ["nothing that was observed differs"])


def _proof(cluster: Cluster, node: Node, since: str) -> Entry:
    entries, _ = history.load(cluster, node)
    try:
        return history.find(entries, since)
    except UsageError as error:
        error.host = node.name
        raise


def _files(cluster: Cluster, one: Node, other: Node) -> list[Step]:
    """Return the dataset files that differ between two nodes, by what was proven of each."""
    receipts = [load(cluster, node) for node in (one, other)]
    files = [
        {}
        if receipt is None
        else {f"{folder}/{path}": row[0] for folder, own in receipt.datasets.items() for path, row in own.files.items()}
        for receipt in receipts
    ]
    names = sorted(path for path in files[0].keys() | files[1].keys() if files[0].get(path) != files[1].get(path))
    if not all(files):
        return []
    return [Step(f"dataset file {n}", "results", *((own.get(n) or "")[:12] or None for own in files)) for n in names]
