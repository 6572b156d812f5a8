"""Down the path that a run will take: a real worker and a container of each image on every node; then the receipts.

`plan.run` has shown by then that nothing differs. What is left to prove is that it works: this module goes on with the
open sessions, node by node, and writes a receipt for each that stands.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provisioning import facts, history, mending
from provisioning.errors import NotVerifiedError, ProvisionError
from provisioning.gate import LOOK
from provisioning.parallel import for_each
from provisioning.receipt import BY_CONTENT, BY_CONTEXT, Proven, Receipt, question
from provisioning.resources.base import Finding
from provisioning.resources.datasets import Datasets, Folder

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.plan import Job
    from provisioning.report import NodeReport, Report
    from provisioning.resources.base import OnEvent

log = logging.getLogger(__name__)

NAME = "verify"
SELFCHECK = "timeeval.engines.selfcheck"
SELFCHECK_SECONDS = 180


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is verified: the same for all nodes."""

    job: Job
    folders: tuple[Folder, ...]
    images: tuple[str, ...]
    modules: tuple[str, ...]
    workers: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, facts.Answers]


def prove(job: Job, sessions: Mapping[str, Session], report: Report) -> Report:
    """Prove what no comparison can, and write a receipt for each node that stands.

    Parameters
    ----------
    job : Job
    sessions : mapping of str to Session
        Open, by node.
    report : Report
        What the plan has found; nodes with changes that are due or errors are not looked at.

    Returns
    -------
    Report
        With a `NotVerifiedError` for every node that does not stand.
    """
    needs = job.needs
    sound = [node.node for node in report.nodes if not report.errors and _sound(node) and node.node in sessions]
    workers = selfcheck(job.cluster, sound) if sound else {}
    subject = _Subject(
        job,
        Datasets().desired(job.cluster, {}, needs) if sound else (),
        tuple(image.name for image in job.cluster.images) if needs is None else needs.images,
        () if needs is None else needs.modules,
        workers,
        {node.node: node.facts for node in report.nodes},
    )
    nodes = [node for node in job.nodes if node.name in sound]
    outcomes = for_each(nodes, lambda node: _prove(subject, sessions[node.name]), parallel=job.cluster.limits.parallel)
    found = replace(report, nodes=tuple(_line(job, node, outcomes.get(node.node)) for node in report.nodes))
    if not report.errors:
        for line in found.nodes:
            _withdraw(job, job.cluster.node(line.node), line, sessions.get(line.node))
    return found


def _withdraw(job: Job, node: Node, line: NodeReport, session: Session | None) -> None:
    """Take back the receipt of a node on which something is wrong, also where no short look would notice it.

    What the driver wants anew, and a node that cannot be reached now, say nothing against what was proven.
    """
    errors = [finding.message for finding in line.findings if finding.severity == "error"]
    proven_wrong = not line.due or job.deep or errors
    if isinstance(line.error, NotVerifiedError) and proven_wrong:
        try:
            history.withdraw(job.cluster, node, "; ".join(errors[:1]) or line.error.message, session)
        except ProvisionError as error:
            log.warning("%s: the receipt there could not be taken back: %s", node.name, error)


def _sound(node: NodeReport) -> bool:
    return node.error is None and not node.due and not any(finding.severity == "error" for finding in node.findings)


def _line(job: Job, node: NodeReport, outcome: ProvisionError | list[Finding] | None) -> NodeReport:
    """Return a node's line with what verification has to say of it."""
    if isinstance(outcome, ProvisionError):
        return replace(node, error=outcome)
    if outcome:
        error = NotVerifiedError(outcome[0].message, host=node.node, remedy=outcome[0].remedy)
        return replace(node, findings=(*node.findings, *outcome[1:]), error=error)
    if outcome is None and node.error is None:
        differing = mending.differing(node)
        message = "what was found keeps it from being verified"
        remedy = "mend what is named here, then verify again"
        if differing:
            message = f"it is not as it must be: {mending.summary(differing)}"
            remedy = mending.command(job.cluster, node, deep=job.deep)
        error = NotVerifiedError(message, host=node.node, remedy=remedy)
        error.details = "\n".join(differing) or None
        return replace(node, error=error, dry_run=False)
    return node


