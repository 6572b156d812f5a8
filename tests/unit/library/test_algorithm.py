from copy import deepcopy

import numpy as np
import pytest

from timeeval import Algorithm, InputDimensionality, TrainingType
from timeeval.adapters import FunctionAdapter
from timeeval.adapters.base import Adapter
from timeeval.data_types import ExecutionType
from timeeval.params import FixedParameters


class Recorder(Adapter):
    def __init__(self):
        self.calls = []
        self.prepared = self.finalized = 0

    def _call(self, dataset, args):
        self.calls.append((dataset, args))
        return dataset

    def get_prepare_fn(self):
        return self.prepare

    def prepare(self):
        self.prepared += 1


@pytest.fixture
def recorder():
    return Recorder()


def test_an_unsupervised_algorithm_does_not_train(recorder):
    with pytest.raises(ValueError, match=r".*[Cc]alling.*train.*unsupervised algorithm.*not supported.*"):
        Algorithm("a", recorder).train(np.zeros(3))
    assert recorder.calls == []


def test_the_execution_type_is_set_in_the_given_dictionary(recorder):
    algorithm = Algorithm("a", recorder, training_type=TrainingType.SUPERVISED)
    args = {"hyper_params": {"a": 1}}
    algorithm.train(np.zeros(3), args)
    assert args["executionType"] is ExecutionType.TRAIN
    algorithm.execute(np.zeros(3), args)
    assert args["executionType"] is ExecutionType.EXECUTE
    assert recorder.calls[1][1] is args
    algorithm.execute(np.zeros(3))
    assert recorder.calls[2][1] == {"executionType": ExecutionType.EXECUTE}


def test_defaults():
    a, b = Algorithm("a", FunctionAdapter.identity()), Algorithm("b", FunctionAdapter.identity())
    assert a.param_config is b.param_config
    assert a.param_schema == {}
    assert a.param_schema is not b.param_schema
    assert (a.training_type, a.input_dimensionality) == (TrainingType.UNSUPERVISED, InputDimensionality.UNIVARIATE)
    assert (a.data_as_file, a.preprocess, a.postprocess) == (False, None, None)


def test_it_can_be_changed_and_copied(recorder):
    algorithm = Algorithm("a", recorder)
    copy = deepcopy(algorithm)
    copy.param_config = FixedParameters({"x": 1})
    assert algorithm.param_config is not copy.param_config
    assert algorithm == Algorithm("a", recorder)
    assert algorithm != copy


def test_prepare_and_finalize(recorder):
    algorithm = Algorithm("a", recorder)
    algorithm.prepare()
    assert recorder.prepared == 1
    algorithm.finalize()
    assert algorithm.finalize_fn() is None
    assert Algorithm("b", FunctionAdapter.identity()).prepare_fn() is None
