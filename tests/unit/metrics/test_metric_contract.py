import json
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from timeeval.metrics import (
    AucMetric,
    AveragePrecision,
    DefaultMetrics,
    F1Score,
    FScoreAtK,
    Metric,
    PrAUC,
    PrecisionAtK,
    RangeFScore,
    RangePrAUC,
    RangePrecision,
    RangePrecisionRangeRecallAUC,
    RangePrVUS,
    RangeRocAUC,
    RangeRocVUS,
    RocAUC,
    column_names,
    score_all,
    score_each,
)
from timeeval.metrics.metric import CONSTANT_SCORES
from timeeval.metrics.thresholding import FixedValueThresholding, TopKRangesThresholding

CONTINUOUS = [
    RocAUC(),
    PrAUC(),
    AveragePrecision(),
    DefaultMetrics.RANGE_PR_AUC,
    DefaultMetrics.FIXED_RANGE_PR_AUC,
    PrecisionAtK(),
    FScoreAtK(),
    RangePrAUC(),
    RangeRocAUC(),
    RangePrVUS(max_buffer_size=20),
    RangeRocVUS(max_buffer_size=20),
    RangePrVUS(max_buffer_size=20, compatibility_mode=True),
    F1Score(TopKRangesThresholding()),
]
LABELS = np.array([0, 0, 1, 1, 0, 0, 1, 0])
SCORES = np.array([0.1, 0.2, 0.9, 0.3, 0.1, 0.5, 0.8, 0.0])


class Mean(Metric):
    """A user's own metric with a plain `score`."""

    def __init__(self, factor=1.0):
        self._factor = factor

    @property
    def name(self):
        return "MEAN"

    def score(self, y_true, y_score):
        return float(np.mean(y_score)) * self._factor

    def supports_continuous_scorings(self):
        return True


class Broken(Mean):
    def score(self, y_true, y_score):
        raise RuntimeError("no luck")


class RaisedRoc(RocAUC):
    """A user's subclass of one of ours."""

    def score(self, y_true, y_score):
        return super().score(y_true, y_score) + 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("metric", CONTINUOUS, ids=lambda m: m.name)
def test_constant_scores_give_zero_with_the_known_warning(metric, value):
    with pytest.warns(UserWarning, match="constant value") as caught:
        assert metric(LABELS, np.full(len(LABELS), value)) == 0
    assert str(caught[0].message) == "Cannot compute metric for a constant value in y_score, returning 0.0!"


def test_all_missing_scores_count_as_constant():
    with pytest.warns(UserWarning, match="constant value"):
        assert RocAUC()(LABELS, np.full(len(LABELS), np.nan)) == 0


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("value", "flag"), [(np.nan, "nan_is_0"), (np.inf, "inf_is_1"), (-np.inf, "neginf_is_0")])
def test_a_switched_off_rule_gives_the_wrong_answer(label, value, flag):
    labels, scores = np.array([label, 1 - label]), np.array([value, 0.5])
    assert RocAUC()(labels, scores, **{flag: False}) == 0
    assert RocAUC()(labels, scores) == float((label == 1) == (value == np.inf))


def test_infinite_scores_become_the_ends_of_the_scale():
    labels, scores = np.array([1, 0, 0]), np.array([np.inf, -np.inf, 0.5])
    assert RocAUC()(labels, scores) == 1
    assert np.isposinf(scores[0]), "the caller's scores are not changed"


def test_swapped_arguments_are_put_right_and_keep_the_options():
    with pytest.warns(UserWarning, match="swapped"):
        assert RocAUC()(SCORES, LABELS) == RocAUC()(LABELS, SCORES)
    scores = SCORES.copy()
    scores[0] = np.nan
    with pytest.warns(UserWarning, match="swapped"):
        swapped = RocAUC()(scores, LABELS, nan_is_0=False)
    assert swapped == RocAUC()(LABELS, scores, nan_is_0=False)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (LABELS[:-1], SCORES, "y_true has 7 points, but y_score has 8"),
        (LABELS, np.stack((SCORES, SCORES), axis=1), "one-dimensional"),
        (np.where(LABELS == 1, np.nan, 0.0), SCORES, "NaN or infinity"),
        (LABELS * 2, SCORES, "nothing but 0"),
        (LABELS, LABELS, "scores must be floats"),
        (LABELS[:0], SCORES[:0], "empty"),
    ],
)
def test_unusable_input_is_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        RocAUC()(labels, scores)


def test_metrics_of_predictions_refuse_scores():
    with pytest.raises(ValueError, match="scores must be integers"):
        DefaultMetrics.RANGE_F1(LABELS, SCORES)
    assert DefaultMetrics.RANGE_F1(LABELS, LABELS) == 1
    assert DefaultMetrics.RANGE_F1(LABELS, LABELS.astype(bool)) == 1


