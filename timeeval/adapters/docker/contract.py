"""What an algorithm image is told: one JSON document as the only argument of ``execute-algorithm``."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final

from timeeval.data_types import ExecutionType
from timeeval.utils.encode_params import NumpyEncoder

DATASET_TARGET_PATH: Final = PurePosixPath("/data")
RESULTS_TARGET_PATH: Final = PurePosixPath("/results")
SCORES_FILE_NAME: Final = "docker-algorithm-scores.csv"
MODEL_FILE_NAME: Final = "model.pkl"

#: First word of the command; the entry point of every algorithm image knows it.
EXECUTE_COMMAND: Final = "execute-algorithm"


class DockerJSONEncoder(NumpyEncoder):
    """Writes NumPy values, paths and the execution type as algorithm images read them."""

    def default(self, o: Any) -> Any:  # noqa: ANN401
        """Return a value that JSON has for one it does not have."""
        if isinstance(o, ExecutionType):
            return o.name.lower()
        if isinstance(o, PurePath):
            return str(o)
        return super().default(o)


@dataclass
class AlgorithmInterface:
    """The document that an algorithm image gets.

    Parameters
    ----------
    dataInput
        The time series, below ``/data``.
    dataOutput
        Where the scores go, below ``/results``.
    modelInput
        Where an execution finds the model.
    modelOutput
        Where a training leaves the model.
    executionType
        Training or execution.
    customParameters
        Hyper-parameters by name.
    """

    dataInput: PurePath  # noqa: N815 - the document's own spelling
    dataOutput: PurePath  # noqa: N815
    modelInput: PurePath  # noqa: N815
    modelOutput: PurePath  # noqa: N815
    executionType: ExecutionType  # noqa: N815
    customParameters: dict[str, Any] = field(default_factory=dict)  # noqa: N815

    def to_json_string(self) -> str:
        """Return the document as JSON text, keys in the order of the fields."""
        document = {**asdict(self), "customParameters": dict(self.customParameters)}
        return json.dumps(document, cls=DockerJSONEncoder)


def command_for(dataset: Path, execution_type: ExecutionType, hyper_params: dict[str, Any]) -> list[str]:
    """Build the argument list of a container.

    Parameters
    ----------
    dataset
        File of the time series on the host; inside of the container it lies in ``/data`` under the same name.
    execution_type
        Training or execution.
    hyper_params
        Hyper-parameters by name.
    """
    model = RESULTS_TARGET_PATH / MODEL_FILE_NAME
    document = AlgorithmInterface(
        dataInput=DATASET_TARGET_PATH / dataset.name,
        dataOutput=RESULTS_TARGET_PATH / SCORES_FILE_NAME,
        modelInput=model,
        modelOutput=model,
        executionType=execution_type,
        customParameters=hyper_params,
    )
    return [EXECUTE_COMMAND, document.to_json_string()]
