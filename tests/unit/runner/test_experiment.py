"""One experiment: its files, its values, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_data import LENGTH, algorithm, deviation

from timeeval import DefaultMetrics, InputDimensionality, Metric, TrainingType
from timeeval._core.experiments import Experiment, Experiments
from timeeval._core.times import Times
from timeeval.errors import ScoresError
from timeeval.utils.hash_dict import hash_dict


def test_names_and_paths(experiment_of, tmp_path):
    experiment = experiment_of(name="Some Name")
    params_id = hash_dict({"a": 0})
    assert experiment.name == f"Some Name-small-one-{params_id}-1"
    assert experiment.results_path == tmp_path / "results" / "Some Name" / params_id / "small" / "one" / "1"
    assert set(experiment.build_args()) == {"results_path", "resource_constraints", "hyper_params", "dataset_details"}


def test_writes_all_files(experiment_of):
    experiment = experiment_of()
    result = experiment.evaluate()
    path = experiment.results_path
    assert (path / "hyper_params.json").read_text() == '{"a": 0}'
    raw = np.loadtxt(path / "raw_anomaly_scores.ts")
    scaled = np.loadtxt(path / "anomaly_scores.ts")
    assert len(raw) == LENGTH
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    assert not (path / "anomaly_scores.ts").read_text().endswith("\n")
    metrics = pd.read_csv(path / "metrics.csv")
    assert list(metrics.columns) == [
        "execute_main_time",
        "execute_preprocess_time",
        "execute_postprocess_time",
        "ROC_AUC",
    ]
    assert metrics.loc[0, "ROC_AUC"] == result["ROC_AUC"] == 1.0
    assert result["hyper_params"] == '{"a": 0}'


def test_log_has_header_prints_and_metrics(experiment_of):
    def talks(data: np.ndarray, args: dict) -> np.ndarray:
        print("a word from the algorithm")
        return deviation(data, args)

    experiment = experiment_of(talks)
    experiment.evaluate()
    log = (experiment.results_path / "execution.log").read_text()
    assert log.startswith(f"Starting evaluation of experiment {experiment.name}\n{'=' * 45}\n\n")
    for text in (
        "a word from the algorithm",
        "Performing execution for UNSUPERVISED algorithm talks",
        "ROC_AUC metrics",
    ):
        assert text in log
    assert "Calculating ROC_AUC\n  = 1.0" in log


def test_training_gets_the_whole_table_and_execution_the_features(experiment_of):
    seen = []

    class Adapter(algorithm().main.__class__):
        def _call(self, dataset, args):
            seen.append((args["executionType"].value, dataset.shape))
            return deviation(dataset, {})

    trained = algorithm(name="t", training_type=TrainingType.SEMI_SUPERVISED)
    trained.main = Adapter(deviation)
    result = experiment_of(trained, "trained").evaluate()
    assert seen == [("train", (LENGTH, 3)), ("execute", (LENGTH, 1))]
    assert list(result)[:6] == [
        *("train_main_time", "train_preprocess_time", "train_postprocess_time"),
        *("execute_main_time", "execute_preprocess_time", "execute_postprocess_time"),
    ]


def test_file_algorithms_get_the_path(experiment_of):
    def from_file(path: Path, _: dict) -> np.ndarray:
        assert isinstance(path, Path)
        return pd.read_csv(path)["value_0"].to_numpy()

    assert "ROC_AUC" in experiment_of(from_file, data_as_file=True).evaluate()


@pytest.mark.parametrize(
    ("scores", "scaled"),
    [
        ([np.nan, 2, 4, np.inf], [np.nan, 0, 1, np.inf]),
        ([3, 3], [0, 0]),
        ([np.nan, np.nan], [np.nan, np.nan]),
        ([-np.inf, 1, 2, 3], [-np.inf, 0, 0.5, 1]),
    ],
)
def test_scale_scores(scores, scaled):
    given = np.array(scores, dtype=float)
    labels, result = Experiment.scale_scores(np.zeros(len(scores)), given)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(result, scaled)
    np.testing.assert_array_equal(given, scores)


def test_too_few_scores_are_explained(experiment_of):
    with pytest.raises(ScoresError, match=f"39 scores for {LENGTH} points"):
        experiment_of(lambda data, _: np.ones(len(data) - 1), name="short").evaluate()


@pytest.mark.parametrize("returned", [None, "text", Path("scores.csv"), np.array(["a", "b"])])
def test_what_is_no_array_of_scores_is_named(experiment_of, returned):
    with pytest.raises(ScoresError, match="odd returned no array of scores but"):
        experiment_of(lambda *_: returned, name="odd").evaluate()


def test_scores_that_are_all_nan_are_none(experiment_of):
    with pytest.raises(ScoresError, match=f"{LENGTH} scores, and all of them are NaN"):
        experiment_of(lambda data, _: np.full(len(data), np.nan), name="empty").evaluate()


def test_table_without_channels_is_refused(experiment_of):
    experiment = experiment_of()
    experiment.resolved_test_dataset_path.write_text("timestamp,is_anomaly\n0,0\n1,1\n")
    with pytest.raises(ValueError, match="has a shape that was not expected"):
        experiment.evaluate()


class Broken(Metric):
    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def name(self) -> str:
        return f"BROKEN {self.text}"

    def score(self, y_true, y_score):
        raise ValueError(self.text)

    def supports_continuous_scorings(self) -> bool:
        return True


def test_a_broken_metric_leaves_the_others(experiment_of):
    experiment = experiment_of(metrics=[Broken("x"), DefaultMetrics.ROC_AUC])
    result = experiment.evaluate()
    assert result["ROC_AUC"] == 1.0
    assert "BROKEN x" not in result
    assert "failed: ValueError('x')" in (experiment.results_path / "execution.log").read_text()


def test_only_broken_metrics_raise_the_last_telling_error(experiment_of):
    with pytest.raises(ValueError, match="first"):
        experiment_of(metrics=[Broken("first"), Broken("")]).evaluate()
    assert "hyper_params" in experiment_of(metrics=[Broken("")]).evaluate()


def test_partial_results_survive_an_exception(experiment_of):
    def only_trains(data: np.ndarray, args: dict) -> np.ndarray:
        if data.shape[1] == 1:
            raise RuntimeError("no execution")
        return data

    found: dict = {}
    trained = algorithm(only_trains, training_type=TrainingType.SEMI_SUPERVISED)
    with pytest.raises(RuntimeError, match="no execution"):
        experiment_of(trained, "trained").evaluate(result=found)
    assert found["train_main_time"] >= 0


def test_incompatible_experiments_say_why(experiment_of, datasets):
    trained = algorithm(training_type=TrainingType.SUPERVISED)
    with pytest.raises(ValueError, match=r"training type .* incompatible to algorithm training type"):
        experiment_of(trained, "trained").check_compatible()
    univariate = algorithm(input_dimensionality=InputDimensionality.UNIVARIATE)
    with pytest.raises(ValueError, match=r"input dimensionality .* incompatible"):
        experiment_of(univariate, "multi").check_compatible()
    without = experiment_of()
    without.algorithm = trained
    with pytest.raises(KeyError, match="Path to training dataset not found"):
        without.check_compatible()
    with pytest.raises(ValueError, match="No training dataset"):
        without.evaluate()


def test_times():
    assert Times.result_keys()[0] == "train_preprocess_time"
    slow = algorithm(
        lambda data, _: data, name="slow", preprocess=lambda data, _: data, postprocess=lambda data, _: data
    )
    _, times = Times.from_execute_algorithm(slow, np.zeros(3), {})
    assert list(times.to_dict()) == ["execute_main_time", "execute_preprocess_time", "execute_postprocess_time"]
    slow.training_type = TrainingType.SUPERVISED
    trained = Times.from_train_algorithm(slow, np.zeros(3), {}).to_dict()
    assert trained["train_preprocess_time"] > 0
    assert trained["train_postprocess_time"] is None
    plain = algorithm(lambda data, _: data, name="plain", training_type=TrainingType.SUPERVISED)
    assert np.isnan(Times.from_train_algorithm(plain, np.zeros(3), {}).to_dict()["train_preprocess_time"])
    assert json.dumps(trained["train_main_time"])
    assert Experiments.__name__ == "Experiments"
