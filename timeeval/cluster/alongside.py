"""Results of a run that another host drives come here while it goes on: what that host has collected so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from timeeval.cluster.lodging import Lodging, bring_home, local_of, lodging
from timeeval.errors import TimeEvalError
from timeeval.run import layout
from timeeval.run.collecting import LEISURE, LONGEST_PAUSE

if TYPE_CHECKING:
    from provisioning.transfer.gather import Gathered, Gathering
    from timeeval.run.collected import Collect
    from timeeval.run.driven import Driven

PAUSE_SECONDS = 5.0
STOP_SECONDS = 5.0
TABLE = "results.csv"

Hear = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came.

    Attributes
    ----------
    files : int
        Number of files that came while the run went on.
    goes_on : bool
        Whether there will be more.
    problem : str
        What could not be had and why; empty when nothing is missing.
    """

    files: int
    goes_on: bool
    problem: str


class Alongside:
    """Brings the files of finished experiments, each once, as often as asked.

    Parameters
    ----------
    host : Lodging
    results_path : Path
        The results folder here; those of further runs of the script are beside it.
    """

    def __init__(self, host: Lodging, results_path: Path) -> None:
        self._host = host
        self._results_path = results_path
        self._read: dict[str, int] = {}
        self._waiting: dict[str, dict[str, str]] = {}
        self._gatherings: dict[str, Gathering] = {}
        self.runs: list[str] = []
        self.goes_on = True
        self.files = 0

    @property
    def problem(self) -> str:
        """Why something that is finished has not come."""
        whys = [f"{name}/{path}: {why}" for name, paths in self._waiting.items() for path, why in paths.items()]
        return "; ".join(f"{self._host.session.node.name}: {why}" for why in whys)

    def round(self) -> bool:
        """Bring what is new while the run goes on; tell whether there may be more of it at once."""
        news = self._host.news(self._read)
        self.goes_on, self.runs = news.goes_on, list(news.folders)
        if not self.goes_on:
            return False
        more = False
        for name, folders in news.folders.items():
            more |= bool(folders)
            wanted = [*self._waiting.get(name, ()), *folders]
            if wanted:
                got = self._fetch(name, wanted)
                self.files += got.files
                self._waiting[name] = dict(got.failed)  # asked for again
        self._read = dict(news.read)  # not before: what broke off is told again
        return more

    def table(self) -> None:
        """Bring each run's table as it is now."""
        for name in self.runs:
            said: list[str] = []
            folder = f"{self._host.note.results}/{name}"
            if self._host.speak(["timeeval-results", "export", folder], said.append, said.append) == 0:
                self._fetch(name, [TABLE])

    def close(self) -> None:
        """End what runs, from any thread, and the connections of the transfer."""
        for gathering in list(self._gatherings.values()):
            gathering.close()
        for name in self.runs:
            layout.tidy(local_of(self._results_path, self.runs, name))

    def _fetch(self, name: str, paths: list[str]) -> Gathered:
        local = local_of(self._results_path, self.runs, name)
        local.mkdir(parents=True, exist_ok=True)
        if name not in self._gatherings:
            self._gatherings[name] = self._host.gathering(name, local)
        here = [
            file.relative_to(local).as_posix() for path in paths for file in (local / path).rglob("*") if file.is_file()
        ]
        return self._gatherings[name].fetch(paths, have=here)


def fetch(note: Driven, results_path: Path, level: Collect, cluster_file: Path | None = None) -> Fetched:
    """Bring what there is of a run that another host drives, also while it goes on.

    Parameters
    ----------
    note : Driven
    results_path : Path
        The results folder here; those of further runs of the script are beside it.
    level : Collect
        How much of what experiments wrote; while the run goes on, as much as it collects itself.
    cluster_file : Path, optional
        The cluster file, if it is not where it was.

    Raises
    ------
    TimeEvalError
        When no run has begun or the host is not reached.
    """
    with lodging(note, cluster_file) as host:
        along = Alongside(host, results_path)
        try:
            while along.goes_on and along.round():
                pass
            if along.goes_on:
                along.table()
                return Fetched(along.files, goes_on=True, problem=along.problem)
        finally:
            along.close()
        return Fetched(along.files, goes_on=False, problem=bring_home(host, results_path, level))


@contextmanager
def collecting(note: Driven, results_path: Path, hear: Hear, cluster_file: Path | None = None) -> Iterator[None]:
    """Bring finished experiments for the length of a block, in a thread and over a connection of its own.

    What goes wrong is told once and tried again; nothing depends on it, for `fetch` brings in the end what is missing.

    Parameters
    ----------
    note : Driven
    results_path : Path
    hear : callable
        Told in a line what keeps files from coming.
    cluster_file : Path, optional
        The cluster file, if it is not where it was.
    """
    over = threading.Event()
    open_now: list[Alongside] = []

    def follow() -> None:
        with lodging(note, cluster_file) as host:
            along = Alongside(host, results_path)
            open_now.append(along)
            try:
                pause = PAUSE_SECONDS
                while not over.wait(pause):
                    begun = time.monotonic()
                    more = along.round()
                    took = time.monotonic() - begun
                    pause = min(max(PAUSE_SECONDS, LEISURE * took), LONGEST_PAUSE) if not more else took
            finally:
                along.close()
                open_now.remove(along)

    def work() -> None:
        told = False
        while not over.is_set():
            try:
                follow()
            except (TimeEvalError, ProvisionError, OSError) as error:
                if not told and not over.is_set():
                    hear(f"files of finished experiments do not come at the moment, and will: {error}")
                told = True
                over.wait(LONGEST_PAUSE)

    thread = threading.Thread(target=work, name="timeeval-alongside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        for along in [*open_now]:
            along.close()
        thread.join(STOP_SECONDS)
