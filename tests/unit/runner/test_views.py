"""Tables made of journal rows."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from timeeval import Status
from timeeval.run.model import Cell, Outcome
from timeeval.run.needs import merged
from timeeval.run.records import ResultRow
from timeeval.run.views import results_frame, shown_line, shown_row, shown_table, write_csv

DETAILS = {
    "algo_training_type": "UNSUPERVISED",
    "algo_input_dimensionality": "UNIVARIATE",
    "dataset_training_type": "UNSUPERVISED",
    "dataset_input_dimensionality": "UNIVARIATE",
}
LEADING = [
    *("algorithm", "collection", "dataset", *DETAILS, "status", "error_message", "repetition"),
    *("hyper_params_id", "hyper_params"),
]
TIMES = {"execute_main_time": 1.5, "execute_preprocess_time": None, "execute_postprocess_time": None}


def row(outcome: Outcome | None = Outcome.OK, number: int = 1, **fields) -> ResultRow:
    values = {
        "cell": Cell("a", "c", "d", "p", number),
        "key": f"k{number}",
        "details": DETAILS,
        "outcome": outcome,
        "host": "node1",
        "attempt": "r-1",
        "number": 1,
        "error": "",
        "hyper_params": "{}",
        "times": TIMES,
        "metrics": {"ROC_AUC": 0.5},
        "started_at": 1.0,
        "ended_at": 3.0,
        "cpu_seconds": None,
        "peak_memory": None,
    }
    return ResultRow(**{**values, **fields})


def failed(outcome: Outcome, number: int = 2) -> ResultRow:
    return row(outcome, number, times={}, metrics={}, error="why")


def table(rows, *, distributed: bool = False) -> pd.DataFrame:
    return results_frame(rows, ["x"], ["ROC_AUC"], distributed=distributed)


def test_local_columns_follow_the_first_row_that_has_them():
    assert list(table([row(), failed(Outcome.ERROR)]).columns) == [*LEADING, *TIMES, "ROC_AUC"]
    assert list(table([failed(Outcome.ERROR), row()]).columns) == [*LEADING, "ROC_AUC", *TIMES]


def test_distributed_columns_are_always_the_same():
    times = [
        *("train_preprocess_time", "train_main_time"),
        *("execute_preprocess_time", "execute_main_time", "execute_postprocess_time"),
    ]
    frame = table([row()], distributed=True)
    assert list(frame.columns) == [*LEADING, "ROC_AUC", *times]
    assert frame.loc[0, "error_message"] is None or pd.isna(frame.loc[0, "error_message"])
    assert np.isnan(frame.loc[0, "train_main_time"])
    assert frame.loc[0, "execute_main_time"] == 1.5


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (Outcome.ERROR, Status.ERROR, "why"),
        (Outcome.TIMEOUT, Status.TIMEOUT, "why"),
        (Outcome.OOM, Status.OOM, "why"),
        (Outcome.INFRA, Status.ERROR, "infra-error: why"),
        (Outcome.CANCELLED, Status.ERROR, "cancelled: why"),
    ],
)
def test_status(outcome, status, message):
    frame = table([failed(outcome)])
    assert (frame.loc[0, "status"], frame.loc[0, "error_message"]) == (status, message)
    assert np.isnan(frame.loc[0, "ROC_AUC"])


def test_what_did_not_run_is_no_row_and_nothing_is_an_empty_table():
    assert len(table([row(), row(None, 2)])) == 1
    assert list(table([row(None)]).columns) == ["x"]


def test_types(tmp_path):
    frame = table([row(), failed(Outcome.ERROR)])
    assert frame["repetition"].dtype == np.int64
    assert frame["ROC_AUC"].dtype == np.float64
    assert frame["status"].dtype == object
    write_csv(frame, tmp_path / "results.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    back = pd.read_csv(tmp_path / "results.csv")
    assert list(back["status"]) == ["Status.OK", "Status.ERROR"]


def test_shown_rows_have_host_and_times():
    shown = shown_row(row())
    assert (shown["host"], shown["status"], shown["times"]["execute_main_time"]) == ("node1", "Status.OK", 1.5)
    assert not any(isinstance(value, float) and math.isnan(value) for value in shown.values())


def test_shown_table():
    assert shown_table([]) == "no experiments"
    text = shown_table([row(), failed(Outcome.OOM), row(None, 3, host=None, started_at=None)])
    assert "1 ok, 1 oom, 1 not run; 1 hosts" in text
    assert "a on c/d: why" in text
    assert "2.00" in text


def test_what_an_algorithm_says_makes_no_line_of_ours():
    forged = "bad\nok  a  c/d  {}  rep 1  node2\n1 ok; 1 hosts\x1b[2J"
    liar = replace(failed(Outcome.ERROR), error=forged)
    *_, count, error, second, third = shown_table([liar]).split("\n")
    assert count == "1 error; 1 hosts"
    assert error == "a on c/d: bad"
    assert second.startswith("  ok  a  c/d")
    assert third == r"  1 ok; 1 hosts\x1b[2J"
    named = replace(row(), cell=replace(row().cell, algorithm="a\nok"))
    assert re.match(r"a ok +c/d ", shown_table([named]).split("\n")[1])
    assert "\n" not in shown_line(replace(named, error=forged))
    assert shown_line(row()).startswith("ok  a  c/d  {}  rep 1  node1")


def test_needs_of_several_runs_are_one_document():
    def document(path: str, name: str, image: str, slots: int) -> dict:
        need = {"path": path, "ids": [["c", name]], "files": [f"{name}.csv"]}
        return {"schema": "s", "datasets": [need], "images": [image], "modules": [image], "slots": slots, "limits": {}}

    both = merged([document("/a", "x", "i", 1), document("/a", "y", "j", 3), document("/b", "x", "i", 1)])
    assert both["datasets"] == [
        {"path": "/a", "ids": [["c", "x"], ["c", "y"]], "files": ["x.csv", "y.csv"]},
        {"path": "/b", "ids": [["c", "x"]], "files": ["x.csv"]},
    ]
    assert (both["images"], both["modules"], both["slots"]) == (["i", "j"], ["i", "j"], 3)
    assert merged([])["datasets"] == []
