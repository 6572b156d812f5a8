"""Algorithms that an algorithm must beat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from timeeval.adapters.function import FunctionAdapter
from timeeval.algorithm import Algorithm
from timeeval.data_types import AlgorithmParameter, InputDimensionality, TrainingType

Array = np.ndarray[Any, Any]


class Baselines:
    """Makers of baseline algorithms; all are unsupervised functions and take any number of channels."""

    @staticmethod
    def random(input_dimensionality: InputDimensionality = InputDimensionality.MULTIVARIATE) -> Algorithm:
        """Score each point by chance, uniformly in [0, 1)."""
        return _baseline("Random", lambda values: np.random.random_sample(len(values)), input_dimensionality)

    @staticmethod
    def normal(input_dimensionality: InputDimensionality = InputDimensionality.MULTIVARIATE) -> Algorithm:
        """Score each point 0: nothing is anomalous."""
        return _baseline("normal", lambda values: np.zeros(len(values)), input_dimensionality)

    @staticmethod
    def increasing(input_dimensionality: InputDimensionality = InputDimensionality.MULTIVARIATE) -> Algorithm:
        """Score each point higher than the one before, from 0 to 1."""
        return _baseline("increasing", lambda values: np.linspace(0.0, 1.0, len(values)), input_dimensionality)

    @staticmethod
    def deviating_from_mean() -> Algorithm:
        """Score each point by its distance to the channel's mean, as part of the largest, averaged over channels."""
        return _baseline("DeviatingFromMean", lambda values: _deviation(values, np.mean(values, axis=0)))

    @staticmethod
    def deviating_from_median() -> Algorithm:
        """Score each point by its distance to the channel's median, as part of the largest, averaged over channels."""
        return _baseline("DeviatingFromMedian", lambda values: _deviation(values, np.median(values, axis=0)))


def _deviation(values: Array, centre: Array) -> Array:
    distances = np.abs(values - centre)
    largest = distances.max(axis=0)
    largest[largest == 0] = 1.0  # a constant channel deviates nowhere
    return np.asarray((distances / largest).mean(axis=1))


def _baseline(
    name: str,
    score: Callable[[Array], Array],
    input_dimensionality: InputDimensionality = InputDimensionality.MULTIVARIATE,
) -> Algorithm:
    def scores(dataset: AlgorithmParameter, _: dict[str, Any]) -> Array:
        if isinstance(dataset, Path):
            raise ValueError(f"{name} takes an array of shape (n, channels), not a file; leave data_as_file=False.")
        values = np.asarray(dataset, dtype=np.float64)
        return score(values.reshape(len(values), -1))

    return Algorithm(
        name=name,
        main=FunctionAdapter(scores),
        training_type=TrainingType.UNSUPERVISED,
        input_dimensionality=input_dimensionality,
    )
