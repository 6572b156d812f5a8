"""Baselines under the name that scripts know."""

from pathlib import Path

import numpy as np
import pytest

from timeeval import InputDimensionality, TrainingType
from timeeval_experiments.baselines import Baselines

VALUES = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 4.0]])


@pytest.mark.parametrize(
    ("algorithm", "name", "scores"),
    [
        (Baselines.normal(), "normal", [0, 0, 0]),
        (Baselines.increasing(), "increasing", [0, 0.5, 1]),
        (Baselines.deviating_from_mean(), "DeviatingFromMean", [7 / 12, 5 / 12, 1]),
        (Baselines.deviating_from_median(), "DeviatingFromMedian", [0.125, 0, 1]),
    ],
)
def test_scores_of_baselines(algorithm, name, scores):
    assert algorithm.name == name
    assert algorithm.training_type is TrainingType.UNSUPERVISED
    np.testing.assert_allclose(algorithm.execute(VALUES), scores)


def test_chance_follows_the_seed_of_the_experiment():
    algorithm = Baselines.random()
    assert algorithm.name == "Random"
    np.random.seed(1)
    first = algorithm.execute(VALUES)
    np.random.seed(1)
    assert first.tolist() == algorithm.execute(VALUES).tolist()
    assert len(set(first)) == 3


def test_files_are_refused_and_dimensionality_can_be_said():
    with pytest.raises(ValueError, match="increasing takes an array"):
        Baselines.increasing().execute(Path("series.csv"))
    for make in (Baselines.random, Baselines.normal):
        assert make(InputDimensionality.UNIVARIATE).input_dimensionality is InputDimensionality.UNIVARIATE
    one = Baselines.increasing(InputDimensionality.UNIVARIATE)
    assert one.input_dimensionality is InputDimensionality.UNIVARIATE


def test_a_constant_channel_deviates_nowhere():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    np.testing.assert_allclose(Baselines.deviating_from_median().execute(values), [0.125, 0, 0.5])
