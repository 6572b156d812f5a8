"""The host that drives a run, spoken to from here: over one connection, and to that host alone.

Whatever is asked about the run is answered by ``timeeval-results`` there; what it has collected is brought home by the
transfer engine's gather.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from provisioning.asking import open_asking
from provisioning.errors import NodeError
from provisioning.node import tree
from provisioning.transfer.gather import Gathering
from timeeval.cluster import open_cluster
from timeeval.cluster.luggage import STAYS
from timeeval.cluster.translated import translated
from timeeval.errors import JournalError, TimeEvalError
from timeeval.run import layout
from timeeval.run.collected import Collect
from timeeval.run.detaching import LOG
from timeeval.run.driven import FILE_NAME, Driven
from timeeval.run.driver import Driver

if TYPE_CHECKING:
    from provisioning.inventory import Cluster
    from provisioning.launch import Session

PROGRAM = "timeeval.cluster.lodge"
SILENCE_SECONDS = 60.0
"""Longest silence of a host that says every ten seconds that it is there."""
COMPLETE = frozenset({0, 64})
"""Exit codes of a driver that has left nothing to be computed."""
EXPERIMENT_DEPTH = 5
LEVELS = (Collect.NONE, Collect.SCORES, Collect.ALL)

Hear = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class News:
    """What a host says of the runs that it drives.

    Attributes
    ----------
    goes_on : bool
        Whether their driver lives.
    read : mapping of str to int
        How far the list of each was read.
    folders : mapping of str to sequence of str
        Folders of experiments whose files have arrived there, by the run's results folder, the first run's first.
    """

    goes_on: bool
    read: Mapping[str, int]
    folders: Mapping[str, Sequence[str]]


class Lodging:
    """A run's folder on the host that drives it.

    Parameters
    ----------
    cluster : Cluster
        With the environment that the run uses.
    session : Session
        Open, to that host.
    note : Driven
    """

    def __init__(self, cluster: Cluster, session: Session, note: Driven) -> None:
        if cluster.environment is None:
            raise TimeEvalError(
                f"{cluster.file} has no [environment] in which a driver could run there",
                host=session.node.name,
                remedy="Name prefix and python there and run `timeeval-provision up`",
            )
        place = PurePosixPath(note.folder)
        if place.parent != cluster.state / "driven" or place.name == "..":
            raise TimeEvalError(
                f"{note.folder} is no folder of a run there: those lie in {cluster.state}/driven",
                host=session.node.name,
                remedy=f"Let state in {cluster.file} be what it was when the run began, or ask who made the note",
            )
        self.note = note
        self.cluster = cluster
        self.session = session
        self._bin = f"{cluster.environment.prefix}/bin"

    def settle(self, archive: IO[bytes], links: Mapping[str, str]) -> None:
        """Bring what a driver needs; what an earlier one needed is replaced."""
        self._call("settle", data=archive, python=f"{self._bin}/python", links=dict(links))

    def speak(self, command: Sequence[str], out: Hear, err: Hear) -> int:
        """Run one of our own commands there, in the run's working folder; return its exit status.

        Parameters
        ----------
        command : sequence of str
            Name of the command, and its arguments.
        out, err : callable
            Get the lines that it writes.
        """

        def hear(event: dict[str, Any]) -> None:
            for name, listener in (("out", out), ("err", err)):
                if name in event:
                    listener(event[name])

        program, *arguments = command
        argv = [f"{self._bin}/python", f"{self._bin}/{program}", *arguments]
        answer = self._call("run", on_event=hear, argv=argv, below="work")
        return int(answer["status"])

    def runs(self) -> dict[str, list[str]]:
        """Return what lies in the results folder of each run that has ended, the first run's before the others'."""
        found = self._call("list")["runs"]
        try:
            return {_name(name): [str(entry) for entry in found[name]] for name in _by_number(found)}
        except (TypeError, ValueError, AttributeError) as error:
            raise NodeError(f"its answer lists no runs: {error!r}", host=self.session.node.name) from error

    def news(self, seen: Mapping[str, int]) -> News:
        """Return what has been collected there beyond what was seen.

        Parameters
        ----------
        seen : mapping of str to int
            What `News.read` said the last time.
        """
        told = self._call("news", seen=dict(seen))
        try:
            runs = {_name(name): run for name, run in told["runs"].items()}
            folders = {name: [_experiment(path) for path in run["folders"]] for name, run in runs.items()}
            read = {name: int(run["read"]) for name, run in runs.items()}
            return News(told["driver"] is not None, read, {name: folders[name] for name in _by_number(folders)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NodeError(f"its answer tells nothing of a run: {error!r}", host=self.session.node.name) from error

    def gathering(self, name: str, local: Path) -> Gathering:
        """Return what brings files of the results folder of a run into one here."""
        node = self.session.node
        remote = PurePosixPath(self.note.results) / name
        return Gathering(self.cluster, node, remote, local, layout.stage_dir(local, node.name))

    def remove(self) -> None:
        """Take the folder away, results included."""
        self._call("remove")

    def _call(self, action: str, *, data: IO[bytes] | None = None, on_event: Any = None, **args: Any) -> dict[str, Any]:  # noqa: ANN401 - as Session.call
        request = {"do": action, "folder": self.note.folder, **args}
        return self.session.call(PROGRAM, request, timeout=SILENCE_SECONDS, data=data, on_event=on_event)


@contextlib.contextmanager
def lodging(note: Driven, cluster_file: Path | None = None) -> Iterator[Lodging]:
    """Connect to the host that drives a run.

    Parameters
    ----------
    note : Driven
    cluster_file : Path, optional
        The cluster file, if it is not where it was.
    """
    cluster = open_cluster(cluster_file or Path(note.cluster_file), note.environment)
    with translated(), open_asking(cluster, cluster.node(note.host)) as session:
        yield Lodging(cluster, session, note)


def ask(
    note: Driven, results_path: Path, command: Sequence[str], out: Hear, err: Hear, *, cluster_file: Path | None = None
) -> int:
    """Let ``timeeval-results`` there answer; return its exit status.

    Parameters
    ----------
    note : Driven
    results_path : Path
        The results folder here, by which paths are told.
    command : sequence of str
        ``show``, ``watch`` or ``stop`` with options.
    out, err : callable
        Get the lines that it writes.
    cluster_file : Path, optional
        The cluster file, if it is not where it was.
    """

    def here(listener: Hear) -> Hear:
        return lambda line: listener(note.told_here(line, results_path))

    with lodging(note, cluster_file) as host:
        verb, *options = command
        return host.speak(["timeeval-results", verb, note.results, *options], here(out), here(err))


def bring_home(host: Lodging, results_path: Path, level: Collect) -> str:
    """Fetch the results of a run that does not go on; when all is here, nothing is left there and the note goes.

    Parameters
    ----------
    host : Lodging
    results_path : Path
        The results folder here; those of further runs of the script are beside it.
    level : Collect
        How much of what experiments wrote; more than was collected before is collected there first.

    Returns
    -------
    str
        What could not be had and why; empty when all is here that was asked for.

    Raises
    ------
    TimeEvalError, provisioning.errors.ProvisionError
        When the run goes on or the host is not reached.
    """
    problems = []
    runs = host.runs()
    if not runs:
        raise JournalError(
            f"no run has begun in {host.note.folder} on {host.note.host}",
            remedy=f"Remove {results_path} and start it again",
        )
    if LEVELS.index(level) > LEVELS.index(Collect(host.note.collect)):
        for name in runs:
            problems += _collect_there(host, name, level)
        runs = host.runs()
    for name, entries in runs.items():
        problems += _fetch(host, name, entries, local_of(results_path, runs, name))
    if not problems and level is Collect.ALL and _complete(results_path):
        host.remove()
        (results_path / FILE_NAME).unlink()
    return "; ".join(problems)


def local_of(results_path: Path, runs: Iterable[str], name: str) -> Path:
    """Return the results folder here of one of the runs there; the first one's is that of the note."""
    return results_path.with_name(results_path.name + name.removeprefix(next(iter(runs))))


