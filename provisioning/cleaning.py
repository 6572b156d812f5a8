"""Take away what was put on nodes: shown first, agreed to, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning import history, locks
from provisioning.asking import let_in
from provisioning.commands import Options, open_cluster
from provisioning.errors import NodeError, ProvisionError, UsageError
from provisioning.launch import open_session
from provisioning.noderange import fold
from provisioning.parallel import for_each
from provisioning.places import leaders
from provisioning.receipt import load
from provisioning.report import size_text
from provisioning.resources.host import managed_paths
from provisioning.runlog import RunLog

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.receipt import Receipt
    from provisioning.resources.base import OnEvent
    from provisioning.shapes import Shape
    from provisioning.transfer.base import OnNodeEvent

log = logging.getLogger(__name__)

SCHEMA = "timeeval.clean/1"
CLEAN = "provisioning.node.clean"
ANSWER: Shape = {
    "ours": [{"key": str, "title": str, "files": int, "bytes": int}],
    "left": [{"title": str, "why": str, "wrong": bool}],
    "failed": (str,),
}

Survey = Mapping[str, Any]
Found = Mapping[str, Survey | ProvisionError]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be cleaned.

    Attributes
    ----------
    options : Options
    everything : bool
        Datasets and images as well.
    agree : callable
        Gets what would be removed, in lines; says whether to.
    as_json : bool
    """

    options: Options
    everything: bool
    agree: Callable[[Sequence[str]], bool]
    as_json: bool = False


def clean(wish: Wish, on_event: OnNodeEvent) -> tuple[int, list[str]]:
    """Show what is ours on the chosen nodes, and remove it when that is agreed to.

    Parameters
    ----------
    wish : Wish
    on_event : callable
        Progress of a node.

    Returns
    -------
    tuple of (int, list of str)
        Exit code: 4 where something under our names is not ours, or could not be removed; and lines.
    """
    cluster, nodes = open_cluster(wish.options)
    with RunLog(cluster, "clean", [node.name for node in nodes]) as kept:
        found, lines = _clean(wish, cluster, nodes, on_event)
        documents = [json.dumps(_document(name, one)) for name, one in found.items()]
        kept.finish(documents, _code(found))
        return _code(found), documents if wish.as_json else lines or ["nothing of ours is there"]


def _clean(
    wish: Wish, cluster: Cluster, nodes: Sequence[Node], on_event: OnNodeEvent
) -> tuple[dict[str, Survey | ProvisionError], list[str]]:
    with ExitStack() as stack:
        sessions, found = _open(stack, cluster, nodes, on_event)
        questions = {node.name: _question(cluster, node, everything=wish.everything) for node in nodes}
        found |= _ask([node for node in nodes if node.name in sessions], cluster, sessions, questions)
        led = _leads(stack, cluster, nodes, sessions)
        _refuse_shared(led, {node.name for node in nodes}, found)
        cleaned = [node for node in nodes if _ours(found[node.name])]
        found = {name: _own(led, name, one) for name, one in found.items()}
        would = list(_lines(found, "would remove"))
        if wish.options.dry_run or not any(_ours(one) for one in found.values()):
            return found, would
        if not wish.agree(would):
            raise UsageError("nothing was removed", remedy="agree to it, or say --yes")
        targets = [node for node in nodes if _ours(found[node.name])]
        for kind in _variants(cluster):
            for node in cleaned:
                history.withdraw(kind, node, "the node was cleaned", event="cleaned")

        def one(node: Node) -> Survey:
            def tell(event: dict[str, Any]) -> None:
                on_event(node.name, event)

            return _remove(cluster, sessions[node.name], found[node.name], questions[node.name], tell)

        done = for_each(targets, one, parallel=cluster.limits.parallel)
        final: dict[str, Survey | ProvisionError] = {**found, **done}
        return final, list(_lines(final, "removed"))


def _open(
    stack: ExitStack, cluster: Cluster, nodes: Sequence[Node], on_event: OnNodeEvent
) -> tuple[dict[str, Session], dict[str, Survey | ProvisionError]]:
    def one(node: Node) -> Session:
        on_event(node.name, {"title": "connect", "done": 0, "total": 0})
        return open_session(cluster, node, trace=False)

    sessions: dict[str, Session] = {}
    errors: dict[str, Survey | ProvisionError] = {}
    outcomes = for_each(nodes, one, parallel=cluster.limits.parallel)
    outcomes |= for_each(let_in(cluster, nodes, outcomes), one, parallel=cluster.limits.parallel)
    for name, outcome in outcomes.items():
        if isinstance(outcome, ProvisionError):
            errors[name] = outcome
        else:
            stack.callback(outcome.close)
            sessions[name] = outcome
    return sessions, errors


def _variants(cluster: Cluster) -> list[Cluster]:
    """Return the cluster with each of its environments as the one that is used; receipts are kept for each."""
    return [cluster.using(kind.name) for kind in cluster.environments] or [cluster]


def _receipt(cluster: Cluster, node: Node) -> Receipt | None:
    try:
        return load(cluster, node)
    except ProvisionError as error:
        log.warning("%s; images are told by their labels alone", error)
        return None


