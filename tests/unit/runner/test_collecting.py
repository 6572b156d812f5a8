"""Results travel while the run goes on: an engine and hosts' folders that behave as the test says."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from test_loop import FakeEngine, plan, stopping

from timeeval.errors import EngineError
from timeeval.run import conduct as conducting
from timeeval.run import layout
from timeeval.run.collected import Collect, Collected
from timeeval.run.collecting import Brought, Collector
from timeeval.run.conduct import conduct
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import Attempt, AttemptStarted, Cell, Outcome, Report
from timeeval.run.records import RunInfo
from timeeval.run.remarks import remarks
from timeeval.run.session import Place

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel

FILES = {"anomaly_scores.ts": "0.5\n", "execution.log": "said", "models/model.pkl": "weights"}


class Hosts:
    """The hosts' folders: every attempt has `FILES` there."""

    parallel = 2

    def __init__(self, results_path: Path) -> None:
        self.results_path = results_path
        self.rounds: list[tuple[str, tuple[str, ...]]] = []
        self.sent: list[str] = []
        self.dropped: set[str] = set()
        self.kept: dict[str, Report] = {}
        self.down: set[str] = set()
        self.refused: set[str] = set()
        self.trouble: Callable[[str], None] = lambda _host: None
        self.closed = False

    def fetch(
        self, host: str, attempts: Mapping[str, Collection[str]], level: Collect, recorded: Sequence[str]
    ) -> Brought:
        self.rounds.append((host, tuple(attempts)))
        self.trouble(host)
        if host in self.down:
            raise EngineError("it is not reached", host=host)
        self.dropped.update(recorded)
        failed = {}
        for attempt, have in attempts.items():
            if attempt in self.refused:
                continue
            for name, text in FILES.items():
                patterns = level.patterns
                base = name.rpartition("/")[2]
                if name in have or (patterns is not None and not any(fnmatch(base, one) for one in patterns)):
                    continue
                file = layout.work_dir(self.results_path, attempt) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                self.sent.append(f"{attempt}/{name}")
        return Brought(failed=failed, refused=dict.fromkeys(self.refused & set(attempts), "it holds too much there"))

    def outcomes(self, host: str, attempts: Sequence[str]) -> None:
        if host in self.down:
            raise EngineError("it is not reached", host=host)
        for attempt in attempts:
            if attempt in self.kept:
                layout.keep_outcome(self.results_path, self.kept[attempt])

    def logs(self) -> None:
        """Bring nothing."""

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("timeeval.run.collecting.PAUSE_SECONDS", 0.01)


@pytest.fixture
def hosts(tmp_path) -> Hosts:
    return Hosts(tmp_path)


def place(hosts: Hosts, engine: FakeEngine | None = None) -> Place:
    return Place(engine or FakeEngine(), remote=True, depot=hosts)


def files_of(results: Path, dataset: str) -> set[str]:
    folder = results / "alg" / "p" / "c" / dataset / "1"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_files_are_here_before_the_run_ends(tmp_path, hosts):
    """The last experiment waits for the files of the others."""
    seen = threading.Event()

    class Waiting(FakeEngine):
        async def submit(self, parcel: Parcel) -> None:
            if any(attempt.execution == "k2" for attempt in parcel.attempts):
                await asyncio.to_thread(self.wait)
            await super().submit(parcel)

        def wait(self) -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not seen.is_set():
                if files_of(tmp_path, "d0") == set(FILES) == files_of(tmp_path, "d1"):
                    seen.set()
                time.sleep(0.01)

    outcomes = conduct(plan(tmp_path), place(hosts, Waiting()))
    assert seen.is_set()
    assert outcomes.reason == ""
    assert files_of(tmp_path, "d2") == set(FILES)
    assert hosts.closed


def test_nothing_is_fetched_twice_and_an_idle_resume_asks_nobody(tmp_path, hosts):
    conduct(plan(tmp_path), place(hosts))
    assert len(hosts.sent) == len(set(hosts.sent)) == 9
    again, engine = Hosts(tmp_path), FakeEngine()
    outcomes = conduct(plan(tmp_path, run_id="r22"), place(again, engine))
    assert (again.rounds, engine.calls, outcomes.reason) == ([], [], "")