def test_column_vectors_and_object_labels_are_taken():
    assert RocAUC()(LABELS.reshape(-1, 1), SCORES.reshape(-1, 1)) == RocAUC()(LABELS, SCORES)
    assert RocAUC()(LABELS.astype(object), SCORES) == RocAUC()(LABELS, SCORES)


@pytest.mark.parametrize("metric", CONTINUOUS[:-1], ids=lambda m: m.name)
def test_a_series_without_anomalies_has_no_value_and_a_warning_says_so(metric):
    with pytest.warns(UserWarning, match="undefined and reported as NaN"):
        assert np.isnan(metric(np.zeros(8, dtype=int), SCORES))


@pytest.mark.parametrize("metric", [RocAUC(), RangeRocAUC(), RangeRocVUS(max_buffer_size=4)], ids=lambda m: m.name)
def test_roc_without_normal_points_has_no_value(metric):
    with pytest.warns(UserWarning, match="undefined and reported as NaN"):
        assert np.isnan(metric(np.ones(8, dtype=int), SCORES))


@pytest.mark.parametrize(
    "metric",
    [PrAUC(), AveragePrecision(), DefaultMetrics.RANGE_PR_AUC, RangePrAUC(), RangePrVUS(max_buffer_size=4)],
    ids=lambda m: m.name,
)
def test_precision_recall_of_nothing_but_anomalies_is_perfect(metric):
    assert metric(np.ones(8, dtype=int), SCORES) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", CONTINUOUS, ids=lambda m: m.name)
def test_no_metric_remembers_an_earlier_series(metric):
    rng = np.random.default_rng(3)
    earlier = np.repeat([0, 1, 0, 1, 0, 1, 0], 20)
    expected = metric(LABELS, SCORES)
    metric(earlier, rng.random(len(earlier)))
    assert metric(LABELS, SCORES) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_of_any_floating_type_are_taken(dtype):
    outcomes = score_all(CONTINUOUS, LABELS, SCORES.astype(dtype))
    assert all(np.isfinite(value) for value in outcomes.values())


def test_sharing_work_changes_no_value():
    rng = np.random.default_rng(5)
    labels = (rng.random(300) < 0.1).astype(float)
    scores = np.round(rng.random(300), 2)
    scores[[3, 50]] = np.nan, np.inf
    alone = [metric(labels, scores) for metric in CONTINUOUS]
    assert score_each(CONTINUOUS, labels, scores) == alone


def test_each_failure_is_its_own_outcome():
    metrics = [RocAUC(), Broken(), Mean(2.0), DefaultMetrics.RANGE_F1, RaisedRoc()]
    outcomes = score_each(metrics, LABELS, SCORES)
    assert outcomes[0] == RocAUC()(LABELS, SCORES)
    assert isinstance(outcomes[1], RuntimeError)
    assert outcomes[2] == pytest.approx(2 * SCORES.mean())
    assert isinstance(outcomes[3], ValueError)
    assert outcomes[4] == outcomes[0] + 1
    assert list(score_all(metrics[:2], LABELS, SCORES)) == ["ROC_AUC", "MEAN"]


def test_unusable_input_fails_every_metric():
    outcomes = score_each(CONTINUOUS, LABELS[:-1], SCORES)
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)


def test_shared_constant_scores_warn_per_metric():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert score_each([RocAUC(), PrAUC()], LABELS, np.ones(8)) == [0.0, 0.0]
    assert [str(warning.message) for warning in caught] == [CONSTANT_SCORES] * 2


def test_arguments_are_json_and_tell_metrics_apart():
    metrics = [
        *CONTINUOUS,
        RangeFScore(beta=2.0),
        RangeFScore(r_bias="back"),
        RangePrecision(FixedValueThresholding(0.6)),
        RangePrAUC(buffer_size=3),
        Mean(3.0),
        AveragePrecision(sample_weight=np.ones(2)),
    ]
    keys = [json.dumps((metric.name, metric.arguments(), metric.definition_version)) for metric in metrics]
    assert len(set(keys)) == len(metrics)
    assert PrAUC(plot=True).arguments() == PrAUC().arguments()
    assert Mean(3.0).arguments() == {"factor": 3.0}


def test_arguments_do_not_change_with_use():
    metric = RangePrecision(TopKRangesThresholding())
    before = metric.arguments()
    metric(LABELS, SCORES)
    assert metric.arguments() == before


