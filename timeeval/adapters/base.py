"""What every adapter between TimeEval and an algorithm can do."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from timeeval.data_types import AlgorithmParameter, ExecutionType

__all__ = ["Adapter", "AlgorithmParameter"]


class Adapter(ABC):
    """Runs an algorithm, wherever it lives.

    Subclasses implement :meth:`_call`. An adapter may be sent to other hosts, so it must survive pickling.
    """

    @abstractmethod
    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:
        """Run the algorithm.

        Parameters
        ----------
        dataset
            Path of a time series file, or a time series in memory.
        args
            ``hyper_params`` (dict), ``results_path`` (Path), ``resource_constraints`` (ResourceConstraints),
            ``dataset_details`` (Dataset) and ``executionType`` (ExecutionType).

        Returns
        -------
        AlgorithmParameter
            The scores, shape (n,) or as the algorithm's post-processing takes them.
        """

    def __call__(self, dataset: AlgorithmParameter, args: dict[str, Any] | None = None) -> AlgorithmParameter:
        """Run the algorithm; without ``executionType`` in ``args`` it is an execution."""
        arguments = args or {}
        arguments.setdefault("executionType", ExecutionType.EXECUTE)
        return self._call(dataset, arguments)

    def get_prepare_fn(self) -> Callable[[], None] | None:
        """Return what a host has to do once before the first run (a function that can be pickled), or ``None``."""
        return None

    def get_finalize_fn(self) -> Callable[[], None] | None:
        """Return what a host has to do once after the last run, as a function that can be pickled, or ``None``."""
        return None

    def get_images(self) -> tuple[str, ...]:
        """Container images (``name:tag``) that must be present wherever this adapter runs."""
        return ()
