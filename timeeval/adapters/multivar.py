"""Univariate algorithms on multivariate time series."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.adapters.base import Adapter
from timeeval.data_types import AlgorithmParameter

if TYPE_CHECKING:
    import pandas as pd


class AggregationMethod(Enum):
    """How the scores of the channels become one score.

    Calling a member with the scores of all channels, shape (n, channels), returns shape (n,).
    """

    MEAN = 0
    MEDIAN = 1
    MAX = 2
    #: Sum up the channels first and score the sum.
    SUM_BEFORE = 3

    def __call__(self, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Aggregate along the channels."""
        functions: dict[AggregationMethod, Callable[..., np.ndarray[Any, Any]]] = {
            AggregationMethod.MEAN: np.mean,
            AggregationMethod.MEDIAN: np.median,
            AggregationMethod.MAX: np.max,
            AggregationMethod.SUM_BEFORE: np.sum,
        }
        return functions[self](data, axis=1)

    @property
    def combining_before(self) -> bool:
        """Whether channels are combined before the algorithm runs."""
        return self is AggregationMethod.SUM_BEFORE


class MultivarAdapter(Adapter):
    """Runs an algorithm for univariate time series on each channel and combines the scores.

    Parameters
    ----------
    adapter
        Adapter of the univariate algorithm; it gets the path of a file with one channel.
    aggregation
        How the scores become one per time step.

    Raises
    ------
    AssertionError
        If ``adapter`` is a MultivarAdapter itself.
    """

    def __init__(self, adapter: Adapter, aggregation: AggregationMethod = AggregationMethod.MEAN) -> None:
        if isinstance(adapter, MultivarAdapter):
            msg = "A MultivarAdapter cannot run another MultivarAdapter; give it the adapter of a univariate algorithm."
            raise AssertionError(msg)
        self._adapter = adapter
        self._aggregation = aggregation

    def get_prepare_fn(self) -> Callable[[], None] | None:
        """Return what the inner adapter needs."""
        return self._adapter.get_prepare_fn()

    def get_finalize_fn(self) -> Callable[[], None] | None:
        """Return what the inner adapter needs."""
        return self._adapter.get_finalize_fn()

    def get_images(self) -> tuple[str, ...]:
        """Return the images of the inner adapter."""
        return self._adapter.get_images()

    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:
        frame = _read(dataset)
        channels, labels = frame.iloc[:, :-1], frame.iloc[:, -1:]
        with TemporaryDirectory(prefix="timeeval-multivar-") as folder:
            if self._aggregation.combining_before:
                combined = channels.sum(axis=1).to_frame("combined")
                return _scores(self._run(combined, labels, Path(folder) / "combined_test.csv", args))
            scores = [
                _scores(self._run(channels.iloc[:, [i]], labels, Path(folder) / f"channel_{i}.csv", args))
                for i in range(channels.shape[1])
            ]
        return self._aggregation(np.column_stack(scores))

    def _run(
        self, channel: "pd.DataFrame", labels: "pd.DataFrame", path: Path, args: dict[str, Any]
    ) -> AlgorithmParameter:
        channel.join(labels).to_csv(path)
        return self._adapter._call(path, args)  # noqa: SLF001 - stands for the inner adapter, args are complete


def _read(dataset: object) -> "pd.DataFrame":
    import pandas as pd

    if isinstance(dataset, Path):
        return pd.read_csv(dataset, index_col=0)
    if isinstance(dataset, np.ndarray):
        return pd.DataFrame(dataset)
    msg = f"A dataset is an array or the path of a file, not {type(dataset).__name__}."
    raise ValueError(msg)


def _scores(result: AlgorithmParameter) -> np.ndarray[Any, Any]:
    if not isinstance(result, Path):
        return np.asarray(result)
    import pandas as pd

    return pd.read_csv(result, header=None).iloc[:, 0].to_numpy(dtype=np.float64)
