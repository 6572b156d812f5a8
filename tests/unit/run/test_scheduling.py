"""The order of the machine against the best there is, in a small world of `benchmarks.scheduling`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scheduling import GOAL, World, clairvoyant, in_order, known, scheduled
from timeeval.run.agenda import Agenda
from timeeval.run.durations import Durations, Estimate
from timeeval.run.forecast import Forecast
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.machine import Machine
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    Cell,
    Event,
    Execution,
    HostUp,
    Outcome,
    Report,
    Reported,
    Start,
)
from timeeval.run.records import RunInfo


@pytest.mark.parametrize("seed", [0, 1])
def test_the_makespan_is_near_the_bound_and_below_that_of_the_lists_order(seed: int) -> None:
    world = World.make(20, 2000, seed)
    makespan, _ = scheduled(world, known(world))
    assert world.bound <= makespan <= GOAL * world.bound
    assert makespan < in_order(world, np.arange(2000))


def test_the_world_is_what_it_says() -> None:
    world = World.make(50, 5000)
    hit = np.mean(world.seconds > world.limit)
    assert hit == pytest.approx(0.01, abs=0.001)
    assert 0.7 <= world.speeds.min() < world.speeds.max() <= 1.3
    executions = known(world)
    assert len({e.cell.algorithm for e in executions if not e.measured}) == 16
    errors = [np.log(e.expected_seconds / world.seconds[int(e.key)]) for e in executions if e.measured]
    assert np.std(errors) == pytest.approx(0.7, abs=0.05)


def test_the_forecast_learns_how_an_algorithm_grows_with_its_data() -> None:
    forecast = Forecast()
    for length in (10.0, 100.0, 1000.0, 10_000.0) * 3:
        execution = Execution(f"{length}", Cell("square", "c", "d", "p", 1), length)
        forecast.learn(execution, "a", 1e-4 * length**2)
    longer = Execution("x", Cell("square", "c", "d", "p", 1), 100_000.0)
    assert forecast.seconds(longer) == pytest.approx(1e6, rel=0.9)
    assert forecast.seconds(Execution("y", Cell("new", "c", "d", "p", 1), 7.0, measured=True)) == 7.0


def test_one_who_knows_all_loses_what_the_world_loses_and_no_more() -> None:
    world = World.make(10, 1000, 0)
    assert np.isfinite(world.lost).any()
    assert world.bound <= clairvoyant(world) <= GOAL * world.bound
    lossless = replace(world, lost=np.full_like(world.lost, np.nan))
    assert clairvoyant(lossless) < clairvoyant(world)


def test_an_unknown_algorithm_that_does_not_end_is_expected_to_be_slow() -> None:
    executions = [Execution(f"{name}{n}", Cell(name, "c", "d", "p", 1), 10.0) for name in "ab" for n in range(6)]
    machine = Machine(executions, "r")

    def started(event: Event, now: float) -> list[str]:
        commands, _ = machine.handle(event, now)
        return [attempt.execution for c in commands if isinstance(c, Start) for attempt in c.attempts]

    names = [name for slot in range(4) for name in started(HostUp(f"h{slot}", 1), 0.0)]
    assert sorted(names) == ["a0", "a1", "b0", "b1"]
    first = names.index("a0")
    outcome = Report(f"r-{first + 1}", Outcome.OK, f"h{first}", 0.0, 1.0)
    assert started(Reported(outcome), 1.0) == ["b2"]  # what a takes is known; b takes longer, however long


def test_an_agenda_gives_everything_once_in_the_order_of_what_is_expected() -> None:
    rng = np.random.default_rng(0)
    executions = [
        Execution(f"{n}", Cell(f"a{n % 7}", "c", "d", "p", 1), float(seconds), measured=True)
        for n, seconds in enumerate(rng.random(500))
    ]
    agenda = Agenda(executions, Forecast())
    taken = [agenda.take() for _ in range(500)]
    assert agenda.take() is None
    assert len(agenda) == 0
    assert taken == sorted(executions, key=lambda execution: -execution.expected_seconds)


def test_two_of_an_unknown_algorithm_go_before_all_that_is_known() -> None:
    known_ones = [Execution(f"k{n}", Cell("known", "c", "d", "p", 1), 100.0, measured=True) for n in range(3)]
    unknown = [Execution(f"u{n}", Cell("unknown", "c", "d", "p", 1), 1.0) for n in range(3)]
    agenda = Agenda([*known_ones, *unknown], Forecast())
    assert [execution.key for _ in range(6) if (execution := agenda.take()) is not None] == [
        *("u0", "u1", "k0", "k1", "k2", "u2"),
    ]


# --- earlier journals -------------------------------------------------------------------------------------------------


def write_journal(folder: Path, took: dict[tuple[str, str], float]) -> None:
    folder.mkdir(parents=True)
    with Journal.open(folder / FILE_NAME) as journal:
        grid = [Execution(f"{a}{d}", Cell(a, "c", d, "p", 1)) for a, d in took]
        journal.begin_run(RunInfo("r", 1, "g", 0.0), [(execution, {}) for execution in grid])
        for number, (execution, seconds) in enumerate(zip(grid, took.values(), strict=True)):
            attempt = Attempt(f"r-{number}", execution.key, 1, "h")
            report = Report(attempt.id, Outcome.OK, "h", 100.0, 100.0 + seconds)
            journal.write([AttemptStarted(attempt, 0.0), AttemptEnded(report)])


LENGTHS = {("c", "short"): 100.0, ("c", "long"): 1000.0}


def test_durations_come_from_the_journals_of_this_folder_and_of_those_beside_it(tmp_path: Path) -> None:
    write_journal(tmp_path / "2026_01_01", {("a", "short"): 99.0, ("b", "short"): 3.0})
    write_journal(tmp_path / "2026_02_01", {("a", "short"): 5.0})
    (tmp_path / "2026_03_01").mkdir()
    (tmp_path / "2026_03_01" / FILE_NAME).write_text("no journal")
    durations = Durations.of(tmp_path / "2026_04_01", LENGTHS)
    assert durations.estimate("a", "c", "short") == Estimate(5.0, measured=True)
    assert durations.estimate("a", "c", "long") == pytest.approx((50.0, True))
    seconds, measured = durations.estimate("new", "c", "long")
    assert not measured
    assert 30 < seconds < 50, "what is usual per point, between a and b"
    write_journal(tmp_path / "2026_04_01", {("a", "short"): 7.0})
    assert Durations.of(tmp_path / "2026_04_01", LENGTHS).estimate("a", "c", "short").seconds == 7.0


def test_without_earlier_runs_the_length_is_the_guess(tmp_path: Path) -> None:
    assert Durations.of(tmp_path / "new", LENGTHS).estimate("a", "c", "long") == Estimate(1000.0, measured=False)