def test_outcomes_leave_their_hosts_once_the_journal_has_them(tmp_path, hosts):
    def look(_host: str) -> None:
        with Journal.read(tmp_path / FILE_NAME) as journal:
            recorded.append({row.attempt for row in journal.rows() if row.outcome is not None})

    recorded: list[set[str | None]] = []
    hosts.trouble = look
    outcomes = conduct(plan(tmp_path), place(hosts))
    assert hosts.dropped == {row.attempt for row in outcomes.rows}
    assert all(set(attempts) <= known for (_, attempts), known in zip(hosts.rounds, recorded, strict=True))


@pytest.mark.parametrize("level", [Collect.SCORES, Collect.NONE])
def test_what_was_left_can_be_fetched_later_without_the_rest(tmp_path, hosts, level):
    outcomes = conduct(plan(tmp_path, collect=level), place(hosts))
    assert outcomes.reason == ""
    here = {"anomaly_scores.ts", "execution.log"} if level is Collect.SCORES else set()
    assert files_of(tmp_path, "d0") == here
    assert hosts.dropped == {row.attempt for row in outcomes.rows}
    if here:
        (tmp_path / "alg" / "p" / "c" / "d0" / "1" / "anomaly_scores.ts").write_text("mine")
    later = Hosts(tmp_path)
    conduct(plan(tmp_path, run_id="r22"), place(later))
    assert files_of(tmp_path, "d0") == set(FILES)
    assert len(later.sent) == 3 * (len(FILES) - len(here))
    if here:
        assert (tmp_path / "alg" / "p" / "c" / "d0" / "1" / "anomaly_scores.ts").read_text() == "mine"


def test_a_copy_that_fails_is_said_and_repeated(tmp_path, hosts, caplog):
    tries = []

    def fail_twice(host: str) -> None:
        tries.append(host)
        if len(tries) <= 2:
            raise EngineError("the line broke", host=host)

    hosts.trouble = fail_twice
    with caplog.at_level(logging.WARNING):
        outcomes = conduct(plan(tmp_path), place(hosts, FakeEngine(hosts=("a",))))
    assert outcomes.reason == ""
    assert files_of(tmp_path, "d2") == set(FILES)
    assert "did not arrive and are fetched again later: a: the line broke" in caplog.text
    assert "has arrived now" in caplog.text


def test_what_cannot_be_had_is_named_and_a_resume_brings_it(tmp_path, hosts):
    hosts.down = {"a"}
    outcomes = conduct(plan(tmp_path), place(hosts))
    on_a = sum(row.host == "a" for row in outcomes.rows)
    assert on_a
    assert f"the files of {on_a} experiments are still on a (a: it is not reached)" in outcomes.reason
    assert "timeeval-results fetch" in outcomes.reason
    assert [row.outcome for row in outcomes.rows] == [Outcome.OK] * 3
    assert sum(bool(files_of(tmp_path, f"d{n}")) for n in range(3)) == 3 - on_a

    again, engine = Hosts(tmp_path), FakeEngine()
    outcomes = conduct(plan(tmp_path, run_id="r22"), place(again, engine))
    assert outcomes.reason == ""
    assert engine.calls == []
    assert {host for host, _ in again.rounds} == {"a"}
    assert all(files_of(tmp_path, f"d{n}") == set(FILES) for n in range(3))


@pytest.mark.parametrize(("seconds", "asked"), [(0.0, 3), (15.0, 2), (25.0, 1)])
def test_what_is_tried_again_in_the_end_is_bounded_by_time_too(tmp_path, hosts, monkeypatch, seconds, asked):
    assert asyncio.run(_asked_in_the_end(tmp_path, hosts, monkeypatch, seconds, before=0)) == asked


