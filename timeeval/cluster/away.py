"""Runs whose driver is one of the cluster's hosts: brought there, started, spoken to, and brought home.

The driver there is the very same ``timeeval-run SCRIPT --cluster … --detach`` in that host's verified environment. This
machine speaks with that host alone; whatever is asked about the run is answered by ``timeeval-results`` there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.asking import open_asking
from provisioning.errors import NodeError, NotVerifiedError, ProvisionError, UnreachableError
from provisioning.gate import standing
from provisioning.noderange import fold
from provisioning.resources.base import Needs
from provisioning.transplant import sources_beside
from timeeval.cluster import luggage, open_cluster
from timeeval.cluster.lodging import Lodging
from timeeval.cluster.translated import translated
from timeeval.errors import TimeEvalError
from timeeval.run.driven import FILE_NAME, Driven
from timeeval.run.journal import FILE_NAME as JOURNAL
from timeeval.run.session import new_folder

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

Hear = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Departure:
    """What is to be driven elsewhere.

    Attributes
    ----------
    script, arguments
        As on the command line.
    also : sequence of Path
        Files and folders that the script reads here.
    results, resume : Path, optional
        Folder for results folders here, or the results folder that is completed.
    host : str or None
        Who drives; None where the folder that is resumed says so.
    cluster_file : Path
    environment : str, optional
    limit, exclude : sequence of str
    collect : str
    options : sequence of str
        All further options of the driver's ``timeeval-run``.
    """

    script: Path
    arguments: Sequence[str]
    also: Sequence[Path]
    results: Path | None
    resume: Path | None
    host: str | None
    cluster_file: Path
    environment: str | None
    limit: Sequence[str]
    exclude: Sequence[str]
    collect: str
    options: Sequence[str]


@dataclass(frozen=True, slots=True)
class Departed:
    """What became of a start elsewhere.

    Attributes
    ----------
    results : Path
        The results folder here.
    note : Driven
        Where the run lives.
    pid : int or None
        The driver there; None where there was nothing to do and the run is over.
    said : str
        What was said when it was over.
    """

    results: Path
    note: Driven
    pid: int | None
    said: str = ""


class RefusedError(TimeEvalError):
    """The driver there did not start; it has said why.

    Parameters
    ----------
    said : str
        Its own words.
    exit_code : int
    """

    def __init__(self, said: str, exit_code: int) -> None:
        super().__init__(said)
        self.exit_code = exit_code


def depart(wish: Departure, hear: Hear) -> Departed:
    """Start a driver on a host of the cluster; what is refused is refused before a run begins.

    Parameters
    ----------
    wish : Departure
    hear : callable
        Told in a line what is being done.

    Raises
    ------
    TimeEvalError
        With host, cause and remedy; nothing is left there or here then, but for results of earlier runs.
    """
    cluster = open_cluster(wish.cluster_file, wish.environment)
    known = None if wish.resume is None else Driven.of(wish.resume)
    node = _driver(cluster, wish, known)
    files = luggage.files_of(wish.script, wish.also)
    with _folder(wish) as here, translated(), open_asking(cluster, node) as session:
        folder = known.folder if known is not None else str(cluster.state / "driven" / _name(here))
        note = Driven(node.name, folder, str(cluster.file), wish.environment, wish.collect)
        host = Lodging(cluster, session, note)
        _demand_proof(host)
        hear(f"taking the run to {node.name}")
        try:
            pushed = wish.resume if known is None else None
            with luggage.packed(cluster, node, wish.script, files, pushed) as archive:
                host.settle(archive, sources_beside(cluster, Path.cwd()))
            _demand_logins(host, wish)
        except BaseException:
            _forget(host, here, known)
            raise
        note.write(here)
        hear(f"starting its driver on {node.name}")
        try:
            return _start(host, here, wish)
        except (KeyboardInterrupt, UnreachableError) as error:
            # the driver may be up by now: the note leads there
            raise UnknownStartError(node.name, here, error) from error
        except BaseException:
            _forget(host, here, known)
            raise


class UnknownStartError(TimeEvalError):
    """Nobody here knows whether a driver is up there."""

    def __init__(self, host: str, here: Path, error: BaseException) -> None:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else getattr(error, "message", str(error))
        super().__init__(
            f"it is not known whether the run has begun ({why})",
            host=host,
            remedy=f"`timeeval-results watch {shlex.quote(str(here))}` tells; with `stop` instead it ends",
        )
        self.exit_code = 130 if isinstance(error, KeyboardInterrupt) else UnreachableError.exit_code


def _forget(host: Lodging, here: Path, known: Driven | None) -> None:
    """Take away what was brought for a run that does not begin; an earlier one's folder stays where it lives."""
    if known is not None:
        return
    with contextlib.suppress(ProvisionError):  # the cause is told; what is left there is named by `clean`
        host.remove()
    (here / FILE_NAME).unlink(missing_ok=True)


