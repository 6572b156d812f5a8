"""Parameter value: some window sizes around the period."""  # noqa: N999 - the name that scripts import

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic
from timeeval.heuristics.PeriodSizeHeuristic import PeriodSizeHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class EmbedDimRangeHeuristic(TimeEvalParameterHeuristic):
    """Multiples of a window size that follows the dataset's period.

    Parameters
    ----------
    base_factor
        What the period is multiplied with to give the window size.
    base_fb_value
        Window size if the dataset has no known period.
    dim_factors
        What the window size is multiplied with, one result for each; 0.5, 1 and 1.5 if not given.
    """

    def __init__(
        self, base_factor: float = 1.0, base_fb_value: int = 50, dim_factors: Sequence[float] | None = None
    ) -> None:
        self.base_factor = base_factor
        self.base_fb_value = base_fb_value
        self.dim_factors = [0.5, 1.0, 1.5] if dim_factors is None else dim_factors

    def __call__(
        self,
        algorithm: "Algorithm",
        dataset_details: "Dataset",
        dataset_path: Path,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[int]:
        """Return the window sizes, in time steps."""
        window = PeriodSizeHeuristic(factor=self.base_factor, fb_value=self.base_fb_value)
        size = window(algorithm, dataset_details, dataset_path, **kwargs)
        return [int(factor * size) for factor in self.dim_factors]
