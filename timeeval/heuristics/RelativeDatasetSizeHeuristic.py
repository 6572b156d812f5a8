"""Parameter value: a share of the dataset's length."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class RelativeDatasetSizeHeuristic(TimeEvalParameterHeuristic):
    """A share of the dataset's length, in time steps.

    Parameters
    ----------
    factor
        The share, 0 to 1.
    """

    def __init__(self, factor: float = 0.1) -> None:
        self.factor = factor

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",
        dataset_path: Path,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> int:
        """Return the number of time steps."""
        return int(dataset_details.length * self.factor)