def test_a_host_that_has_been_gone_for_long_is_asked_once_more_in_the_end(tmp_path, hosts, monkeypatch):
    assert asyncio.run(_asked_in_the_end(tmp_path, hosts, monkeypatch, 10.0, before=3)) == 1


async def _asked_in_the_end(tmp_path, hosts, monkeypatch, seconds, *, before):
    """Return how often a host is asked in the end that needs so long to be known as gone; before, that many times."""
    clock = [0.0]

    def wait_in_vain(_host):
        clock[0] += seconds

    monkeypatch.setattr("timeeval.run.collecting.time", SimpleNamespace(monotonic=lambda: clock[0]))
    hosts.down, hosts.trouble = {"a"}, wait_in_vain
    collector = Collector(hosts, tmp_path, Collect.ALL)
    collector.ended(Report("r1-1", Outcome.OK, "a", 1.0, 2.0), Cell("alg", "c", "d0", "p", 1))
    for task in collector._tasks:  # rounds come when the test says
        task.cancel()
    for _ in range(before):
        await collector._round(collector._desks["a"])
    assert "the files of 1 experiments are still on a" in await collector.settle()
    await collector.close(["r1-1"])
    return len(hosts.rounds) - before


def test_files_are_collected_while_the_engine_ends(tmp_path, hosts, monkeypatch):
    """A host that is gone keeps both waiting, and is waited for once."""
    monkeypatch.setattr("timeeval.run.collecting.PAUSE_SECONDS", 60.0)  # nothing is brought before the end

    class Slow(FakeEngine):
        async def stop(self) -> None:
            await asyncio.to_thread(asked.wait, 30)
            ended.append(asked.is_set())
            await super().stop()

    asked, ended = threading.Event(), []
    hosts.trouble = lambda _host: asked.set()
    outcomes = conduct(plan(tmp_path), place(hosts, Slow()))
    assert ended == [True]
    assert outcomes.reason == ""
    assert files_of(tmp_path, "d2") == set(FILES)


def test_what_stays_there_for_good_holds_up_nothing(tmp_path, hosts, caplog):
    hosts.refused = {"r1-1"}
    with caplog.at_level(logging.WARNING):
        outcomes = conduct(plan(tmp_path), place(hosts))
    assert outcomes.reason == ""
    assert "not all files of attempt r1-1 came: it holds too much there" in caplog.text


def test_a_full_disk_here_is_said(tmp_path, hosts, monkeypatch):
    def full(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layout, "publish", full)
    outcomes = conduct(plan(tmp_path), place(hosts))
    assert "not put in their place on this machine: [Errno 28] No space left on device" in outcomes.reason


def test_a_signal_while_results_are_collected_is_said(tmp_path, hosts, monkeypatch):
    made = stopping(monkeypatch, 0.2)
    collecting, go_on = threading.Event(), threading.Event()

    def hang(_host: str) -> None:
        collecting.set()
        go_on.wait(20)

    hosts.trouble = hang
    hosts.close = go_on.set
    results = []
    thread = threading.Thread(target=lambda: results.append(conduct(plan(tmp_path), place(hosts))))
    thread.start()
    collecting.wait(10)
    while made[0]._driving or made[0]._interruptible is None:
        time.sleep(0.01)
    made[0].stop(conducting.signal.SIGINT)
    thread.join(20)
    assert "while results were collected" in results[0].reason
    assert [row.outcome for row in results[0].rows] == [Outcome.OK] * 3


