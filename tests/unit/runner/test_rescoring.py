"""Metrics added to a finished run: computed from stored scores, without running an algorithm."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_data import algorithm, deviation

from timeeval import DefaultMetrics, Metric, Status, TimeEval
from timeeval.constants import ANOMALY_SCORES_TS, EXECUTION_LOG, METRICS_CSV
from timeeval.metrics import PrAUC
from timeeval.params import FullParameterGrid
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.session import Session, local_place, opened
from timeeval.run.views import shown_table

ROC, PR = DefaultMetrics.ROC_AUC, PrAUC()
pytestmark = pytest.mark.usefixtures("kept_processes")


class Failing(Metric):
    def score(self, y_true, y_score):
        raise ValueError("never")

    def supports_continuous_scorings(self):
        return True

    @property
    def name(self):
        return "FAILING"


class Fatal(Failing):
    def score(self, y_true, y_score):
        ctypes.string_at(0)

    @property
    def name(self):
        return "FATAL"


@pytest.fixture
def runs(tmp_path) -> Callable[[], int]:
    """Count how often the algorithm ran."""
    return lambda: len((tmp_path / "ran").read_text())


@pytest.fixture
def evaluate(datasets, tmp_path):
    marks = str(tmp_path / "ran")

    def counted(values, _):
        with Path(marks).open("a") as file:
            file.write("x")
        return deviation(values, _)

    def run(metrics, ids=("one", "two"), resume: Path | None = None, **session) -> TimeEval:
        grid = FullParameterGrid({"a": [1, 2]})
        with opened(Session(local_place, resume=resume, **session)):
            timeeval = TimeEval(
                datasets,
                [("small", name) for name in ids],
                [algorithm(counted, "counted", param_config=grid)],
                results_path=tmp_path / "results",
                metrics=metrics,
                disable_progress_bar=True,
            )
            timeeval.run()
        return timeeval

    return run


def folders(results: Path) -> list[Path]:
    return sorted(path.parent for path in results.rglob(METRICS_CSV))


def test_a_new_metric_needs_no_algorithm_and_has_the_value_of_a_run_with_it(evaluate, runs, tmp_path):
    first = evaluate([ROC])
    more = evaluate([ROC, PR], resume=first.results_path)
    assert runs() == 4
    assert list(more.results["status"]) == [Status.OK] * 4
    pd.testing.assert_series_equal(more.results["ROC_AUC"], first.results["ROC_AUC"])
    shutil.rmtree(tmp_path / "results")
    whole = evaluate([ROC, PR])
    assert list(more.results["PR_AUC"]) == list(whole.results["PR_AUC"])
    assert list(more.results.columns) == list(whole.results.columns)


def test_the_files_of_an_experiment_say_what_was_added(evaluate):
    first = evaluate([ROC])
    before = pd.read_csv(folders(first.results_path)[0] / METRICS_CSV)
    evaluate([PR, ROC], resume=first.results_path)
    after = pd.read_csv(folders(first.results_path)[0] / METRICS_CSV)
    assert list(after.columns) == [*before.columns, "PR_AUC"]
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert "Calculating PR_AUC" in (folders(first.results_path)[0] / EXECUTION_LOG).read_text()


def test_only_new_cells_run_and_the_old_ones_are_cached(evaluate, runs):
    first = evaluate([ROC], ids=["one"])
    grown = evaluate([ROC, PR], ids=["one", "two"], resume=first.results_path)
    assert runs() == 4
    assert not grown.results["PR_AUC"].isna().any()
    with Journal.read(grown.results_path / FILE_NAME) as journal:
        rows = journal.rows()
    assert [row.cached for row in rows] == [True, True, False, False]
    assert "2 cached, 2 ok" in shown_table(rows)


def test_a_fewer_metrics_run_again_computes_nothing(evaluate, runs):
    first = evaluate([ROC, PR])
    fewer = evaluate([ROC], resume=first.results_path)
    assert runs() == 4
    assert "PR_AUC" not in fewer.results


@pytest.mark.parametrize("harm", ["missing", "cut", "garbage", "link", "pipe", "huge"])
def test_scores_that_are_not_there_any_more_are_computed_again_alone(evaluate, runs, caplog, harm):
    first = evaluate([ROC])
    scores = folders(first.results_path)[1] / ANOMALY_SCORES_TS
    match harm:
        case "missing":
            scores.unlink()
        case "cut":
            scores.write_text(scores.read_text()[:40].rpartition("\n")[0])
        case "garbage":
            scores.write_text("timestamp,score\n")
        case "link":
            scores.rename(scores.with_name("elsewhere"))
            scores.symlink_to(scores.with_name("elsewhere"))
        case "pipe":
            scores.unlink()
            os.mkfifo(scores)
        case "huge":  # and sparse: no disk has that much
            os.truncate(scores, 1 << 40)
    more = evaluate([ROC, PR], resume=first.results_path)
    assert runs() == 5
    assert "1 experiments run again for the metrics PR_AUC" in caplog.text
    assert not more.results["PR_AUC"].isna().any()


def test_labels_that_changed_are_no_labels_of_the_stored_scores(evaluate, runs, data):
    first = evaluate([ROC], ids=["one"])
    file = data / "one.test.csv"
    file.write_text(file.read_text() + "99,0.5,0\n")
    evaluate([ROC, PR], ids=["one"], resume=first.results_path)
    assert runs() == 4, "another content of the data is another execution"


def test_a_metric_that_fails_is_tried_once(evaluate, runs, caplog):
    first = evaluate([ROC])
    with caplog.at_level(logging.WARNING):
        failed = evaluate([ROC, Failing(), Fatal()], resume=first.results_path)
    assert np.isnan(failed.results.get("FAILING", pd.Series([np.nan])).astype(float)).all()
    assert list(failed.results["status"]) == [Status.OK] * 4
    assert caplog.text.count("ended its process") == 4
    caplog.clear()
    evaluate([ROC, Failing(), Fatal()], resume=first.results_path)
    assert runs() == 4
    assert "ended its process" not in caplog.text
