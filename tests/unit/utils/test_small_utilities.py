import io
import json
from pathlib import Path

import joblib
import numpy as np

from timeeval.params import FixedParams
from timeeval.utils.encode_params import dump_params, dumps_params
from timeeval.utils.exceptions import exc_causes
from timeeval.utils.label_formatting import id2labels, labels2id
from timeeval.utils.results_path import generate_experiment_path
from timeeval.utils.tqdm_joblib import tqdm_joblib

PARAMS = FixedParams({"a": np.int64(0), "b": [np.float64(0.5)], "c": np.array([1, 2]), "d": None})
TEXT = '{"a": 0, "b": [0.5], "c": [1, 2], "d": null}'


def test_parameters_as_json(tmp_path):
    assert dumps_params(PARAMS) == TEXT
    for target in (tmp_path / "one.json", str(tmp_path / "two.json")):
        dump_params(PARAMS, target)
        assert Path(target).read_text() == TEXT
    with (tmp_path / "three.json").open("w") as file:
        dump_params(PARAMS, file)
        assert file.closed
    assert json.loads((tmp_path / "three.json").read_text())["c"] == [1, 2]
    buffer = io.StringIO()
    dump_params(FixedParams({}), buffer)
    assert buffer.closed


def test_causes():
    first, second, third = KeyError("first"), ValueError("second"), RuntimeError("third")
    second.__context__ = first
    third.__cause__ = third.__context__ = second
    assert list(exc_causes(third)) == [third, second, first]
    assert list(exc_causes(None)) == []


def test_causes_in_a_circle():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert list(exc_causes(a)) == [a, b]


def test_labels():
    np.testing.assert_array_equal(id2labels([1, 3], 5), [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(id2labels([], 2), [0, 0])
    assert id2labels([1], 2).dtype == np.int64
    np.testing.assert_array_equal(labels2id(np.array([0, 1, 0, 1])), [1, 1])


def test_experiment_path():
    path = generate_experiment_path(Path("r"), "algo", "id", "coll", "data", 3)
    assert path == Path("r/algo/id/coll/data/3")


def test_progress_follows_joblib():
    class Bar:
        done = 0
        closed = False

        def update(self, n):
            self.done += n

        def close(self):
            self.closed = True

    before = joblib.parallel.BatchCompletionCallBack
    with tqdm_joblib(Bar()) as bar:
        assert joblib.parallel.BatchCompletionCallBack.__name__ == "TqdmBatchCompletionCallback"
        joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(abs)(i) for i in range(5))
    assert (bar.done, bar.closed) == (5, True)
    assert joblib.parallel.BatchCompletionCallBack is before
