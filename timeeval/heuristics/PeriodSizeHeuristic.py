"""Parameter value: the period of the dataset."""  # noqa: N999 - the name that scripts import

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.AnomalyLengthHeuristic import AnomalyLengthHeuristic
from timeeval.heuristics.base import HeuristicFallbackWarning, TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class PeriodSizeHeuristic(TimeEvalParameterHeuristic):
    """The period of the dataset, in time steps.

    Parameters
    ----------
    factor
        What the period is multiplied with.
    fb_anomaly_length_agg_type
        Without a known period: "min", "median" or "max" of the anomalies' lengths is multiplied instead.
    fb_value
        Without both: this value, not multiplied.
    """

    def __init__(self, factor: float = 1.0, fb_anomaly_length_agg_type: str | None = None, fb_value: int = 1) -> None:
        self.factor = factor
        self.fb_anomaly_length_agg_type = fb_anomaly_length_agg_type
        self.fb_value = fb_value

    def __call__(
        self,
        algorithm: "Algorithm",
        dataset_details: "Dataset",
        dataset_path: Path,
        **kwargs: Any,  # noqa: ANN401
    ) -> int:
        """Return the number of time steps; with a warning if the period is not known."""
        period = dataset_details.period_size
        if period is not None and not math.isnan(period):
            return int(period * self.factor)
        if self.fb_anomaly_length_agg_type is not None:
            anomaly_length = AnomalyLengthHeuristic(self.fb_anomaly_length_agg_type)
            try:
                length = anomaly_length(algorithm, dataset_details, dataset_path, **kwargs)
            except ValueError:
                pass  # not a way to aggregate: specified to be passed over
            else:
                _warn(dataset_details, f"{self.fb_anomaly_length_agg_type} anomaly length {length}")
                return int(length * self.factor)
        _warn(dataset_details, f"value {self.fb_value}")
        return self.fb_value


def _warn(dataset: "Dataset", fallback: str) -> None:
    warnings.warn(
        f"The period of {dataset.datasetId} is not known; the {fallback} is used instead.",
        HeuristicFallbackWarning,
        stacklevel=3,
    )
