"""The machine's single decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timeeval.run.machine import Machine
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptSuperseded,
    Cancel,
    Cell,
    Command,
    Event,
    Execution,
    Finish,
    HostLost,
    HostSetAside,
    HostUp,
    Interrupted,
    Outcome,
    Report,
    Reported,
    Row,
    SetAside,
    Start,
    StopRequested,
    Tick,
)
from timeeval.run.policy import Policy


def execution(name: str, seconds: float = 1.0) -> Execution:
    return Execution(name, Cell("alg", "c", name, "p", 1), seconds)


def ok(attempt: Attempt, outcome: Outcome = Outcome.OK) -> Reported:
    return Reported(Report(attempt.id, outcome, attempt.host, 0.0, 1.0))


def started(commands: list[Command]) -> list[Attempt]:
    return [attempt for command in commands if isinstance(command, Start) for attempt in command.attempts]


class Drive:
    """A machine with a clock, for reading tests as stories."""

    def __init__(self, *names: str, policy: Policy | None = None, **seconds: float) -> None:
        self.machine = Machine([execution(n, seconds.get(n, 1.0)) for n in names], "r", policy=policy)
        self.now = 0.0
        self.rows: list[Row] = []

    def __call__(self, event: Event, after: float = 0.0) -> list[Command]:
        self.now += after
        commands, rows = self.machine.handle(event, self.now)
        self.rows += rows
        return commands


def test_longest_expected_runs_first() -> None:
    drive = Drive("short", "long", "middle", short=1, long=9, middle=5)
    first = started(drive(HostUp("a", 1)))
    second = started(drive(ok(first[0])))
    third = started(drive(ok(second[0])))
    assert [a.execution for a in (*first, *second, *third)] == ["long", "middle", "short"]


def test_equal_expectations_keep_the_order_of_the_grid() -> None:
    drive = Drive("x", "y", "z")
    assert [a.execution for a in started(drive(HostUp("a", 3)))] == ["x", "y", "z"]


def test_work_is_spread_over_free_hosts() -> None:
    drive = Drive("1", "2", "3", "4")
    drive(HostUp("a", 2))
    assert {a.host for a in started(drive(HostUp("b", 2)))} == {"b"}
    assert sorted(a.host for a in drive.machine.running) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM])
def test_what_the_algorithm_did_is_never_tried_again(outcome: Outcome) -> None:
    drive = Drive("x")
    (attempt,) = started(drive(HostUp("a", 1)))
    assert drive(ok(attempt, outcome)) == [Finish()]
    assert drive.machine.remaining == 0


def test_what_the_machinery_did_is_tried_on_another_host() -> None:
    drive = Drive("x", "y", x=9)
    drive(HostUp("a", 1))
    drive(HostUp("b", 1))
    x = next(a for a in drive.machine.running if a.execution == "x")
    other = next(a for a in drive.machine.running if a.execution == "y")
    assert started(drive(Interrupted(x.id, "worker killed"))) == []  # only its own host is free
    (again,) = started(drive(ok(other)))
    assert (again.execution, again.host, again.number) == ("x", other.host, 2)


def test_single_host_tries_again_itself() -> None:
    drive = Drive("x")
    (attempt,) = started(drive(HostUp("a", 1)))
    (again,) = started(drive(Interrupted(attempt.id, "worker killed")))
    assert (again.host, again.number) == ("a", 2)


def test_infrastructure_error_is_final_after_its_retries() -> None:
    drive = Drive("x", policy=Policy(infra_retries=2, host_failures=9))
    commands = drive(HostUp("a", 1))
    for _ in range(3):
        (attempt,) = started(commands)
        commands = drive(Interrupted(attempt.id, "worker killed"))
    assert commands == [Finish()]
    ends = [row for row in drive.rows if isinstance(row, AttemptEnded)]
    assert [row.report.outcome for row in ends] == [Outcome.INFRA] * 3
    assert ends[-1].report.error == "worker killed"


def test_a_host_that_changed_is_set_aside_at_once_and_nobody_is_blamed() -> None:
    drive = Drive("x", "y", policy=Policy(infra_retries=0))
    (x,) = started(drive(HostUp("a", 1)))
    refused = Report(x.id, Outcome.INFRA, "a", 0.0, 1.0, error="changed since verified: a.csv on a", changed=True)
    assert drive(Reported(refused)) == [SetAside("a", "changed since verified: a.csv on a")]
    assert drive.rows[-2:] == [AttemptEnded(refused), HostSetAside("a", "changed since verified: a.csv on a", 0.0)]
    (first,) = started(drive(HostUp("b", 1)))
    (second,) = started(drive(ok(first)))
    assert {(a.execution, a.host) for a in (first, second)} == {("x", "b"), ("y", "b")}
    assert drive(ok(second)) == [Finish()]


def test_one_poisonous_execution_does_not_set_a_host_aside() -> None:
    drive = Drive("poison", policy=Policy(infra_retries=5, host_failures=3))
    commands = drive(HostUp("a", 1))
    for _ in range(6):
        (attempt,) = started(commands)
        commands = drive(Interrupted(attempt.id, "segfault"))
    assert not [c for c in commands if isinstance(c, SetAside)]


def test_host_that_fails_different_executions_is_set_aside() -> None:
    drive = Drive("1", "2", "3", "4", policy=Policy(infra_retries=9, host_failures=3))
    commands = drive(HostUp("bad", 3))
    set_aside: list[Command] = []
    for attempt in started(commands):
        set_aside += [c for c in drive(Interrupted(attempt.id, "no docker")) if isinstance(c, SetAside)]
    assert [c.host for c in set_aside if isinstance(c, SetAside)] == ["bad"]
    assert [row.host for row in drive.rows if isinstance(row, HostSetAside)] == ["bad"]
    assert {a.host for a in started(drive(HostUp("good", 9)))} == {"good"}


def test_success_clears_a_hosts_failures() -> None:
    drive = Drive("1", "2", "3", "4", policy=Policy(infra_retries=9, host_failures=2))
    drive(HostUp("a", 1))
    for _ in range(4):
        (attempt,) = drive.machine.running
        drive(Interrupted(attempt.id, "blip"))
        (attempt,) = drive.machine.running
        drive(ok(attempt))
    assert drive.machine.finished
    assert not [row for row in drive.rows if isinstance(row, HostSetAside)]


def test_cut_shorter_than_the_lease_loses_nothing() -> None:
    drive = Drive("x")
    (attempt,) = started(drive(HostUp("a", 1)))
    assert drive(HostLost("a", "cut", fenced_after=20.0)) == []
    assert drive(Interrupted(attempt.id, "connection lost"), after=1.0) == []
    assert drive(HostUp("a", 1), after=5.0) == []
    assert drive(ok(attempt), after=30.0) == [Finish()]


def test_lost_host_is_fenced_before_its_work_runs_elsewhere() -> None:
    drive = Drive("x")
    drive(HostUp("a", 1))
    drive(HostUp("b", 1))
    (attempt,) = drive.machine.running
    drive(HostLost(attempt.host, "powered off", fenced_after=20.0))
    assert started(drive(Tick(), after=19.0)) == []
    (again,) = started(drive(Tick(), after=2.0))
    assert again.host != attempt.host


def test_late_outcome_is_superseded() -> None:
    drive = Drive("x")
    drive(HostUp("a", 1))
    drive(HostUp("b", 1))
    (first,) = drive.machine.running
    (second,) = started(drive(Interrupted(first.id, "worker killed")))
    assert drive(ok(second)) == [Finish()]
    drive(ok(first))
    assert isinstance(drive.rows[-1], AttemptSuperseded)


def test_stop_drains_and_second_stop_cancels() -> None:
    drive = Drive("x", "y", "z")
    (x, y) = started(drive(HostUp("a", 2)))
    assert drive(StopRequested(now=False)) == []
    assert drive(ok(x)) == []
    assert drive(StopRequested(now=True)) == [Cancel(y.id)]
    assert drive(StopRequested(now=True)) == []
    assert drive(Interrupted(y.id, "cancelled", cancelled=True)) == [Finish("stopped on request")]
    assert drive.machine.remaining == 2


def test_run_without_hosts_gives_up_after_its_patience() -> None:
    drive = Drive("x", policy=Policy(patience=10.0))
    assert drive(Tick()) == []
    assert drive(Tick(), after=9.0) == []
    (finish,) = drive(Tick(), after=2.0)
    assert isinstance(finish, Finish)
    assert "no usable host" in finish.reason


def test_nothing_to_do_ends_at_once() -> None:
    assert Drive()(Tick()) == [Finish()]


def test_two_executions_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two executions have the key x"):
        Machine([execution("x"), execution("x")], "r")


def test_attempt_numbers_continue_after_a_resume() -> None:
    machine = Machine([execution("x")], "r2", {"x": 3})
    commands, _ = machine.handle(HostUp("a", 1), 0.0)
    assert [(a.id, a.number) for a in started(commands)] == [("r2-1", 4)]


def test_the_loss_of_a_host_is_one_failure_however_many_slots_it_has() -> None:
    drive = Drive("x", "y", "z", policy=Policy(host_failures=2))
    drive(HostUp("a", 3))
    drive(HostLost("a", "power", fenced_after=20.0))
    assert drive(Tick(), after=21.0) == []
    assert len(started(drive(HostUp("a", 3)))) == 3
    drive(HostLost("a", "power again", fenced_after=20.0))
    assert any(isinstance(command, SetAside) for command in drive(Tick(), after=21.0))


def test_a_host_known_to_be_clean_is_waited_for_no_longer() -> None:
    drive = Drive("x")
    drive(HostUp("a", 1))
    drive(HostUp("b", 1))
    [attempt] = drive.machine.running
    drive(HostLost(attempt.host, "connection lost", fenced_after=300.0))
    [again] = started(drive(HostLost(attempt.host, "it was started anew", fenced_after=0.0), after=5.0))
    assert again.host != attempt.host


# --- bundles ----------------------------------------------------------------------------------------------------------


def bundles(commands: list[Command]) -> list[list[str]]:
    return [[attempt.execution for attempt in c.attempts] for c in commands if isinstance(c, Start)]


class Bundles(Drive):
    """Twenty short executions on one slot; three have ended, so it is known that they are short."""

    def __init__(self, seconds: float = 0.1, **policy: float) -> None:
        super().__init__(*(f"{n:02}" for n in range(20)), policy=Policy(**policy))
        self.seconds = seconds
        self.last = self(HostUp("a", 1))
        for _ in range(3):
            self.last = self(self.ended(started(self.last)[0]))

    def ended(self, attempt: Attempt, outcome: Outcome = Outcome.OK) -> Reported:
        return Reported(Report(attempt.id, outcome, attempt.host, 0.0, self.seconds))


def test_executions_that_are_known_to_be_short_go_together() -> None:
    assert bundles(Bundles().last) == [[f"{n:02}" for n in range(3, 12)]]  # half of what is left, and less than 1 s
    assert bundles(Bundles(seconds=0.3).last) == [["03", "04", "05"]]
    assert bundles(Bundles(bundle_most=2).last) == [["03", "04"]]


@pytest.mark.parametrize("options", [{"seconds": 2.0}, {"bundle_seconds": 0.0}])
def test_others_go_alone(options: dict[str, float]) -> None:
    assert bundles(Bundles(**options).last) == [["03"]]


def test_what_others_are_to_learn_from_goes_by_itself() -> None:
    drive = Drive()
    names = [f"{n:02}" for n in range(20)]
    grid = [replace(execution(name), alone=name in {"03", "06"}) for name in names]
    drive.machine = Machine(grid, "r", policy=Policy(bundle_most=4))
    sent = drive(HostUp("a", 1))
    seen = []
    while bundles(sent):
        (bundle,) = bundles(sent)
        seen.append(bundle)
        for attempt in started(sent):
            sent = drive(Reported(Report(attempt.id, Outcome.OK, attempt.host, 0.0, 0.1)))
    assert seen[3:6] == [["03"], ["04", "05"], ["06"]]
    assert sorted(name for bundle in seen for name in bundle) == names


def test_each_of_a_bundle_has_an_outcome_of_its_own_and_the_slot_is_taken_until_the_last() -> None:
    drive = Bundles(bundle_most=3)
    first, second, third = started(drive.last)
    assert drive(drive.ended(first)) == []
    assert drive(drive.ended(third, Outcome.ERROR)) == []
    assert len(started(drive(drive.ended(second)))) == 3
    ends = [row.report for row in drive.rows if isinstance(row, AttemptEnded)][-3:]
    assert [(end.attempt, end.outcome) for end in ends] == [
        (first.id, Outcome.OK),
        (third.id, Outcome.ERROR),
        (second.id, Outcome.OK),
    ]


def test_what_is_left_of_a_lost_bundle_runs_again_each_alone_and_counts_once_against_the_host() -> None:
    drive = Bundles(host_failures=2)
    members = started(drive.last)
    drive(drive.ended(members[0]))
    commands: list[Command] = []
    for member in members[1:]:
        commands += drive(Interrupted(member.id, "worker killed"))
    assert not [c for c in commands if isinstance(c, SetAside)]
    while not drive.machine.finished:
        alone = bundles(commands)
        lost = {member.execution for member in members[1:]}
        assert all(len(bundle) == 1 for bundle in alone if lost & set(bundle))
        commands = drive(drive.ended(drive.machine.running[0]))
    assert drive.machine.remaining == 0


def test_an_outcome_after_which_no_slot_is_free_can_wait_for_others() -> None:
    drive = Bundles(bundle_most=3)
    first, second, third = started(drive.last)
    assert drive.machine.can_wait(drive.ended(first))
    assert drive.machine.can_wait(drive.ended(second))
    assert not drive.machine.can_wait(drive.ended(third))
    assert not drive.machine.can_wait(Interrupted(first.id, "worker killed"))
    assert not drive.machine.can_wait(HostUp("b", 1))


def test_a_stop_cancels_each_of_a_bundle() -> None:
    drive = Bundles(bundle_most=3)
    members = started(drive.last)
    assert drive(StopRequested(now=True)) == [Cancel(member.id) for member in members]
    for member in members[:-1]:
        assert drive(Interrupted(member.id, "cancelled", cancelled=True)) == []
    assert drive(Interrupted(members[-1].id, "cancelled", cancelled=True)) == [Finish("stopped on request")]


# --- what is learned of durations -------------------------------------------------------------------------------------


def test_an_algorithm_that_turns_out_to_be_slow_goes_first() -> None:
    grid = [Execution(f"{a}{n}", Cell(a, "c", f"{n}", "p", 1), 10.0) for n in range(4) for a in ("slow", "quick")]
    machine = Machine(grid, "r", policy=Policy(bundle_seconds=0))
    took = {"slow": 50.0, "quick": 1.0}
    order = []
    commands, _ = machine.handle(HostUp("a", 1), 0.0)
    while not machine.finished:
        (attempt,) = started(commands)
        order.append(attempt.execution)
        report = Report(attempt.id, Outcome.OK, "a", 0.0, took[attempt.execution[:-1]])
        commands, _ = machine.handle(Reported(report), 0.0)
    assert order[:3] == ["slow0", "quick0", "slow1"]
    assert order[3:] == ["slow2", "slow3", "quick1", "quick2", "quick3"]


def test_estimates_of_earlier_runs_order_what_has_not_run_yet() -> None:
    known = {"x": 1.0, "y": 9.0}
    grid = [Execution(name, Cell(name, "c", "d", "p", 1), known[name], measured=True) for name in known]
    machine = Machine(grid, "r")
    commands, _ = machine.handle(HostUp("a", 1), 0.0)
    assert [attempt.execution for attempt in started(commands)] == ["y"]


def test_a_host_that_is_slow_is_the_last_to_be_chosen() -> None:
    grid = [Execution(f"x{n:02}", Cell("x", "c", "d", f"{n}", 1), 1.0) for n in range(40)]
    machine = Machine(grid, "r", policy=Policy(bundle_seconds=0))
    machine.handle(HostUp("a-slow", 1), 0.0)
    machine.handle(HostUp("b-quick", 1), 0.0)
    for _ in range(12):
        for attempt in machine.running:
            seconds = 30.0 if attempt.host == "a-slow" else 10.0
            machine.handle(Reported(Report(attempt.id, Outcome.OK, attempt.host, 0.0, seconds)), 0.0)
    assert machine._forecast.slowness("a-slow") > 1.2
    assert machine._forecast.slowness("b-quick") < 1
    for host in ("a-slow", "b-quick"):
        machine.handle(HostLost(host, "cut"), 0.0)
    machine.handle(HostUp("a-slow", 2), 0.0)
    commands, _ = machine.handle(HostUp("b-quick", 3), 0.0)
    assert [attempt.host for attempt in started(commands)] == ["b-quick"] * 3
