"""Parameter value: how much of a time series' start is normal."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class CleanStartSequenceSizeHeuristic(TimeEvalParameterHeuristic):
    """Time steps before the first anomaly, but not more than a share of the series.

    Parameters
    ----------
    max_factor
        Largest share of the series, 0 to 1.
    """

    def __init__(self, max_factor: float = 0.1) -> None:
        self.max_factor = max_factor

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",
        dataset_path: Path,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> int:
        """Return the number of time steps; a series without anomalies has the largest share."""
        from timeeval.datasets.locations import readable
        from timeeval.utils.datasets import load_labels_only

        most = int(dataset_details.length * self.max_factor)
        anomalous = load_labels_only(readable(dataset_path)) > 0
        return min(most, int(anomalous.argmax())) if anomalous.any() else most
