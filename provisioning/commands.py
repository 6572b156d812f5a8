"""What each verb of ``timeeval-provision`` does: which resources it looks at, and what it says afterwards."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.inventory import Cluster, Node, find, load

if TYPE_CHECKING:
    from provisioning.launch import Ahead, Session
    from provisioning.report import Report
    from provisioning.resources.base import Needs, Resource
    from provisioning.transfer.base import OnNodeEvent
    from provisioning.transfer.route import Sending

log = logging.getLogger(__name__)

NOT_VERIFIED = 16
NEEDS_SECONDS = 300

RESOURCES = {
    "host": ("provisioning.resources.host", "Host"),
    "access": ("provisioning.resources.access", "Access"),
    "environment": ("provisioning.resources.environment", "EnvironmentResource"),
    "images": ("provisioning.resources.images", "ImagesResource"),
    "datasets": ("provisioning.resources.datasets", "Datasets"),
}
"""Every resource, in the order in which they settle: a new one is a module and a line here."""

VERBS: dict[str, tuple[str, ...]] = {
    "check": ("host", "access"),
    "sync-datasets": ("datasets",),
    "create-envs": ("environment",),
    "push-images": ("images",),
    "verify": tuple(RESOURCES),
    "up": tuple(RESOURCES),
}
"""Verb -> the resources it looks at; ``check`` and ``verify`` change none."""


@dataclass(frozen=True, slots=True)
class Options:
    """What all verbs understand.

    Attributes
    ----------
    cluster : Path or None
        The cluster file; the nearest ``cluster.toml`` when None.
    limit, exclude : tuple of str
        Names, ranges and groups of hosts.
    experiment : Path or None
        Look only at what this experiment needs.
    dry_run : bool
        Change nothing.
    deep : bool
        Trust no size and no time: read everything that is known by a digest.
    environment : str or None
        Which of the cluster's environments is meant; None stands for all where they are made, else for the first.
    rollback : bool
        Go back to the environment before the present one.
    select : tuple of str
        Patterns of the datasets that are looked at; all of them when empty.
    delete : bool
        Delete what we put on nodes and the dataset folders no longer have.
    sending : Sending or None
        How bytes travel, as far as a person has said so.
    calibrate : bool
        Measure anew how fast the hosts compute.
    via, registry : str or None
        How images reach the nodes, as far as a person has said so.
    """

    cluster: Path | None = None
    limit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    experiment: Path | None = None
    dry_run: bool = False
    deep: bool = False
    environment: str | None = None
    rollback: bool = False
    select: tuple[str, ...] = ()
    delete: bool = False
    sending: Sending | None = None
    calibrate: bool = False
    via: str | None = None
    registry: str | None = None


def open_cluster(options: Options) -> tuple[Cluster, tuple[Node, ...]]:
    """Read the cluster file and choose the nodes.

    Parameters
    ----------
    options : Options

    Returns
    -------
    tuple of (Cluster, tuple of Node)

    Raises
    ------
    UsageError
        When there is no cluster file, it is wrong, or no host is left.
    """
    file = options.cluster or find(Path.cwd())
    if file is None:
        raise UsageError(
            "there is no cluster.toml here or above",
            remedy="name one with --cluster, or write one with `timeeval-provision init HOST...`",
        )
    cluster = load(file).using(options.environment)
    return cluster, cluster.select(options.limit, options.exclude)


def needs_of(experiment: Path, cluster: Cluster) -> Needs:
    """Ask an experiment what it needs, in a process of its own: it is somebody's script.

    Parameters
    ----------
    experiment : Path
    cluster : Cluster

    Returns
    -------
    Needs

    Raises
    ------
    UsageError
        When there is no such file, or it ends with an error.
    """
    if not experiment.is_file():
        raise UsageError(f"there is no experiment {experiment}", remedy="name a Python script or an experiment.toml")
    from provisioning.resources.base import Needs

    runner = Path(sys.executable).with_name("timeeval-run")
    argv = [str(runner), str(experiment), "--needs", "--cluster", str(cluster.file)]
    argv += ["--environment", cluster.variant] if cluster.variant else []
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=NEEDS_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise UsageError(
            f"{experiment} did not say what it needs within {NEEDS_SECONDS} s",
            remedy="only what comes before TimeEval(...) should run then; see what takes so long",
        ) from late
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else f"status {done.returncode}"
        error = UsageError(
            f"{experiment} cannot say what it needs: {last}",
            remedy=f"run `timeeval-run {experiment} --needs` to see all of it",
        )
        error.details = said
        raise error
    return Needs.parse(done.stdout.decode(errors="replace"))


def wanted(options: Options, cluster: Cluster) -> Needs | None:
    """Return the part of the cluster file that is meant; None for all of it.

    Raises
    ------
    UsageError
        When two options mean different things.
    """
    if options.experiment is not None and options.select:
        raise UsageError("--for and --select both name what is meant", remedy="give one of them")
    if options.delete and (options.experiment is not None or options.select):
        raise UsageError("--delete needs to know all that is to stay", remedy="leave --for or --select out")
    if options.experiment is not None:
        return needs_of(options.experiment, cluster)
    if options.select:
        from provisioning.selecting import selected

        return selected(cluster, options.select)
    return None


def resources(
    names: Sequence[str],
    cluster: Cluster,
    needs: Needs | None,
    *,
    every: bool = False,
    given: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Resource[Any]]:
    """Make the resources of these names, without those that neither cluster file nor experiment speak of.

    With `every` all environments are among them, else only the one that runs use. `given` are arguments of theirs.
    """
    idle = set()
    if cluster.environment is None:
        idle.add("environment")
    if not cluster.images and not (needs is not None and needs.images):
        idle.add("images")
    if not cluster.datasets and not (needs is not None and needs.datasets):
        idle.add("datasets")
    chosen = [name for name in names if name not in idle]
    if not chosen:
        raise UsageError(f"{cluster.file} says nothing about {' and '.join(names)}", remedy="add the table to it")
    made = []
    for name in chosen:
        module, kind = RESOURCES[name]
        of_kind = getattr(import_module(module), kind)
        made.append(of_kind(**(given or {}).get(name, {})))
        if name == "environment" and every:
            made += [of_kind(other.name) for other in cluster.environments if other is not cluster.environment]
    return made


def carry_out(verb: str, options: Options, on_event: OnNodeEvent) -> tuple[Report, int]:
    """Do what a verb says.

    Parameters
    ----------
    verb : str
        One of `VERBS`.
    options : Options
    on_event : callable
        Progress of a node.

    Returns
    -------
    tuple of (Report, int)
        What became of each node, and the exit code.

    Raises
    ------
    UsageError
        When the command cannot begin.
    """
    from provisioning.launch import Ahead

    cluster, nodes = open_cluster(options)
    # before all that is heavy: logging in takes longest; whose access is looked at is logged in to anew, later
    with Ahead(cluster, nodes, begin="access" not in VERBS[verb]) as ahead:
        from provisioning.report import documents
        from provisioning.runlog import RunLog

        with RunLog(cluster, verb, [node.name for node in nodes]) as kept:
            report, code = _carry_out(verb, options, ahead, on_event)
            for line in report.nodes:
                if line.error is not None:
                    log.info("%s: %s\n%s", line.node, line.error, line.error.details or "")
            kept.finish(documents(report, verb), code)
            return report, code


def _carry_out(verb: str, options: Options, ahead: Ahead, on_event: OnNodeEvent) -> tuple[Report, int]:
    from provisioning.plan import Job, run
    from provisioning.transfer.fanout import Fanout
    from provisioning.transfer.route import Sending

    cluster = ahead.cluster
    transfer = Fanout(options.sending)
    needs = wanted(options, cluster)
    proves = verb in {"check", "verify"}
    every = options.environment is None and not proves
    given: dict[str, dict[str, Any]] = {
        "datasets": {"delete": options.delete, "on_event": partial(on_event, cluster.driver.name)}
    }
    if "images" in VERBS[verb]:
        from provisioning.resources.images.ways import chosen as way

        chosen_way = way(cluster, options.via, options.registry)
        if chosen_way.pulls and transfer.sending != Sending():
            raise UsageError(
                "--fanout, --bwlimit and --max-uploads do not hold for images that nodes pull from a registry",
                remedy="leave them out, or bring the images with --via load",
            )
        given["images"] = {"way": chosen_way, "bwlimit": transfer.sending.bwlimit}
    chosen = resources(VERBS[verb], cluster, needs, every=every, given=given)
    if options.rollback:
        from provisioning.resources.environment import Rollback

        chosen = [Rollback()]
    dry_run = options.dry_run or proves
    job = Job(
        cluster,
        ahead.nodes,
        chosen,
        transfer,
        needs,
        dry_run=dry_run,
        deep=options.deep,
        on_event=on_event,
        ahead=ahead,
    )
    proof = verb in {"verify", "up"} and not options.dry_run

    def proven(sessions: Mapping[str, Session], found: Report) -> Report:
        from provisioning.calibration import calibrated
        from provisioning.verify import prove

        found = prove(job, sessions, found)
        if verb == "up" or options.calibrate:
            found = calibrated(job, sessions, found, anew=options.calibrate)
        return found

    report = run(job, proven if proof else None)
    if options.dry_run:
        due = {node.node: sum(change.size for change in node.due) for node in report.nodes}
        plan = [transfer.route(cluster, due)] if any(due.values()) else []
    else:
        plan = transfer.routes
    report = replace(report, plan=tuple(dict.fromkeys(route.why for route in plan)))
    return report, report.exit_code(finding=NOT_VERIFIED if proves else 4)
