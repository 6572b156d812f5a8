"""The same bits wherever an experiment is computed: in this process, in a child, or when a run is resumed."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from small_data import algorithm

from timeeval import DefaultMetrics, TimeEval
from timeeval.metrics import RangePrAUC, RangePrVUS
from timeeval.params import FullParameterGrid
from timeeval.run.session import Session, local_place, opened

IDS = [("small", "one"), ("small", "two"), ("small", "multi")]
METRICS = [
    DefaultMetrics.ROC_AUC,
    DefaultMetrics.PR_AUC,
    DefaultMetrics.RANGE_PR_AUC,
    RangePrAUC(buffer_size=4),
    RangePrVUS(max_buffer_size=10),
]
Found = dict[str, tuple[bytes, bytes, dict[str, str]]]

pytestmark = pytest.mark.usefixtures("kept_processes")


def projected(data: np.ndarray, args: dict) -> np.ndarray:
    """Sums, products, transforms and seeded chance: what rounds."""
    chance = np.random.default_rng(args["seed"])
    wide = np.asarray(data, dtype=float) @ chance.normal(size=(data.shape[1], 7))
    spectrum = np.fft.rfft(wide, axis=0)
    spectrum[len(spectrum) // 2 :] = 0
    return np.exp(np.abs(wide - np.fft.irfft(spectrum, len(wide), axis=0)).mean(axis=1)) / 3


def made(results: Path) -> Found:
    """Return what the experiments of a results folder wrote: scores, scaled scores and metrics as text."""
    found = {}
    for path in sorted(results.glob("projected/*/small/*/1")):
        with (path / "metrics.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        values = {name: value for name, value in row.items() if not name.endswith("_time")}
        scores = (path / "raw_anomaly_scores.ts").read_bytes(), (path / "anomaly_scores.ts").read_bytes()
        found[str(path.relative_to(results))] = (*scores, values)
    return found


@pytest.fixture
def make(datasets, tmp_path):
    def build(name: str, ids=IDS, seeds=(1, 2)) -> TimeEval:
        grid = FullParameterGrid({"seed": list(seeds)})
        return TimeEval(
            datasets,
            ids,
            [algorithm(projected, param_config=grid)],
            results_path=tmp_path / name,
            metrics=METRICS,
            disable_progress_bar=True,
        )

    return build


def test_in_process_child_and_resumed_runs_agree_to_the_last_bit(make):
    here = make("here")
    for experiment in here.exps:
        experiment.evaluate()
    inside = made(here.results_path)
    assert len(inside) == 6
    assert all(set(values) == set(here.metric_names) for _, _, values in inside.values())

    children = make("children")
    children.run()
    assert made(children.results_path) == inside

    begun = make("resumed", ids=IDS[1:], seeds=(2,))
    begun.run()
    with opened(Session(local_place, resume=begun.results_path)):
        resumed = make("resumed")
        resumed.run()
    assert resumed.results_path == begun.results_path
    assert made(resumed.results_path) == inside

    names = children.metric_names
    assert resumed.results[names].equals(children.results[names])
    for text, row in zip(
        inside.values(), children.results.sort_values(["hyper_params_id", "dataset"]).iloc, strict=True
    ):
        assert [float(text[2][name]) for name in names] == list(row[names])


def chance(data: np.ndarray, _: dict) -> np.ndarray:
    return np.random.random_sample(len(data)) + random.random()


def test_chance_is_the_same_in_every_run_and_another_in_every_repetition(datasets, tmp_path):
    drawn = []
    for name in ("first", "second"):
        np.random.seed(len(drawn))  # the script's own state has no part in it
        timeeval = TimeEval(
            datasets,
            IDS[:1],
            [algorithm(chance)],
            results_path=tmp_path / name,
            repetitions=3,
            disable_progress_bar=True,
        )
        timeeval.run()
        files = sorted(timeeval.results_path.glob("chance/*/small/one/*/raw_anomaly_scores.ts"))
        drawn.append([file.read_bytes() for file in files])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3
