"""What TimeEval evaluates: an algorithm with its description and its parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from timeeval.adapters.base import Adapter
from timeeval.data_types import (
    AlgorithmParameter,
    ExecutionType,
    InputDimensionality,
    TrainingType,
    TSFunction,
    TSFunctionPost,
)
from timeeval.params.base import ParameterConfig
from timeeval.params.fixed import FixedParameters

_DEFAULT_PARAMETERS: ParameterConfig = FixedParameters({})


@dataclass
class Algorithm:
    """An anomaly detector that TimeEval can run.

    Parameters
    ----------
    name
        Unique name; results and result folders are called by it.
    main
        Adapter that runs the algorithm.
    preprocess
        Called as ``preprocess(data, args)`` before each run; its result goes into the algorithm.
    postprocess
        Called as ``postprocess(result, args)`` after an execution; returns the scores, shape (n,), dtype float.
    data_as_file
        Hand the path of the dataset file to the algorithm instead of its content.
    param_schema
        Parameter name to a dictionary with ``name``, ``type``, ``defaultValue`` and ``description``.
    param_config
        The parameter settings to run.
    training_type
        How the algorithm learns.
    input_dimensionality
        Univariate, or multivariate if it can take more than one channel.
    """

    name: str
    main: Adapter
    preprocess: TSFunction | None = None
    postprocess: TSFunctionPost | None = None
    data_as_file: bool = False
    param_schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    param_config: ParameterConfig = _DEFAULT_PARAMETERS
    training_type: TrainingType = TrainingType.UNSUPERVISED
    input_dimensionality: InputDimensionality = InputDimensionality.UNIVARIATE

    def train(self, dataset: AlgorithmParameter, args: dict[str, Any] | None = None) -> AlgorithmParameter:
        """Build a model from a training time series.

        Parameters
        ----------
        dataset
            Path of the training file, or its content.
        args
            Arguments of the run; ``executionType`` is set in this very dictionary.

        Raises
        ------
        ValueError
            If the algorithm is unsupervised.
        """
        if self.training_type == TrainingType.UNSUPERVISED:
            msg = f"Calling 'train' on the unsupervised algorithm {self.name!r} is not supported; only execute it."
            raise ValueError(msg)
        return self._run(dataset, args, ExecutionType.TRAIN)

    def execute(self, dataset: AlgorithmParameter, args: dict[str, Any] | None = None) -> AlgorithmParameter:
        """Score a time series.

        Parameters
        ----------
        dataset
            Path of the test file, or its features.
        args
            Arguments of the run; ``executionType`` is set in this very dictionary.
        """
        return self._run(dataset, args, ExecutionType.EXECUTE)

    def _run(
        self, dataset: AlgorithmParameter, args: dict[str, Any] | None, execution_type: ExecutionType
    ) -> AlgorithmParameter:
        arguments = {} if args is None else args
        arguments["executionType"] = execution_type
        return self.main(dataset, arguments)

    def prepare_fn(self) -> Callable[[], None] | None:
        """Return what a host has to do once before the first run, or ``None``."""
        return self.main.get_prepare_fn()

    def prepare(self) -> None:
        """Prepare this host."""
        prepare = self.prepare_fn()
        if prepare is not None:
            prepare()

    def finalize_fn(self) -> Callable[[], None] | None:
        """Return what a host has to do once after the last run, or ``None``."""
        return self.main.get_finalize_fn()

    def finalize(self) -> None:
        """Clean up this host."""
        finalize = self.finalize_fn()
        if finalize is not None:
            finalize()
