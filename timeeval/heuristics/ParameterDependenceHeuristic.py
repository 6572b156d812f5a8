"""Parameter value: computed from another parameter."""  # noqa: N999 - the name that scripts import

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.base import HeuristicFallbackWarning, TimeEvalParameterHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class ParameterDependenceHeuristic(TimeEvalParameterHeuristic):
    """A function of another parameter's value, evaluated after all other heuristics.

    Parameters
    ----------
    source_parameter
        Name of the other parameter.
    fn
        Called with the other parameter's value.
    factor
        What the other parameter's value is multiplied with; its type is kept.

    Raises
    ------
    ValueError
        If both ``fn`` and ``factor`` are given.
    """

    def __init__(
        self, source_parameter: str, fn: Callable[[Any], Any] | None = None, factor: float | None = None
    ) -> None:
        if fn is not None and factor is not None:
            msg = "Give either fn or factor, not both."
            raise ValueError(msg)
        self.source_parameter = source_parameter
        self.fn = fn
        self.factor = factor

    def __call__(
        self,
        algorithm: "Algorithm",  # noqa: ARG002
        dataset_details: "Dataset",  # noqa: ARG002
        dataset_path: Path,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the value; ``None``, with a warning, if the other parameter is not set."""
        try:
            value = kwargs["params"][self.source_parameter]
        except KeyError:
            warnings.warn(
                f"The parameter {self.source_parameter!r}, on which {kwargs.get('param_name')!r} depends, is not set; "
                "the latter is left out.",
                HeuristicFallbackWarning,
                stacklevel=2,
            )
            return None
        if self.fn is not None:
            return self.fn(value)
        return value if self.factor is None else type(value)(self.factor * value)