def _question(cluster: Cluster, node: Node, *, everything: bool) -> dict[str, Any]:
    variants = _variants(cluster)
    receipts = [_receipt(variant, node) for variant in variants]
    kinds = [variant.environment for variant in variants if variant.environment is not None]
    proven = [receipt.images for receipt in receipts if receipt is not None]
    names = {image.name for image in cluster.images} | {name for images in proven for name in images}
    return {
        "node": node.name,
        "all": everything,
        "state": str(cluster.state),
        "results": str(cluster.results),
        "variants": sorted({variant.variant for variant in variants}),
        "prefixes": [str(kind.prefix) for kind in kinds if kind.manage],
        "datasets": [str(folder.path) for folder in cluster.datasets],
        "images": {name: [images[name] for images in proven if name in images] for name in sorted(names)},
        "remove": None,
    }


def _ask(
    nodes: Sequence[Node], cluster: Cluster, sessions: Mapping[str, Session], questions: Mapping[str, Any]
) -> dict[str, Survey | ProvisionError]:
    def one(node: Node) -> Survey:
        return sessions[node.name].call(CLEAN, questions[node.name], shape=ANSWER)

    return dict(for_each(nodes, one, parallel=cluster.limits.parallel))


def _leads(
    stack: ExitStack, cluster: Cluster, nodes: Sequence[Node], sessions: Mapping[str, Session]
) -> dict[tuple[str, str], str]:
    """Return (node, folder) -> the node that acts for this place; nodes that are not to be cleaned come first."""
    chosen = {node.name for node in nodes}
    others = [node for node in cluster.nodes if node.name not in chosen]
    more, _ = _open(stack, cluster, others, lambda _node, _event: None)
    present = [*(node for node in others if node.name in more), *(node for node in nodes if node.name in sessions)]
    prefixes = [str(kind.prefix) for kind in cluster.environments]
    led, _ = leaders(cluster, present, {**more, **sessions}, [*managed_paths(cluster), *prefixes])
    return led


def _refuse_shared(
    led: Mapping[tuple[str, str], str], chosen: Collection[str], found: dict[str, Survey | ProvisionError]
) -> None:
    """Refuse nodes that share a place with one that is not to be cleaned: it would lose what is its own."""
    for (name, path), leader in led.items():
        if name in chosen and leader not in chosen and _ours(found[name]):
            found[name] = NodeError(
                f"{path} is the same place as on {leader}, which is not to be cleaned",
                host=name,
                remedy=f"clean {leader} together with it",
            )


def _own(led: Mapping[tuple[str, str], str], name: str, one: Survey | ProvisionError) -> Survey | ProvisionError:
    """Leave what lies in a place that several nodes share to the one that acts for it."""
    if isinstance(one, ProvisionError):
        return one
    folders = [path for (node, path), leader in led.items() if node == name and leader != name]
    return {**one, "ours": [item for item in one["ours"] if not any(_lies_in(item["key"], path) for path in folders)]}


def _lies_in(key: str, folder: str) -> bool:
    kind, _, text = key.partition(" ")
    path, place = PurePosixPath(text), PurePosixPath(folder)
    if kind in {"environment", "interpreter", "staging", "lock"}:
        return path.parent == place.parent and place.name in path.name
    return kind in {"datasets", "store", "tries"} and path.is_relative_to(place)


def _remove(
    cluster: Cluster, session: Session, found: Survey | ProvisionError, question: Mapping[str, Any], tell: OnEvent
) -> Survey:
    if isinstance(found, ProvisionError):
        raise found
    keys = [item["key"] for item in found["ours"]]
    with ExitStack() as stack:
        locks.hold(stack, session, _held(cluster, keys))
        return session.call(CLEAN, {**question, "remove": keys}, on_event=tell, shape=ANSWER)


def _held(cluster: Cluster, keys: Sequence[str]) -> dict[str, Any]:
    """Return the locks of the folders that something is removed from; others would only be made anew by locking."""
    return {
        folder: file for folder, file in locks.known(cluster).items() if any(key.endswith(f" {folder}") for key in keys)
    }


def _ours(one: Survey | ProvisionError) -> bool:
    return not isinstance(one, ProvisionError) and bool(one["ours"])


def _code(found: Found) -> int:
    code = 0
    for one in found.values():
        if isinstance(one, ProvisionError):
            code |= one.exit_code
        elif one["failed"] or any(item["wrong"] for item in one["left"]):
            code |= NodeError.exit_code
    return code


def _lines(found: Found, verb: str) -> Iterator[str]:
    """Tell what is ours and what is left, nodes with the same folded."""
    rows: dict[str, list[str]] = {}
    for name, one in found.items():
        if isinstance(one, ProvisionError):
            text = one.message if one.remedy is None else f"{one.message}; {one.remedy}"
            rows.setdefault(f"error {{}}: {text}", []).append(name)
            continue
        for item in one["ours"]:
            if item["title"] not in one["failed"]:
                text = f"{verb} {{}}: {item['title']} ({item['files']} files{size_text(item['bytes'], ', ')})"
                rows.setdefault(text.replace("(0 files, ", "("), []).append(name)
        for title, why in one["failed"].items():
            rows.setdefault(f"error {{}}: {title}: {why}", []).append(name)
        for item in one["left"]:
            rows.setdefault(f"left {{}}: {item['title']}: {item['why']}", []).append(name)
    for text, names in rows.items():
        before, _, after = text.partition("{}")
        yield f"{before}{fold(names)}{after}"


def _document(name: str, one: Survey | ProvisionError) -> dict[str, Any]:
    if isinstance(one, ProvisionError):
        return {"schema": SCHEMA, "node": name, "error": {"kind": type(one).__name__, "message": str(one)}}
    return {"schema": SCHEMA, "node": name, "error": None, **one}
