"""Parameter value: a multiple of its default."""  # noqa: N999 - the name that scripts import

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class DefaultFactorHeuristic(TimeEvalParameterHeuristic):
    """A multiple of the parameter's default value, of the default's type (or of ``zero_fb``'s, if that stands in).

    Parameters
    ----------
    factor
        What the default is multiplied with.
    zero_fb
        What is multiplied if the default is 0.

    Raises
    ------
    ValueError
        If ``zero_fb`` is 0.
    """

    def __init__(self, factor: float = 1.0, zero_fb: float = 1.0) -> None:
        check_zero_fallback(zero_fb)
        self.factor = factor
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
        return scaled_default(algorithm, kwargs["param_name"], self.factor, self.zero_fb)


def check_zero_fallback(zero_fb: float) -> None:
    """Refuse a fallback that would make every multiple 0 again."""
    if zero_fb == 0:
        msg = "zero_fb must not be 0: it replaces a default of 0, of which every multiple is 0."
        raise ValueError(msg)


def scaled_default(algorithm: "Algorithm", param_name: str, factor: float, zero_fb: float) -> Any:  # noqa: ANN401
    """Multiply the default of an algorithm's parameter."""
    try:
        default = algorithm.param_schema[param_name]["defaultValue"]
    except KeyError:
        msg = f"Could not find the default value of parameter {param_name!r} in the schema of {algorithm.name!r}."
        raise ValueError(msg) from None
    if default == 0:
        default = zero_fb
    return type(default)(factor * default)
