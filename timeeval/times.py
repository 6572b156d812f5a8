"""How long the steps of an algorithm took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeeval.data_types import AlgorithmParameter, ExecutionType

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm


def timer(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:  # noqa: ANN401 - any function
    """Call a function and return its result and how long it took by the wall clock, in seconds."""
    start = time.perf_counter()
    result = fn(*args, **kwargs)
    return result, time.perf_counter() - start


@dataclass
class Times:
    """Wall-clock times of one training or execution, in seconds.

    Attributes
    ----------
    execution_type : ExecutionType
        What was timed.
    main : float
        The algorithm itself.
    preprocess, postprocess : float, optional
        The steps around it; NaN where the algorithm has none, None where nobody said.
    """

    execution_type: ExecutionType
    main: float
    preprocess: float | None = None
    postprocess: float | None = None

    @staticmethod
    def result_keys() -> list[str]:
        """Return the columns of the results table that hold times."""
        return [
            "train_preprocess_time",
            "train_main_time",
            "execute_preprocess_time",
            "execute_main_time",
            "execute_postprocess_time",
        ]

    def to_dict(self) -> dict[str, float | None]:
        """Return the times by column name."""
        prefix = self.execution_type.value
        steps = {"main": self.main, "preprocess": self.preprocess, "postprocess": self.postprocess}
        return {f"{prefix}_{step}_time": took for step, took in steps.items()}

    @staticmethod
    def from_execute_algorithm(
        algorithm: Algorithm,
        X: AlgorithmParameter,  # noqa: N803 - the name that scripts know
        args: dict[str, Any],
    ) -> tuple[AlgorithmParameter, Times]:
        """Run pre-processing, execution and post-processing; return the scores and the times.

        Parameters
        ----------
        algorithm
            What is run.
        X
            A time series, as an array or as the path of its file.
        args
            What the adapter gets.
        """
        before = after = math.nan
        if algorithm.preprocess is not None:
            X, before = timer(algorithm.preprocess, X, args)  # noqa: N806
        scores, main = timer(algorithm.execute, X, args)
        if algorithm.postprocess is not None:
            scores, after = timer(algorithm.postprocess, scores, args)
        return scores, Times(ExecutionType.EXECUTE, main, before, after)

    @staticmethod
    def from_train_algorithm(
        algorithm: Algorithm,
        X: AlgorithmParameter,  # noqa: N803 - the name that scripts know
        args: dict[str, Any],
    ) -> Times:
        """Run pre-processing and training; return the times.

        Parameters
        ----------
        algorithm
            What is run.
        X
            A time series, as an array or as the path of its file.
        args
            What the adapter gets.
        """
        before = math.nan
        if algorithm.preprocess is not None:
            X, before = timer(algorithm.preprocess, X, args)  # noqa: N806
        _, main = timer(algorithm.train, X, args)
        return Times(ExecutionType.TRAIN, main, before)
