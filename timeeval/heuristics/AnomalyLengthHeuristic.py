"""Parameter value: the length of the dataset's anomalies."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class AnomalyLengthHeuristic(TimeEvalParameterHeuristic):
    """The length of the dataset's anomalies, in time steps.

    Parameters
    ----------
    agg_type
        "min", "median" or "max" of the anomalies' lengths.
    """

    def __init__(self, agg_type: str = "median") -> None:
        self.agg_type = agg_type

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",
        dataset_path: Path,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> int:
        """Return the length.

        Raises
        ------
        ValueError
            If ``agg_type`` is none of the three.
        """
        if self.agg_type not in {"min", "median", "max"}:
            msg = f"agg_type must be 'min', 'median' or 'max', not {self.agg_type!r}."
            raise ValueError(msg)
        return int(getattr(dataset_details, f"{self.agg_type}_anomaly_length"))
