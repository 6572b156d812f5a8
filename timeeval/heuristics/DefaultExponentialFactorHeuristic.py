"""Parameter value: its default times a power of ten."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic
from timeeval.heuristics.DefaultFactorHeuristic import check_zero_fallback, scaled_default

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class DefaultExponentialFactorHeuristic(TimeEvalParameterHeuristic):
    """The parameter's default value times a power of ten, of the default's type (or ``zero_fb``'s, if that stands in).

    Parameters
    ----------
    exponent
        Exponent of the power.
    zero_fb
        What is multiplied if the default is 0.

    Raises
    ------
    ValueError
        If ``zero_fb`` is 0.
    """

    def __init__(self, exponent: int = 0, zero_fb: float = 1.0) -> None:
        check_zero_fallback(zero_fb)
        self.exponent = exponent
        self.zero_fb = zero_fb

    def __call__(
        self,
        algorithm: "Algorithm",
        dataset_details: "Dataset",  # noqa: ARG002
        dataset_path: Path,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the multiple.

        Raises
        ------
        ValueError
            If the algorithm names no default.
        """
        return scaled_default(algorithm, kwargs["param_name"], 10**self.exponent, self.zero_fb)
