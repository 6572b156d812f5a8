import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from timeeval.adapters.docker import (
    DATASET_TARGET_PATH,
    MODEL_FILE_NAME,
    RESULTS_TARGET_PATH,
    SCORES_FILE_NAME,
    AlgorithmInterface,
    DockerJSONEncoder,
)
from timeeval.adapters.docker.contract import command_for
from timeeval.data_types import ExecutionType


def test_names():
    assert PurePosixPath("/data") == DATASET_TARGET_PATH
    assert PurePosixPath("/results") == RESULTS_TARGET_PATH
    assert (SCORES_FILE_NAME, MODEL_FILE_NAME) == ("docker-algorithm-scores.csv", "model.pkl")


def test_document_with_numpy_values():
    interface = AlgorithmInterface(
        dataInput=Path("in.csv"),
        dataOutput=Path("out.csv"),
        modelInput=Path("model-in.csv"),
        modelOutput=Path("model-out.csv"),
        executionType=ExecutionType.TRAIN,
        customParameters={
            "bool": np.bool_(True),
            "float": np.float64(1e-3),
            "numpy": [np.int32(4), np.float64(2.3)],
            "numpy-list": np.array([0, 1]),
        },
    )
    assert interface.to_json_string() == (
        '{"dataInput": "in.csv", "dataOutput": "out.csv", "modelInput": "model-in.csv", '
        '"modelOutput": "model-out.csv", "executionType": "train", "customParameters": '
        '{"bool": true, "float": 0.001, "numpy": [4, 2.3], "numpy-list": [0, 1]}}'
    )


def test_the_command_is_an_argument_list():
    awkward = 'it\'s "quoted" $HOME `id`; rm -rf / \\ \n'
    command = command_for(Path("/some where/te'st.csv"), ExecutionType.EXECUTE, {"a": awkward})
    assert command[0] == "execute-algorithm"
    assert len(command) == 2
    document = json.loads(command[1])
    assert document["customParameters"] == {"a": awkward}
    assert document["dataInput"] == "/data/te'st.csv"
    assert document["dataOutput"] == "/results/docker-algorithm-scores.csv"
    assert document["modelInput"] == document["modelOutput"] == "/results/model.pkl"
    assert document["executionType"] == "execute"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ExecutionType.TRAIN, '"train"'),
        (Path("/a/b"), '"/a/b"'),
        (np.float32(0.5), "0.5"),
        (np.uint8(7), "7"),
        (np.array([[1, 2]]), "[[1, 2]]"),
        (np.str_("x"), '"x"'),
        (np.complex128(1 + 2j), '{"real": 1.0, "imag": 2.0}'),
        (np.void(b"ab"), "null"),
    ],
)
def test_values_that_json_does_not_know(value, text):
    assert json.dumps(value, cls=DockerJSONEncoder) == text


def test_other_values_are_refused():
    with pytest.raises(TypeError):
        json.dumps(object(), cls=DockerJSONEncoder)
