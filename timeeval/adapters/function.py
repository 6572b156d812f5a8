"""Algorithms that are Python functions."""

from typing import Any

from timeeval.adapters.base import Adapter
from timeeval.data_types import AlgorithmParameter, TSFunction


class FunctionAdapter(Adapter):
    """Runs a Python function as an algorithm.

    Parameters
    ----------
    fn
        Called as ``fn(data, hyper_params)``: the data (an array or a path, as the algorithm declares) and the
        hyper-parameters alone. Returns the scores.
    """

    def __init__(self, fn: TSFunction) -> None:
        self.fn = fn

    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:
        return self.fn(dataset, args.get("hyper_params", {}))

    @staticmethod
    def identity() -> "FunctionAdapter":
        """Return an adapter that returns its data unchanged."""
        return FunctionAdapter(_identity)


def _identity(dataset: AlgorithmParameter, _: dict[str, Any]) -> AlgorithmParameter:
    return dataset
