"""What large evaluations cost the driver; `benchmarks.capacity` measures more of them."""

from __future__ import annotations

import tracemalloc

import pytest

from benchmarks import capacity
from timeeval.run.grid import Grid
from timeeval.run.identity import Identities


@pytest.fixture
def evaluation(tmp_path):
    return lambda size: capacity.evaluation(tmp_path, size)


def test_a_cell_of_the_grid_is_small(evaluation):
    exps = evaluation(5000).exps
    identities = Identities()
    tracemalloc.start()
    try:
        grid = Grid(exps.cells(), identities.execution)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(grid) == 5000
    assert held / len(grid) < 800, "bytes"


def test_an_experiment_made_of_the_grid_is_the_one_that_went_in(evaluation):
    exps = evaluation(300).exps
    exps.repetitions = 2
    identities = Identities()
    grid = Grid(exps.cells(), identities.execution)
    for experiment, (execution, _) in zip(exps.cells(), grid, strict=True):
        assert grid.experiment(execution.key) == experiment


def test_a_run_in_memory_has_every_result(monkeypatch):
    monkeypatch.setattr(capacity, "DATASETS", 10)
    measured = capacity.measure(200)
    assert measured["experiments"] == 200
