"""The loop with an engine that answers as the test says."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from timeeval.errors import EngineError
from timeeval.run import conduct as conducting
from timeeval.run import loop as looping
from timeeval.run.conduct import Plan, conduct
from timeeval.run.files import FilesHere
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    Cell,
    Execution,
    HostLost,
    HostUp,
    Interrupted,
    Outcome,
    Report,
    Reported,
)
from timeeval.run.packing import PackingError, encode
from timeeval.run.policy import Policy
from timeeval.run.records import MetricIdentity, RunInfo
from timeeval.run.session import Place

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel

Answer = Callable[["FakeEngine", Attempt], object]


def ok(engine: FakeEngine, attempt: Attempt) -> Reported:
    return Reported(Report(attempt.id, Outcome.OK, attempt.host, 1.0, 2.0, values={"ROC_AUC": 0.5}))


class FakeEngine:
    name = "fake"

    def __init__(self, answer: Answer = ok, hosts: tuple[str, ...] = ("a", "b"), started: Exception | None = None):
        self.answer, self.hosts, self.started = answer, hosts, started
        self.sent: list[tuple[Attempt, str]] = []
        self.calls: list[str] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self, post) -> None:
        self.calls.append("start")
        self.post, self.loop = post, asyncio.get_running_loop()
        if self.started is not None:
            raise self.started
        for host in self.hosts:
            post(HostUp(host, 1))

    def results_dir(self, results_path: Path) -> Path:
        return results_path

    async def submit(self, parcel: Parcel) -> None:
        for attempt, job in zip(parcel.attempts, parcel.jobs, strict=True):
            self.sent.append((attempt, job.decode(errors="replace")))
            event = self.answer(self, attempt)
            if isinstance(event, Exception):
                raise event
            if event is not None:
                self.loop.call_soon(self.post, event)

    async def cancel(self, attempt_id: str) -> None:
        self.calls.append(f"cancel {attempt_id}")

    async def stop(self) -> None:
        self.calls.append("stop")

    def hosts_of(self, key: str) -> list[str]:
        return [attempt.host for attempt, _ in self.sent if attempt.execution == key]


def plan(folder: Path, size: int = 3, run_id: str = "r1", **fields) -> Plan:
    grid = [(Execution(f"k{n}", Cell("alg", "c", f"d{n}", "p", 1)), {"algo": "x"}) for n in range(size)]
    info = RunInfo(run_id, 1, "digest", float(len(run_id)), metrics={"ROC_AUC": MetricIdentity()})
    fields.setdefault("job_of", lambda key, slots: f"{key} {slots}".encode())
    return Plan(folder, info, grid, **fields)


def test_runs_everything_then_stops(tmp_path):
    engine = FakeEngine()
    outcomes = conduct(plan(tmp_path), Place(engine))
    assert outcomes.reason == ""
    assert [row.outcome for row in outcomes.rows] == [Outcome.OK] * 3
    assert engine.calls == ["start", "stop"]
    assert sorted(job for _, job in engine.sent) == ["k0 1", "k1 1", "k2 1"]


def test_nothing_due_starts_no_engine(tmp_path):
    conduct(plan(tmp_path), Place(FakeEngine()))
    engine = FakeEngine()
    outcomes = conduct(plan(tmp_path, run_id="r22"), Place(engine))
    assert engine.calls == []
    assert [row.outcome for row in outcomes.rows] == [Outcome.OK] * 3


def test_a_new_metric_makes_executions_without_stored_scores_due_again_once(tmp_path, caplog):
    conduct(plan(tmp_path), Place(FakeEngine()))
    again = plan(tmp_path, run_id="r22")
    wider = {"ROC_AUC": MetricIdentity(), "NEW": MetricIdentity()}
    info = RunInfo("r22", 1, "digest", 9.0, metrics=wider)
    engine = FakeEngine()
    conduct(Plan(tmp_path, info, again.grid, again.job_of), Place(engine))
    assert len(engine.sent) == 3
    assert "3 experiments run again for the metrics NEW" in caplog.text
    third = FakeEngine()
    conduct(Plan(tmp_path, RunInfo("r333", 1, "d", 10.0, metrics=wider), again.grid, again.job_of), Place(third))
    assert third.sent == []


def test_an_interrupted_attempt_runs_elsewhere(tmp_path):
    def answer(engine, attempt):
        if attempt.execution == "k0" and len(engine.hosts_of("k0")) == 1:
            return Interrupted(attempt.id, "worker killed")
        return ok(engine, attempt)

    engine = FakeEngine(answer)
    outcomes = conduct(plan(tmp_path), Place(engine))
    assert [row.outcome for row in outcomes.rows] == [Outcome.OK] * 3
    assert len(set(engine.hosts_of("k0"))) == 2


def test_a_lost_host_loses_nothing(tmp_path):
    def answer(engine, attempt):
        if attempt.host == "a":
            engine.loop.call_soon(engine.post, HostLost("a", "power"))
            return None
        return ok(engine, attempt)

    outcomes = conduct(plan(tmp_path), Place(FakeEngine(answer)))
    assert [(row.outcome, row.host) for row in outcomes.rows] == [(Outcome.OK, "b")] * 3


def test_an_engine_that_cannot_submit_is_infrastructure(tmp_path):
    outcomes = conduct(
        plan(tmp_path, 1),
        Place(FakeEngine(lambda *_: EngineError("no connection", host="a")), policy=Policy(1, 100)),
    )
    assert [row.outcome for row in outcomes.rows] == [Outcome.INFRA]
    assert "no connection" in outcomes.rows[0].error
    with Journal.read(tmp_path / FILE_NAME) as journal:
        assert journal.attempts_made() == {"k0": 2}


def test_what_cannot_be_packed_is_the_experiments_error(tmp_path):
    def job_of(key: str, _slots: int) -> bytes:
        if key == "k1":
            raise PackingError("a lock")
        return b"job"

    outcomes = conduct(plan(tmp_path, job_of=job_of), Place(FakeEngine()))
    assert [row.outcome for row in outcomes.rows] == [Outcome.OK, Outcome.ERROR, Outcome.OK]


def test_when_nobody_is_left_it_says_so(tmp_path):
    def answer(engine, attempt):
        return HostLost(attempt.host, "power")

    engine = FakeEngine(answer, hosts=("a",))
    outcomes = conduct(plan(tmp_path), Place(engine, policy=Policy(patience=0.0)))
    assert "no usable host" in outcomes.reason
    assert outcomes.signal is None
    assert engine.calls[-1] == "stop"


def test_an_engine_that_does_not_start_is_stopped_and_named(tmp_path):
    engine = FakeEngine(started=EngineError("no route", host="a"))
    with pytest.raises(EngineError, match="a: no route"):
        conduct(plan(tmp_path), Place(engine))
    assert engine.calls == ["start", "stop"]
    with Journal.open(tmp_path / FILE_NAME):  # and the journal is free again
        pass


def test_hosts_are_prepared_before_their_first_experiment_and_finalized(tmp_path):
    engine = FakeEngine()
    conduct(plan(tmp_path, before=b"before", after=b"after"), Place(engine, remote=True))
    for host in engine.hosts:
        jobs = [job for attempt, job in engine.sent if attempt.host == host]
        assert (jobs[0], jobs[-1]) == ("before", "after")
        assert jobs.count("before") == jobs.count("after") == 1


def test_a_failing_preparation_ends_the_run_with_its_host(tmp_path):
    def answer(engine, attempt):
        return Reported(Report(attempt.id, Outcome.ERROR, attempt.host, 1.0, 2.0, error="RuntimeError('no disk')"))

    engine = FakeEngine(answer)
    with pytest.raises(EngineError, match=r"[ab]: preparing an algorithm failed: RuntimeError\('no disk'\)"):
        conduct(plan(tmp_path, before=b"before"), Place(engine, remote=True))
    assert engine.calls[-1] == "stop"


def stopping(monkeypatch, seconds: float):
    """Give the test the conductor, whose `stop` is what a signal handler calls."""
    made = []
    original = conducting._Conductor.__init__

    def init(self, *arguments):
        original(self, *arguments)
        made.append(self)

    monkeypatch.setattr(conducting._Conductor, "__init__", init)
    monkeypatch.setattr(looping, "CANCEL_PATIENCE", seconds)
    return made


def test_an_engine_that_never_confirms_is_not_waited_for(tmp_path, monkeypatch):
    made = stopping(monkeypatch, 0.2)
    submitted = threading.Event()

    def answer(engine, attempt):
        submitted.set()

    engine = FakeEngine(answer, hosts=("a",))
    results = []
    thread = threading.Thread(target=lambda: results.append(conduct(plan(tmp_path), Place(engine))))
    thread.start()
    submitted.wait(10)
    for _ in range(2):
        made[0].stop(conducting.signal.SIGINT)
    thread.join(20)
    assert [row.outcome for row in results[0].rows] == [Outcome.CANCELLED, None, None]
    assert "did not confirm" in results[0].rows[0].error
    assert engine.calls[-1] == "stop"
    assert any(call.startswith("cancel") for call in engine.calls)


def test_the_grace_time_ends(tmp_path, monkeypatch):
    made = stopping(monkeypatch, 0.2)
    submitted = threading.Event()
    engine = FakeEngine(lambda *_: submitted.set(), hosts=("a",))
    results = []
    thread = threading.Thread(target=lambda: results.append(conduct(plan(tmp_path), Place(engine), grace=0.1)))
    thread.start()
    submitted.wait(10)
    made[0].stop(conducting.signal.SIGTERM)
    thread.join(20)
    assert results[0].signal is conducting.signal.SIGTERM
    assert results[0].rows[0].outcome is Outcome.CANCELLED


def test_a_signal_while_hosts_start_stops_the_start(tmp_path, monkeypatch):
    made = stopping(monkeypatch, 0.2)
    starting = threading.Event()

    class Slow(FakeEngine):
        async def start(self, post) -> None:
            starting.set()
            await asyncio.sleep(60)

    engine = Slow()
    results = []
    thread = threading.Thread(target=lambda: results.append(conduct(plan(tmp_path), Place(engine))))
    thread.start()
    starting.wait(10)
    made[0].stop(conducting.signal.SIGINT)
    thread.join(20)
    assert "while the hosts were started" in results[0].reason
    assert engine.calls == ["stop"]


def test_jobs_have_a_header_that_needs_no_pickle():
    from timeeval.run.packing import decode

    assert decode(encode({"kind": "call"}, b"\x80\x05payload")) == ({"kind": "call"}, b"\x80\x05payload")


def test_outcomes_of_a_bundle_that_come_together_are_one_commit(tmp_path, monkeypatch):
    commits: list[int] = []
    write = Journal.write

    def counted(journal, rows):
        commits.append(sum(isinstance(row, AttemptEnded) for row in rows))
        write(journal, rows)

    def quick(_engine, attempt):
        return Reported(Report(attempt.id, Outcome.OK, attempt.host, 1.0, 1.01, values={"ROC_AUC": 0.5}))

    monkeypatch.setattr(Journal, "write", counted)
    conduct(plan(tmp_path, 40), Place(FakeEngine(quick, hosts=("a",)), policy=Policy(bundle_most=8)))
    assert sum(commits) == 40
    assert max(commits) == 8


class Hourglass(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on only when it would wait, and then at once by so much."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.seconds = 0.0

    def time(self) -> float:
        return self.seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: Hourglass) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "it waits for something that nobody here does"
            self._loop.seconds += timeout
        return ready


class AtOnce:
    """An executor without threads."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, function: Callable[..., object], *args: object) -> Future[object]:
        done: Future[object] = Future()
        done.set_result(function(*args))
        return done

    def shutdown(self) -> None:
        pass