def test_importing_metrics_loads_nothing_heavy():
    code = (
        "import sys, timeeval.metrics, timeeval.metrics.thresholding, timeeval.utils.window;"
        "print([m for m in ('sklearn', 'pandas', 'matplotlib', 'scipy', 'distributed', 'docker') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nobody_writes_to_the_callers_arrays():
    class Careless(Mean):
        def score(self, y_true, y_score):
            y_score[:] = 0
            y_true[:] = 0
            return 0.0

    labels, scores = LABELS.copy(), SCORES.copy()
    scores[1] = np.nan
    expected = labels.tolist(), repr(scores.tolist())
    for metric in [*CONTINUOUS, Careless()]:
        metric(labels, scores)
    score_each([*CONTINUOUS, Careless()], labels, scores)
    assert (labels.tolist(), repr(scores.tolist())) == expected


def test_read_only_arrays_are_taken():
    labels, scores = LABELS.copy(), SCORES.copy()
    scores[1] = np.inf
    labels.flags.writeable = scores.flags.writeable = False
    assert all(np.isfinite(metric(labels, scores)) for metric in CONTINUOUS)


def test_average_precision_hands_further_arguments_to_scikit_learn():
    weights = np.linspace(0.1, 1, len(LABELS))
    weighted = AveragePrecision(sample_weight=weights)
    assert weighted(LABELS, SCORES) == sklearn_metrics.average_precision_score(LABELS, SCORES, sample_weight=weights)
    assert weighted(LABELS, SCORES) != AveragePrecision()(LABELS, SCORES)


def test_users_curves_have_areas():
    class Own(AucMetric):
        def __init__(self, curve):
            super().__init__()
            self._curve = curve

        @property
        def name(self):
            return "OWN"

        def score(self, y_true, y_score):
            return self._auc(y_true, y_score, self._curve)

        def evaluate(self, scoring):
            return self.score(scoring.y_true, scoring.scores)

    for curve, same in (
        (sklearn_metrics.roc_curve, RocAUC()),
        (sklearn_metrics.precision_recall_curve, PrAUC()),
    ):
        assert Own(curve)(LABELS, SCORES) == pytest.approx(same(LABELS, SCORES), rel=1e-12)
        assert Own(curve).arguments() == {"curve": f"{curve.__module__}.{curve.__name__}"}


@pytest.mark.parametrize("kind", [RocAUC, PrAUC, RangePrAUC, RangeRocAUC, RangePrecisionRangeRecallAUC])
def test_plots_need_matplotlib_and_say_so(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="needs matplotlib: install it"):
        kind(plot_store=True)(LABELS, SCORES)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (RocAUC, "fig-roc_curve.pdf"),
        (PrAUC, "fig-precision_recall_curve.pdf"),
        (RangePrecisionRangeRecallAUC, "fig-_range_precision_recall_curve.pdf"),
        (RangePrAUC, "fig-RANGE_PR_AUC.pdf"),
        (RangeRocAUC, "fig-RANGE_ROC_AUC.pdf"),
    ],
)
def test_plots_have_files_of_their_own(kind, file, monkeypatch):
    figure, library = Mock(), Mock()
    library.pyplot.subplots.return_value = figure, Mock()
    monkeypatch.setitem(sys.modules, "matplotlib", library)
    assert kind(plot_store=True)(LABELS, SCORES) == pytest.approx(kind()(LABELS, SCORES))
    figure.savefig.assert_called_once_with(Path(file))


def test_no_metric_hides_another_of_the_same_name():
    metrics = [DefaultMetrics.RANGE_PR_AUC, RangePrAUC(), RocAUC(), RangePrAUC(buffer_size=3), RangePrAUC()]
    assert column_names(metrics) == [
        "RANGE_PR_AUC",
        "RANGE_PR_AUC (RangePrAUC)",
        "ROC_AUC",
        "RANGE_PR_AUC (RangePrAUC) 2",
        "RANGE_PR_AUC (RangePrAUC)",
    ]
    outcomes = score_all(metrics, LABELS, SCORES)
    assert outcomes["RANGE_PR_AUC"] == metrics[0](LABELS, SCORES)
    assert outcomes["RANGE_PR_AUC (RangePrAUC) 2"] == metrics[3](LABELS, SCORES)
    assert len(outcomes) == 4


def test_an_area_of_a_users_own():
    class Roc(AucMetric):
        @property
        def name(self):
            return "MY_ROC"

        def score(self, y_true, y_score):
            return self._auc(y_true, y_score, sklearn_metrics.roc_curve)

    assert Roc().supports_continuous_scorings()
    assert Roc()(LABELS, SCORES) == pytest.approx(RocAUC()(LABELS, SCORES))
    assert score_all([Roc(), RocAUC()], LABELS, SCORES)["MY_ROC"] == pytest.approx(RocAUC()(LABELS, SCORES))
    with pytest.raises(TypeError, match="abstract"):
        AucMetric()
