"""Results of a run that another host drives come here while it goes on; the host is this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner

from provisioning.errors import NodeError
from provisioning.inventory import Cluster, Environment, Node
from provisioning.launch import Session, open_session
from timeeval import cli_away
from timeeval.cli import results_command
from timeeval.cluster import alongside
from timeeval.cluster.lodging import Lodging
from timeeval.errors import TimeEvalError
from timeeval.run import layout
from timeeval.run.collected import Collect, Collected
from timeeval.run.driven import FILE_NAME, Driven
from timeeval.run.driver import Driver
from timeeval.run.journal import FILE_NAME as JOURNAL
from timeeval.run.journal import Journal
from timeeval.run.model import Attempt, AttemptEnded, AttemptStarted, Cell, Execution, Outcome, Report
from timeeval.run.records import RunInfo

CELLS = [Cell("algo/with a part", "coll", f"it's {number}", "abc", 1) for number in range(3)]


class Elsewhere:
    """A run that goes on on a host."""

    def __init__(self, host: Lodging, name: str) -> None:
        self.host = host
        self.folder = Path(host.note.results) / name
        self.folder.mkdir(parents=True)
        self.driver = Driver.this()
        self.driver.write(self.folder)
        self.journal = Journal.open(self.folder / JOURNAL)
        grid = [(Execution(cell.dataset, cell), {}) for cell in CELLS]
        self.journal.begin_run(RunInfo(name, 1, "digest", 1.0), grid)

    def finish(self, number: int, *, text: str = "scores", collected: bool = True) -> None:
        """Let an experiment end, and its files arrive at the host that drives."""
        cell, attempt = CELLS[number], f"{self.folder.name}-{number}"
        work = layout.work_dir(self.folder, attempt)
        work.mkdir(parents=True)
        (work / "anomaly_scores.ts").write_text(text)
        self.journal.write([AttemptStarted(Attempt(attempt, cell.dataset, 1, "n2"), 1.0)])
        self.journal.write([AttemptEnded(Report(attempt, Outcome.OK, "n2", 1.0, 2.0))])
        if collected:
            layout.publish(self.folder, cell, attempt)
            Collected(self.folder).note({attempt: Collect.ALL})

    def end(self) -> None:
        self.journal.close()
        dataclasses.replace(self.driver, exit_code=0).write(self.folder)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Lodging]:
    node = Node("n1", address="127.0.0.1", is_driver=True)
    cluster = Cluster(
        "lab", tmp_path / "cluster.toml", (node,), node, node, PurePosixPath(tmp_path / "results"),
        PurePosixPath(tmp_path / "state"), tmp_path / "known_hosts",
        environment=Environment(PurePosixPath(sys.prefix), "3.11"),
    )  # fmt: skip
    note = Driven("n1", str(tmp_path / "state" / "driven" / "x"), str(cluster.file), None, "all")
    (Path(note.folder) / "work").mkdir(parents=True)
    with open_session(cluster, node) as session:
        yield Lodging(cluster, session, note)


@pytest.fixture
def begin(host: Lodging) -> Iterator[Callable[..., Elsewhere]]:
    """Begin runs on the host that go on until they, or the test, are over."""
    begun: list[Elsewhere] = []

    def one(name: str = "2026_1") -> Elsewhere:
        begun.append(Elsewhere(host, name))
        return begun[-1]

    yield one
    for run in begun:
        run.journal.close()


@pytest.fixture
def here(tmp_path: Path, host: Lodging, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results folder here; whoever connects to the host gets a session of its own."""
    folder = tmp_path / "here" / "2026_9"
    folder.mkdir(parents=True)
    host.note.write(folder)

    @contextlib.contextmanager
    def connected(note: Driven, _file: Path | None = None) -> Iterator[Lodging]:
        with open_session(host.cluster, host.session.node) as session:
            yield Lodging(host.cluster, session, note)

    monkeypatch.setattr(alongside, "lodging", connected)
    return folder


def arrived(folder: Path) -> list[str]:
    return [
        cell.dataset for cell in CELLS if (layout.experiment_dir(folder, cell) / "anomaly_scores.ts").is_file()
    ]  # fmt: skip