def selfcheck(cluster: Cluster, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Start a real worker on each node by the engine's own code, in a process of its own, and end it again.

    Parameters
    ----------
    cluster : Cluster
    names : sequence of str
        Nodes.

    Returns
    -------
    dict
        Node name -> ``{"ok", "error", "remedy", "worker"}``; nodes of which nothing was said are not among them, and
        when the process itself fails every node has its error.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", SELFCHECK],
            input=json.dumps(
                {"cluster": str(cluster.file), "nodes": list(names), "environment": cluster.variant or None}
            ).encode(),
            capture_output=True,
            timeout=SELFCHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        error = f"workers did not come up within {SELFCHECK_SECONDS} s"
        return {name: {"ok": False, "error": error, "remedy": "see whether the nodes are overloaded"} for name in names}
    answers = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and answer.get("node") in names:
            answers[str(answer["node"])] = answer
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
    silent = {"ok": False, "error": f"the workers' check ended early: {words[0]}", "remedy": "run it again with -v"}
    return {name: answers.get(name, silent) for name in names}


def _prove(subject: _Subject, session: Session) -> list[Finding]:
    """Return what does not work on a node; when all does, its receipt is written."""
    cluster, node = subject.job.cluster, session.node
    tell = subject.job.teller(node)
    worker = subject.workers[node.name]
    if not worker.get("ok"):
        error = f"a worker does not start: {worker.get('error')}"
        return [Finding(node.name, NAME, error, worker.get("remedy") or "see its log on the node")]
    files = {str(folder.folder.path): [entry.path for entry in folder.manifest.entries] for folder in subject.folders}
    clocks: list[float] = []

    def listen(event: dict[str, Any]) -> None:
        if "clock" in event:
            clocks.append(float(event["clock"]) - time.time())
        tell(event)

    seen = session.call(LOOK, question(cluster, files, subject.images), on_event=listen)
    findings = [Finding(node.name, NAME, line, "run it again") for line in _changing(seen)]
    if not findings and subject.images and subject.job.deep:
        findings = _reread(session, subject.images, tell)
    if not findings and subject.images:
        samples = [
            [path, next((name for name in names if name.endswith(".csv")), names[0])] for path, names in files.items()
        ]
        args = {"images": seen["images"], "datasets": samples, "results": str(cluster.results)}
        failed = session.call("provisioning.node.try_images", args, on_event=tell)["failed"]
        findings = [Finding(node.name, NAME, f"{name}: {why}", remedy) for name, (why, remedy) in failed.items()]
    modules = set(subject.modules)
    if not findings and cluster.environment is not None:
        args = {"prefix": str(cluster.environment.prefix), "modules": list(subject.modules)}
        answer = session.call("provisioning.node.try_modules", args, on_event=tell)
        failed = answer["failed"]
        modules.update(answer["provided"])
        remedy = "add the project that holds it to [environment] projects in the cluster file, or the module to modules"
        findings = [
            Finding(node.name, NAME, f"{name} cannot be imported: {why}", remedy) for name, why in failed.items()
        ]
    if not findings:
        offset = clocks[0] if clocks else 0.0
        receipt = replace(_receipt(subject, session, seen, offset), modules=tuple(sorted(modules)))
        history.keep(cluster, session, receipt, facts.flat(subject.facts[node.name]))
    return findings


def _reread(session: Session, images: Sequence[str], tell: OnEvent) -> list[Finding]:
    """Let the engine write every layer out and return which images hold other bytes than they were loaded with."""
    damaged = session.call("provisioning.node.rehash_images", {"images": list(images)}, on_event=tell)["damaged"]
    node = session.node.name
    names = " ".join(shlex.quote(name) for name in damaged)
    # an engine keeps a layer that it has: only without all images that use it, it is loaded anew
    remedy = f"timeeval-provision exec --limit {node} -- docker image rm --force {names}, then push-images"
    return [
        Finding(node, NAME, f"the bytes of {name} on disk have changed: {why}", remedy) for name, why in damaged.items()
    ]


def _changing(seen: Mapping[str, Any]) -> list[str]:
    """Return what was right a moment ago and is not any more."""
    lines = [
        f"{path} vanished from {folder}"
        for folder, stamps in seen["files"].items()
        for path, now in stamps.items()
        if now is None
    ]
    lines += [f"{name} vanished" for name, found in seen["images"].items() if found is None]
    return lines[:3]


def _equal_by(cluster: Cluster, seen: Mapping[str, Any]) -> dict[str, str]:
    from provisioning.resources.images.wanted import by_context

    known = {name: (seen["images"][name], content, label) for name, (content, label) in seen["equal"].items()}
    weak = by_context(cluster, known, seen["engine"]["store"]) if known else {}
    return {
        name: BY_CONTEXT + weak[name] if name in weak else BY_CONTENT + content
        for name, (_, content, _) in known.items()
    }


def _receipt(subject: _Subject, session: Session, seen: Mapping[str, Any], offset: float) -> Receipt:
    cluster, node = subject.job.cluster, session.node
    environment = seen["environment"] or {}
    return Receipt(
        cluster=cluster.name,
        node=node.name,
        time=time.time(),
        tool=importlib.metadata.version("timeeval-cluster"),
        machine_id=seen["machine_id"],
        boot_id=seen["boot_id"],
        kernel=seen["kernel"],
        machine=seen["machine"],
        libc=seen["libc"],
        clock_offset=round(offset, 3),
        python=environment.get("python"),
        prefix=None if cluster.environment is None else str(cluster.environment.prefix),
        lock=environment.get("lock"),
        environment=environment.get("identity"),
        docker=seen["engine"],
        datasets={
            str(folder.folder.path): Proven(
                folder.manifest.digest,
                {
                    entry.path: (entry.sha256, *seen["files"][str(folder.folder.path)][entry.path])
                    for entry in folder.manifest.entries
                },
            )
            for folder in subject.folders
        },
        images=seen["images"],
        equal_by=_equal_by(cluster, seen),
        worker=subject.workers[node.name].get("worker"),
        records={path: tuple(row) for path, row in environment.get("records", {}).items()},
    )