class UnreachableLoginsError(UnreachableError):
    """A host is reached, and does not reach others."""


def _driver(cluster: Cluster, wish: Departure, known: Driven | None) -> Node:
    name = wish.host or (known.host if known is not None else "")
    if known is not None and known.host != name:
        raise TimeEvalError(
            f"the run of {wish.resume} lives on {known.host}, not on {name}",
            remedy=f"Say --on {known.host}, or leave --on out",
        )
    if wish.resume is not None and known is None and not (wish.resume / JOURNAL).is_file():
        raise TimeEvalError(
            f"{wish.resume} cannot be resumed: it holds no {JOURNAL}",
            remedy="Name the folder with the date in its name that an earlier run wrote",
        )
    node = next((node for node in cluster.nodes if node.name == name), None)
    if node is None:
        hosts = fold(node.name for node in cluster.nodes)
        raise TimeEvalError(f"{cluster.file} has no host '{name}'", remedy=f"Its hosts: {hosts}")
    if node.is_driver:
        raise TimeEvalError("it is this machine", host=name, remedy="Leave --on out; --detach needs no terminal either")
    return node


@contextlib.contextmanager
def _folder(wish: Departure) -> Iterator[Path]:
    """Give the results folder here; a new one is taken away again when nothing has come of it."""
    if wish.resume is not None:
        yield wish.resume.resolve()
        return
    folder = new_folder((wish.results or Path("results")).resolve())
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # it holds the note of a run that may have begun
            folder.rmdir()
        raise


def _name(here: Path) -> str:
    mark = hashlib.sha256(f"{socket.gethostname()}:{here}".encode()).hexdigest()[:8]
    return f"{here.name}-{mark}"


def _demand_proof(host: Lodging) -> None:
    cluster, node = host.cluster, host.session.node
    try:
        standing(cluster, host.session, Needs())
    except NotVerifiedError as error:
        command = f"timeeval-provision up --cluster {shlex.quote(str(cluster.file))} --limit {shlex.quote(node.name)}"
        command += f" --environment {cluster.variant}" if cluster.variant else ""
        raise NotVerifiedError(
            f"it may not drive a run: {error.message}", host=node.name, remedy=f"`{command}` mends and verifies it"
        ) from error


def _demand_logins(host: Lodging, wish: Departure) -> None:
    """Demand that the driver there gets in at all other hosts of the run by logins of its own."""
    name = host.session.node.name
    others = [node.name for node in host.cluster.select(wish.limit, wish.exclude) if node.name != name]
    if not others:
        return
    out: list[str] = []
    err: list[str] = []
    options = ["--cluster", host.note.on_host, "--json", "--limit", ",".join(others)]
    host.speak(["timeeval-provision", "exec", *options, "--", "true"], out.append, err.append)
    documents = {document["node"]: document for document in map(json.loads, out)}
    if documents.keys() != set(others):
        raise NodeError(f"its logins at the other hosts could not be tried: {''.join(err).strip()}", host=name)
    refused = {other: document["error"] for other, document in documents.items() if document["error"] is not None}
    if refused:
        causes = "".join(f"\n  {other}: {error['message']}" for other, error in refused.items())
        raise UnreachableLoginsError(
            f"its own SSH logins do not get in everywhere, so it cannot drive a run there:{causes}\n",
            host=name,
            remedy=f"Give {name} a key pair of its own (ssh-keygen there) and put its public half into authorized_keys "
            f"on the others (ssh-copy-id), or leave them out with --exclude {shlex.quote(','.join(refused))}",
        )


def _start(host: Lodging, here: Path, wish: Departure) -> Departed:
    note = host.note
    run = ["--results", note.results]
    if wish.resume is not None:
        known = host.runs()
        if not known:
            raise TimeEvalError(
                f"no run has begun in {note.folder}, so none can be resumed",
                host=note.host,
                remedy=f"Remove {here} and start the run without --resume",
            )
        run = ["--resume", f"{note.results}/{next(iter(known))}"]
    options = ["--cluster", note.on_host, *run, "--collect", note.collect, "--detach", "--json", *wish.options]
    for name, values in (("--limit", wish.limit), ("--exclude", wish.exclude)):
        options += [part for value in values for part in (name, value)]
    script = luggage.place(wish.script, wish.script)
    out: list[str] = []
    err: list[str] = []
    status = host.speak(["timeeval-run", *options, script, "--", *wish.arguments], out.append, err.append)
    if status:
        raise RefusedError(note.told_here("".join(err) or "".join(out), here).strip(), status)
    with contextlib.suppress(ValueError, KeyError, IndexError):
        return Departed(here, note, int(json.loads(out[-1])["pid"]))
    return Departed(here, note, None, note.told_here("".join(out), here))
