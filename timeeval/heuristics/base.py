"""What every parameter heuristic can do."""

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class HeuristicFallbackWarning(UserWarning):
    """A heuristic does not know what it needs and gives its fallback value."""


class TimeEvalParameterHeuristic(ABC):
    """Computes the value of a parameter from the algorithm, the dataset or the other parameters.

    Arguments of a subclass's constructor are kept in attributes of the same names.
    """

    @abstractmethod
    def __call__(
        self,
        algorithm: "Algorithm",
        dataset_details: "Dataset",
        dataset_path: Path,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Compute the value.

        Parameters
        ----------
        algorithm
            Algorithm that gets it.
        dataset_details
            Dataset that the algorithm will run on.
        dataset_path
            Test file of the dataset.
        **kwargs
            ``params``, the other parameters' values, and ``param_name``, the name of this one.

        Returns
        -------
        Any
            The value; ``None`` leaves the parameter out.
        """

    @property
    def name(self) -> str:
        """Name of the heuristic."""
        return type(self).__name__

    def parameters(self) -> dict[str, Any]:
        """Return the arguments that the heuristic was made with."""
        return {name: getattr(self, name) for name in self.get_param_names()}

    @classmethod
    def get_param_names(cls) -> list[str]:
        """Return the names of the constructor's arguments, sorted.

        Raises
        ------
        RuntimeError
            If the constructor takes ``*args``, whose names nobody knows.
        """
        if cls.__init__ is object.__init__:
            return []
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            msg = f"The arguments of {cls.__name__} need names; its constructor must not take *args."
            raise RuntimeError(msg)
        return sorted(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