def _by_number(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


def _name(name: str) -> str:
    """Return the name of a results folder; raises ValueError for what leads elsewhere."""
    if "/" in tree.safe_path(name):
        raise ValueError(f"{name} is no folder's name")
    return name


def _experiment(path: object) -> str:
    """Return the path of an experiment's folder; raises ValueError for every other one."""
    parts = tree.safe_path(path).split("/")
    if len(parts) < EXPERIMENT_DEPTH or parts[0] == layout.PRIVATE:
        raise ValueError(f"{path} is no experiment's folder")
    return "/".join(parts)


def _collect_there(host: Lodging, name: str, level: Collect) -> list[str]:
    said: list[str] = []
    folder = f"{host.note.results}/{name}"
    command = ["timeeval-results", "fetch", folder, "--collect", level.value, "--cluster", host.note.on_host]
    status = host.speak(command, said.append, said.append)
    return [] if status == 0 else ["".join(said).strip()]


def _fetch(host: Lodging, name: str, entries: Sequence[str], local: Path) -> list[str]:
    local.mkdir(parents=True, exist_ok=True)
    gathering = host.gathering(name, local)
    try:
        got = gathering.fetch([entry for entry in entries if entry not in STAYS])
    finally:
        gathering.close()
        layout.tidy(local)
    for left in ("journal.sqlite-wal", "journal.sqlite-shm"):
        if left not in entries:  # of an earlier state of the journal: it would be read as part of this one
            (local / left).unlink(missing_ok=True)
    if (local / LOG).is_file():
        (local / LOG).chmod(0o600)
    return [f"{gathering.node.name}: {name}/{path}: {why}" for path, why in {**got.failed, **got.refused}.items()]


def _complete(results_path: Path) -> bool:
    return Driver.of(results_path).exit_code in COMPLETE