class PaceEngine(FakeEngine):
    """Each outcome of a bundle comes some time after the one before."""

    def __init__(self, seconds: float) -> None:
        super().__init__(hosts=("a",))
        self.seconds = seconds
        self.came: dict[str, float] = {}

    async def submit(self, parcel: Parcel) -> None:
        for number, attempt in enumerate(parcel.attempts, start=1):
            report = Report(attempt.id, Outcome.OK, attempt.host, 1.0, 1.01, values={"ROC_AUC": 0.5})
            self.loop.call_later(number * self.seconds, self._come, report)

    def _come(self, report: Report) -> None:
        self.came[report.attempt] = self.loop.time()
        self.post(Reported(report))


@pytest.mark.parametrize("pace", [0.001, 0.015, 0.03, 0.2])
def test_outcomes_are_recorded_together_and_none_waits_longer_than_50_ms_for_others(tmp_path, monkeypatch, pace):
    engine = PaceEngine(pace)
    commits: list[tuple[float, list[str]]] = []
    write = Journal.write

    def noted(journal, rows):
        write(journal, rows)
        commits.append((engine.loop.time(), [row.report.attempt for row in rows if isinstance(row, AttemptEnded)]))

    monkeypatch.setattr(Journal, "write", noted)
    monkeypatch.setattr(looping, "ThreadPoolExecutor", AtOnce)
    todo = plan(tmp_path, 200)
    executions = [execution for execution, _ in todo.grid]
    cells = {execution.key: execution.cell for execution in executions}

    async def run(journal: Journal) -> str:
        loop = looping.Loop(engine, journal, FilesHere(tmp_path), policy=Policy(bundle_most=40))
        await loop.start()
        try:
            return await loop.run(looping.Work("r1", executions, todo.job_of), {}, cells)
        finally:
            await loop.stop()

    with Journal.open(tmp_path / FILE_NAME) as journal, asyncio.Runner(loop_factory=Hourglass) as runner:
        journal.begin_run(todo.info, todo.grid)
        assert runner.run(run(journal)) == ""
        assert {row.outcome for row in journal.rows()} == {Outcome.OK}

    recorded = {attempt: at for at, attempts in commits for attempt in attempts}
    assert recorded.keys() == engine.came.keys()
    assert len(recorded) == 200
    assert max(at - engine.came[attempt] for attempt, at in recorded.items()) <= 0.05
    together = max(len(attempts) for _, attempts in commits)
    assert {0.001: 30 <= together <= 51, 0.015: together in {3, 4}, 0.03: together == 2, 0.2: together == 1}[pace]
