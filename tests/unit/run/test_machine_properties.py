"""The run under crash, loss, duplication and reordering at every step.

The rules play a world of unreliable hosts against the machine with a real journal behind it. Whatever happens, the
invariants hold; and once the world behaves, the run ends with an outcome for every execution.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from timeeval.run.journal import Journal
from timeeval.run.machine import Machine
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    Cancel,
    Cell,
    Event,
    Execution,
    Finish,
    HostLost,
    HostUp,
    Interrupted,
    Outcome,
    Report,
    Reported,
    SetAside,
    Start,
    StopRequested,
    Tick,
)
from timeeval.run.policy import Policy
from timeeval.run.records import Limits, MetricIdentity, RunInfo, Scored

HOSTS = ("a", "b", "c")
ALGORITHM_OUTCOMES = (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM)
POLICY = Policy(infra_retries=2, host_failures=3, patience=5.0)


def executions(count: int) -> list[Execution]:
    return [Execution(f"k{i}", Cell("alg", "c", f"d{i}", "p", 1), expected_seconds=float(i % 3)) for i in range(count)]


class World(RuleBasedStateMachine):
    """Hosts that crash, messages that are lost, doubled and late, and a driver that dies."""

    @initialize(count=st.integers(1, 20))
    def begin(self, count: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.sqlite"
        self.grid = executions(count)
        self.now = 0.0
        self.runs = 0
        self.metrics = {"ROC_AUC": MetricIdentity()}
        self.sent: dict[str, Attempt] = {}  # every attempt ever sent, over all drivers
        self.messages: list[Report] = []  # reports made durable on nodes, delivered or not
        self.finals: dict[str, str] = {}  # execution -> attempt that is its record
        self.interruptions: dict[str, int] = {}
        self.journal: Journal | None = None
        self.drive()

    def drive(self) -> None:
        """Start a driver on the journal, as a resume does."""
        self.runs += 1
        self.journal = Journal.open(self.path)
        self.journal.adopt(self.messages)
        done = self.journal.finished(Limits())
        self.adopted_by_now = done
        for key, outcome in done.items():
            assert outcome in ALGORITHM_OUTCOMES
            self.finals.setdefault(key, "adopted")
        due = [execution for execution in self.grid if execution.key not in done]
        run = RunInfo(f"r{self.runs}", 1, "grid", self.now, metrics=dict(self.metrics))
        self.journal.begin_run(run, [(execution, {}) for execution in self.grid])
        self.machine = Machine(due, run.id, self.journal.attempts_made(), POLICY)
        self.interruptions = {}
        self.slots: dict[str, int] = {}
        self.up: set[str] = set()
        self.aside: set[str] = set()
        self.out: dict[str, Attempt] = {}
        self.bundles: list[set[str]] = []
        self.stopping = False
        self.finish: Finish | None = None

    def feed(self, event: Event) -> None:
        assert self.journal is not None
        finished_before = self.finish is not None
        commands, rows = self.machine.handle(event, self.now)
        self.journal.write(rows)
        for row in rows:
            if isinstance(row, AttemptEnded):
                self.record(row.report)
        for command in commands:
            assert not finished_before, f"{command} after the end"
            match command:
                case Start(attempts):
                    assert len({attempt.host for attempt in attempts}) == 1
                    self.bundles.append({attempt.id for attempt in attempts})
                    for attempt in attempts:
                        assert AttemptStarted(attempt, self.now) in rows, "sent before it was durable"
                        assert attempt.host in self.up - self.aside
                        assert not self.stopping
                        assert attempt.id not in self.sent
                        assert attempt.execution not in {a.execution for a in self.out.values()}
                        assert len(attempts) == 1 or not self.interruptions.get(attempt.execution), "not alone"
                        self.sent[attempt.id] = self.out[attempt.id] = attempt
                case Cancel(attempt_id):
                    assert attempt_id in self.out
                case SetAside(host):
                    self.aside.add(host)
                case Finish():
                    assert not self.out
                    self.finish = command

    def record(self, report: Report) -> None:
        attempt = self.out.pop(report.attempt)  # each attempt ends once, and only when it was out
        if report.outcome in ALGORITHM_OUTCOMES:
            assert attempt.execution not in self.finals, "two records for one execution"
            self.finals[attempt.execution] = attempt.id
        elif report.outcome is Outcome.INFRA:
            self.interruptions[attempt.execution] = self.interruptions.get(attempt.execution, 0) + 1
            assert self.interruptions[attempt.execution] <= POLICY.infra_retries + 1

    @rule(host=st.sampled_from(HOSTS), slots=st.integers(1, 2))
    def host_comes(self, host: str, slots: int) -> None:
        if host in self.up:
            return
        self.up.add(host)
        self.slots[host] = slots
        self.feed(HostUp(host, slots))

    @rule(host=st.sampled_from(HOSTS), lease=st.sampled_from([0.0, 3.0]))
    def host_goes(self, host: str, lease: float) -> None:
        self.up.discard(host)
        self.feed(HostLost(host, "gone", lease))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(ALGORITHM_OUTCOMES), delivered=st.booleans())
    def node_finishes(self, data: st.DataObject, outcome: Outcome, delivered: bool) -> None:
        attempt = self.out[data.draw(st.sampled_from(sorted(self.out)))]
        if any(report.attempt == attempt.id for report in self.messages):
            return
        report = Report(attempt.id, outcome, attempt.host, self.now, self.now, values={"ROC_AUC": 0.5})
        self.messages.append(report)
        if delivered:
            self.feed(Reported(report))

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def message_comes_late_or_again(self, data: st.DataObject) -> None:
        self.feed(Reported(data.draw(st.sampled_from(self.messages))))

    @rule()
    def message_of_a_stranger(self) -> None:
        self.feed(Reported(Report("never-sent-1", Outcome.OK, "a", 0.0, 0.0)))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def node_lies_about_its_name(self, data: st.DataObject) -> None:
        attempt = self.out[data.draw(st.sampled_from(sorted(self.out)))]
        before = dict(self.finals)
        self.feed(Reported(Report(attempt.id, Outcome.CANCELLED, "elsewhere", 0.0, 0.0)))
        assert self.finals == before

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def machinery_breaks(self, data: st.DataObject) -> None:
        self.feed(Interrupted(data.draw(st.sampled_from(sorted(self.out))), "worker killed"))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def slot_is_lost_with_its_bundle(self, data: st.DataObject) -> None:
        attempt_id = data.draw(st.sampled_from(sorted(self.out)))
        (bundle,) = [bundle for bundle in self.bundles if attempt_id in bundle]
        aside = set(self.aside)
        failures = self.interrupted_here(self.out[attempt_id].host)
        for member in sorted(bundle & set(self.out)):
            self.feed(Interrupted(member, "worker killed"))
        if failures == 0 and POLICY.host_failures > 1:
            assert self.aside == aside, "a lost bundle counted more than once"

    def interrupted_here(self, host: str) -> int:
        """Count infrastructure errors of a host that this driver has seen."""
        return sum(1 for a in self.sent.values() if a.host == host and self.interruptions.get(a.execution))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def node_is_not_what_was_proven(self, data: st.DataObject) -> None:
        attempt = self.out[data.draw(st.sampled_from(sorted(self.out)))]
        if any(report.attempt == attempt.id for report in self.messages):
            return
        self.interruptions[attempt.execution] = self.interruptions.get(attempt.execution, 0) - 1  # nobody is blamed
        self.feed(Reported(Report(attempt.id, Outcome.INFRA, attempt.host, 0.0, 0.0, changed=True)))
        assert attempt.host in self.aside

    @rule(host=st.sampled_from(HOSTS))
    def host_is_cut_off_and_back_within_its_lease(self, host: str) -> None:
        if host not in self.up:
            return
        before = {attempt.id for attempt in self.out.values() if attempt.host == host}
        self.up.discard(host)
        self.feed(HostLost(host, "cut", 5.0))
        self.now += 3.0
        for attempt_id in sorted(before):
            self.feed(Interrupted(attempt_id, "connection lost"))
        self.up.add(host)
        self.feed(HostUp(host, self.slots[host]))
        self.now += 20.0
        self.feed(Tick())
        assert before <= set(self.out), "what ran on was given up"

    @rule(name=st.sampled_from(["PR_AUC", "RANGE_PR_AUC"]))
    def metric_is_added_to_what_is_stored(self, name: str) -> None:
        assert self.journal is not None
        self.journal.close()
        self.metrics[name] = MetricIdentity()
        self.drive()
        lacking = self.journal.lacking()
        values = {name: 0.25}
        self.journal.add_metrics(Scored(lack.attempt, lack.names, values) for lack in lacking.values())
        assert self.journal.lacking() == {}
        assert set(self.journal.finished(Limits())) == set(self.finals), "the executions are untouched"

    @rule(seconds=st.sampled_from([0.1, 2.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.feed(Tick())

    @rule(now=st.booleans())
    def a_person_stops_it(self, now: bool) -> None:
        self.stopping = True
        self.feed(StopRequested(now))

    @rule()
    def driver_is_killed_and_resumed(self) -> None:
        assert self.journal is not None
        self.journal.close()
        self.drive()

    @invariant()
    def slots_are_never_overbooked(self) -> None:
        for host, slots in getattr(self, "slots", {}).items():
            busy = [
                bundle for bundle in self.bundles if any(i in self.out and self.out[i].host == host for i in bundle)
            ]
            assert len(busy) <= max(slots, 2)

    @invariant()
    def the_journal_knows_every_record(self) -> None:
        if self.journal is not None:
            assert set(self.journal.finished(Limits())) == set(self.finals)

    def teardown(self) -> None:
        if getattr(self, "journal", None) is None:
            return
        try:
            self.settle()
        finally:
            assert self.journal is not None
            self.journal.close()
            self.folder.cleanup()

    def settle(self) -> None:
        """From here on nothing fails: a resumed run must end, with an outcome for every execution."""
        assert self.journal is not None
        self.journal.close()
        self.drive()
        for host in HOSTS:
            self.up.add(host)
            self.slots[host] = 1
            self.feed(HostUp(host, 1))
        for _ in range(len(self.grid) + 1):
            for attempt in list(self.out.values()):
                self.feed(Reported(Report(attempt.id, Outcome.OK, attempt.host, self.now, self.now)))
        assert self.finish == Finish("")
        assert set(self.finals) == {execution.key for execution in self.grid}
        rows = self.journal.rows()
        assert [row.key for row in rows] == [execution.key for execution in self.grid]
        assert all(row.outcome in ALGORITHM_OUTCOMES for row in rows)


World.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWorld = World.TestCase


def test_report_survives_json_with_nan_as_null() -> None:
    report = Report("r-1", Outcome.OK, "h", 1.0, 2.0, values={"a": 0.5, "b": float("nan"), "c": None})
    back = Report.from_json(report.to_json())
    assert back == replace(report, values={"a": 0.5, "b": None, "c": None})
