import numpy as np
import pytest

from timeeval.metrics.thresholding import (
    FixedValueThresholding,
    NoThresholding,
    PercentileThresholding,
    PyThreshThresholding,
    SigmaThresholding,
    TopKPointsThresholding,
    TopKRangesThresholding,
)

NAN = np.nan
SCORES = np.array([NAN, 0.1, 0.9, 0.5, 0.6, 0.55, 0.2, 0.1, NAN])
LABELS = np.array([0, 0, 1, 0, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("strategy", "threshold", "mask"),
    [
        (FixedValueThresholding(0.7), 0.7, [0, 0, 1, 0, 0, 0, 0, 0, 0]),
        (PercentileThresholding(90), 0.72, [0, 0, 1, 0, 0, 0, 0, 0, 0]),
        (TopKPointsThresholding(2), 0.58, [0, 0, 1, 0, 1, 0, 0, 0, 0]),
        (TopKPointsThresholding(), 0.58, [0, 0, 1, 0, 1, 0, 0, 0, 0]),
        (TopKRangesThresholding(2), 0.60, [0, 0, 1, 0, 1, 0, 0, 0, 0]),
        (TopKRangesThresholding(), 0.60, [0, 0, 1, 0, 1, 0, 0, 0, 0]),
        (SigmaThresholding(1), 0.70, [0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ],
    ids=repr,
)
def test_thresholds_of_scores_with_gaps(strategy, threshold, mask):
    predictions = strategy.fit_transform(LABELS, SCORES)
    assert strategy.threshold == pytest.approx(threshold, abs=5e-3)
    assert predictions.tolist() == mask
    assert predictions.dtype == np.int64


def test_representations_are_parts_of_metric_names():
    strategies = [
        FixedValueThresholding(),
        PercentileThresholding(95),
        TopKPointsThresholding(),
        TopKRangesThresholding(2),
        SigmaThresholding(),
        NoThresholding(),
    ]
    assert [repr(strategy) for strategy in strategies] == [
        "FixedValueThresholding(threshold=0.8)",
        "PercentileThresholding(percentile=95)",
        "TopKPointsThresholding(k=None)",
        "TopKRangesThresholding(k=2)",
        "SigmaThresholding(factor=3.0)",
        "NoThresholding()",
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedValueThresholding(1.1),
        lambda: FixedValueThresholding(-0.1),
        lambda: PercentileThresholding(101),
        lambda: PercentileThresholding(-1),
        lambda: TopKPointsThresholding(0),
        lambda: TopKRangesThresholding(-1),
        lambda: SigmaThresholding(0),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_no_thresholding_takes_predictions_only():
    strategy = NoThresholding()
    assert strategy.fit_transform(LABELS, LABELS) is LABELS
    assert strategy.find_threshold(LABELS, LABELS) == 0.5
    with pytest.raises(ValueError, match="Continuous anomaly scorings are not supported"):
        strategy.transform(SCORES)


def test_transform_needs_fit():
    with pytest.raises(ValueError, match="call fit first"):
        PercentileThresholding().transform(SCORES)


def test_no_k_is_remembered():
    strategy = TopKRangesThresholding()
    scores = np.array([0.1, 0.9, 0.1, 0.8, 0.1, 0.7, 0.0])
    three = strategy.find_threshold(np.array([1, 0, 1, 0, 1, 0, 0]), scores)
    one = strategy.find_threshold(np.array([1, 0, 0, 0, 0, 0, 0]), scores)
    assert (three, one) == (0.7, 0.8)
    assert repr(strategy) == "TopKRangesThresholding(k=None)"


class Halves:
    """A thresholder in PyThresh's manner."""

    def eval(self, scores):
        assert np.isfinite(scores).all()
        self.thresh_ = float(np.mean(scores))
        return (scores > self.thresh_).astype(int)


def test_pythresh_thresholders_decide_themselves():
    strategy = PyThreshThresholding(Halves())
    scores = np.array([NAN, np.inf, 0.0, 0.0])
    assert strategy.fit_transform(LABELS[:4], scores).tolist() == [0, 1, 0, 0]
    assert strategy.threshold == 0.25
    with pytest.warns(DeprecationWarning, match="parameter is deprecated"):
        PyThreshThresholding(Halves(), random_state=1)


def test_pythresh_thresholders_are_named():
    class Named(Halves):
        def __repr__(self):
            return "HALVES()"

    assert repr(PyThreshThresholding(Named())) == "PyThreshThresholding(pythresh_thresholding=HALVES())"