def test_what_is_finished_comes_while_the_run_goes_on_and_only_once(
    host: Lodging, here: Path, begin: Callable[..., Elsewhere]
) -> None:
    first, second = begin(), begin("2026_1-2")
    along = alongside.Alongside(host, here)
    assert not along.round()
    first.finish(0)
    first.finish(1, collected=False)  # its files have not reached that host yet
    second.finish(2)
    assert along.round()
    assert (arrived(here), arrived(here.with_name("2026_9-2"))) == ([CELLS[0].dataset], [CELLS[2].dataset])
    assert along.files == 2
    assert not along.round()
    assert along.files == 2
    assert not list(here.glob("journal*")), "the run lives there"
    along.close()


def test_fetch_brings_the_table_as_of_now_and_in_the_end_everything(
    host: Lodging, here: Path, begin: Callable[..., Elsewhere]
) -> None:
    run = begin()
    run.finish(0)
    fetched = alongside.fetch(host.note, here, Collect.ALL)
    assert (fetched.goes_on, fetched.files, fetched.problem) == (True, 1, "")
    assert (here / "results.csv").read_text().count("Status.OK") == 1
    assert (here / FILE_NAME).exists()

    run.finish(1, text="more")
    assert alongside.fetch(host.note, here, Collect.ALL).files == 1
    run.end()
    fetched = alongside.fetch(host.note, here, Collect.ALL)
    assert (fetched.goes_on, fetched.problem) == (False, "")
    assert (here / JOURNAL).exists()


def test_it_is_collected_beside_a_run_that_is_followed(
    host: Lodging, here: Path, begin: Callable[..., Elsewhere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alongside, "PAUSE_SECONDS", 0.1)
    run = begin()
    said: list[str] = []
    with alongside.collecting(host.note, here, said.append):
        for number in (0, 1):
            run.finish(number)
            while len(arrived(here)) <= number:
                time.sleep(0.05)
    assert said == []


def test_who_watches_a_run_elsewhere_gets_what_is_finished(
    host: Lodging, here: Path, begin: Callable[..., Elsewhere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alongside, "PAUSE_SECONDS", 0.1)
    run = begin()

    def answer(_note: Driven, folder: Path, command: list[str], _file: Path | None) -> int:
        assert (folder, command) == (here, ["watch", "--json"])
        run.finish(0)
        while not arrived(here):
            time.sleep(0.05)
        return 4

    monkeypatch.setattr(cli_away, "answer", answer)
    assert CliRunner().invoke(results_command, ["watch", str(here), "--json"]).exit_code == 4


def test_what_keeps_it_from_coming_is_told_once(host: Lodging, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alongside, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(alongside, "LONGEST_PAUSE", 0.01)
    tried: list[float] = []

    def unreached(*_: object) -> None:
        tried.append(time.monotonic())
        raise TimeEvalError("no route to it", host="n1")

    monkeypatch.setattr(alongside, "lodging", unreached)
    said: list[str] = []
    with alongside.collecting(host.note, here, said.append):
        while len(tried) < 3:
            time.sleep(0.01)
    assert said == ["files of finished experiments do not come at the moment, and will: n1: no route to it"]


@pytest.mark.parametrize(
    "path", ["journal.sqlite", ".timeeval/a/b/c/1", "../x/a/b/c/1", "/etc/a/b/c/d", "a/../../b/c/d", 5]
)
def test_only_folders_of_experiments_are_believed(
    host: Lodging, here: Path, monkeypatch: pytest.MonkeyPatch, path: object
) -> None:
    answer = {"driver": 1, "runs": {"2026_1": {"read": 5, "folders": [path]}}}
    monkeypatch.setattr(Session, "call", lambda *_, **__: json.loads(json.dumps(answer)))
    with pytest.raises(NodeError, match="n1: its answer tells nothing of a run"):
        alongside.Alongside(host, here).round()
    assert list(here.parent.iterdir()) == [here]


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", ".."])
def test_only_names_of_folders_are_believed(
    host: Lodging, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for answer in ({"driver": 1, "runs": {name: {"read": 5, "folders": []}}}, {"driver": None, "runs": {name: []}}):
        monkeypatch.setattr(Session, "call", lambda *_, told=answer, **__: told)
        with pytest.raises(NodeError, match="n1: its answer"):
            host.news({}) if answer["driver"] else host.runs()
    assert list(here.parent.iterdir()) == [here]