def test_outcomes_that_a_dead_driver_did_not_see_are_taken_in(tmp_path, hosts):
    """The first driver died after sending k0 and k1; only k0 has ended, on a; b is gone."""
    first = plan(tmp_path, 2)
    with Journal.open(tmp_path / FILE_NAME) as journal:
        journal.begin_run(first.info, first.grid)
        journal.write(
            [AttemptStarted(Attempt("r1-1", "k0", 1, "a"), 1.0), AttemptStarted(Attempt("r1-2", "k1", 1, "b"), 1.0)]
        )
    hosts.kept = {"r1-1": Report("r1-1", Outcome.OK, "a", 1.0, 2.0, values={"ROC_AUC": 0.25})}
    hosts.down = {"b"}
    engine = FakeEngine(hosts=("a",))
    outcomes = conduct(plan(tmp_path, 2, run_id="r22"), place(hosts, engine))
    assert [attempt.execution for attempt, _ in engine.sent] == ["k1"]
    assert [row.metrics["ROC_AUC"] for row in outcomes.rows] == [0.25, 0.5]
    assert files_of(tmp_path, "d0") == files_of(tmp_path, "d1") == set(FILES)
    assert list((tmp_path / layout.PRIVATE).glob("outcomes/*")) == []
    assert "r1-1" in hosts.dropped
    with Journal.read(tmp_path / FILE_NAME) as journal:
        assert journal.open_attempts() == []
    assert json.loads((tmp_path / "run.json").read_text())["runs"][1]["id"] == "r22"


def test_an_outcome_speaks_for_its_own_attempt_only(tmp_path, caplog):
    layout.keep_outcome(tmp_path, Report("r1-1", Outcome.OK, "a", 1.0, 2.0))
    folder = tmp_path / layout.PRIVATE / "outcomes"
    (folder / "r1-2.json").write_bytes((folder / "r1-1.json").read_bytes())
    (folder / "r1-3.json").write_text("[]")
    (folder / "r1-4.json").write_bytes(b"\xff")
    with caplog.at_level(logging.WARNING):
        assert [report.attempt for report in layout.kept_outcomes(tmp_path)] == ["r1-1"]
    assert "the outcome of another attempt, r1-1" in caplog.text


def test_new_files_of_an_attempt_join_those_that_are_here(tmp_path):
    cell = Cell("alg", "c", "d0", "p", 1)
    target = layout.experiment_dir(tmp_path, cell)
    target.mkdir(parents=True)
    (target / "metrics.csv").write_text("here")
    deep = layout.work_dir(tmp_path, "r1-1") / "models" / "one"
    deep.mkdir(parents=True)
    (deep / "model.pkl").write_text("new")
    assert layout.publish(tmp_path, cell, "r1-1", add=True)
    assert (target / "metrics.csv").read_text() == "here"
    assert (target / "models" / "one" / "model.pkl").read_text() == "new"
    assert not layout.work_dir(tmp_path, "r1-1").exists()
    assert not layout.publish(tmp_path, cell, "r1-1", add=True)


def test_what_a_crash_tore_is_looked_at_once_more(tmp_path):
    collected = Collected(tmp_path)
    collected.note({"r1-1": Collect.ALL, "r1-2": Collect.SCORES})
    file = tmp_path / layout.PRIVATE / "collected.jsonl"
    file.write_text(file.read_text()[:-5])
    again = Collected(tmp_path)
    assert [again.level(f"r1-{n}") for n in (1, 2, 3)] == [Collect.ALL, Collect.NONE, Collect.NONE]
    again.note({"r1-2": Collect.SCORES})
    assert Collected(tmp_path).level("r1-2") is Collect.SCORES


def test_what_is_left_is_named_by_host(tmp_path, hosts):
    rows = conduct(plan(tmp_path, collect=Collect.SCORES), place(hosts, FakeEngine(hosts=("a",)))).rows
    info = RunInfo("r1", 1, "", 0.0, info={"origin": {"results": "/there"}})
    assert remarks(tmp_path, rows, []) == []
    assert remarks(tmp_path, rows, [info]) == [
        (
            "files beside the scores of 3 experiments are on their hosts only: a (3); "
            f"`timeeval-results fetch {tmp_path}` brings them"
        )
    ]
    conduct(plan(tmp_path, run_id="r22"), place(hosts))
    assert remarks(tmp_path, rows, [info]) == []


def test_levels_are_ordered():
    assert Collect.ALL.covers(Collect.SCORES)
    assert Collect.SCORES.covers(Collect.SCORES)
    assert not Collect.NONE.covers(Collect.SCORES)
