"""Errors say host, thing, cause and remedy once, wherever they are read."""
# ruff: noqa: S301 - the tests unpickle what they pickled

import copyreg
import pickle

import pytest
from tblib import pickling_support

from timeeval import errors

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.TimeEvalError)]


@pytest.mark.parametrize("by_dask", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_the_text_is_the_same_everywhere(kind, by_dask, monkeypatch):
    if by_dask:  # which does so for all exceptions that are there when it is loaded
        monkeypatch.setitem(copyreg.dispatch_table, kind, pickling_support.pickle_exception)
    else:
        monkeypatch.delitem(copyreg.dispatch_table, kind, raising=False)
    error = kind("the thing broke", host="node1", remedy="Mend it")
    text = "node1: the thing broke. Mend it"
    assert str(error) == text
    assert error.args == (text,)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.host, copy.remedy) == (kind, text, "node1", "Mend it")


@pytest.mark.parametrize(
    ("message", "remedy", "text"),
    [
        ("a", None, "a"),
        ("a.", "B", "a. B"),
        ("a", "B", "a. B"),
        ("a?", "B", "a? B"),
        ("a:\n  b\n", "C", "a:\n  b\nC"),
        ("", None, ""),
    ],
)
def test_sentences_are_joined(message, remedy, text):
    assert str(errors.TimeEvalError(message, remedy=remedy)) == text


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DatasetNotFoundError, KeyError),
        (errors.DatasetIndexError, ValueError),
        (errors.ScoresError, ValueError),
        (errors.AlgorithmTimeoutError, TimeoutError),
        (errors.AlgorithmMemoryError, MemoryError),
        (errors.DockerTimeoutError, errors.AlgorithmTimeoutError),
        (errors.DockerMemoryError, errors.AlgorithmMemoryError),
        (errors.DockerAlgorithmFailedError, errors.AlgorithmError),
        (errors.DockerAdapterInternalError, errors.InfrastructureError),
    ],
)
def test_scripts_can_catch_the_usual_kinds(kind, builtin):
    assert issubclass(kind, builtin)


def test_repr_is_what_result_tables_record():
    assert repr(errors.DockerTimeoutError("test-exception-timeout")) == "DockerTimeoutError('test-exception-timeout')"
