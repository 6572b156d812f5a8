"""Parameter value: which dataset it is."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class DatasetIdHeuristic(TimeEvalParameterHeuristic):
    """Collection and name of the dataset."""

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",
        dataset_path: Path,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> tuple[str, str]:
        """Return collection and name."""
        return dataset_details.datasetId
