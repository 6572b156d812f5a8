"""What every kind of parameter configuration can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.params.params import Params


class ParameterConfig(Sized, ABC):
    """The parameter settings of an algorithm that an evaluation runs."""

    @abstractmethod
    def iter(self, algorithm: "Algorithm", dataset: "Dataset") -> Iterator["Params"]:
        """Go through the settings for one algorithm on one dataset, in a fixed order.

        Parameters
        ----------
        algorithm
            Algorithm that will get the parameters.
        dataset
            Dataset that it will run on.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Count the settings."""

    def written_values(self) -> Iterable[object]:
        """Return values as they were written, to be checked before a run; a configuration need not know them."""
        return ()

    @staticmethod
    def defaults() -> "ParameterConfig":
        """Return the configuration with one setting that leaves every parameter at the algorithm's default."""
        from timeeval.params.fixed import FixedParameters

        return FixedParameters({})
