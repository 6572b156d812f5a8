"""Parameter value: the share of anomalous time steps."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class ContaminationHeuristic(TimeEvalParameterHeuristic):
    """The share of anomalous time steps in the test file, 0 to 1."""

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",  # noqa: ARG002
        dataset_path: Path,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> float:
        """Return the share."""
        from timeeval.datasets.locations import readable
        from timeeval.utils.datasets import load_labels_only

        labels = load_labels_only(readable(dataset_path))
        return float(labels.sum() / len(labels))
