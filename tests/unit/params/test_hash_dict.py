import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeeval.params.params import FixedParams
from timeeval.utils.hash_dict import hash_dict


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "d751713988987e9331980363e24189ce"),
        ({"a": 0}, "a432517fe5e1e49ddb7469bd7b276752"),
        ({"a": 2, "b": 1}, "4228e52741e10057571f4129cbba84d1"),
        ({"b": 1, "a": 2}, "4228e52741e10057571f4129cbba84d1"),
        ({"window_size": 100, "random_state": 42}, "ec063b960bd1b94d34b9b6feded02966"),
        ({"x": [1, 2], "y": None, "z": True}, "edfa7ddbf4900cde4468163cd267a738"),
        ({"f": 0.1, "s": "heuristic:PeriodSizeHeuristic(factor=1.0)"}, "22c896e6fe2bff9fbf702ed706e90eb3"),
        ({"t": np.int64(2)}, "ce1cd5f64406c8f596182b2185c31047"),
        ({"t": 2}, "ce1cd5f64406c8f596182b2185c31047"),
        ({"a": "x", "b": 1}, "1e6f5b7958024e547cf54afcfb0cb087"),
        ({"a": "x", "b": 2}, "61e37ae93d41b0918e50bd91c44df7a1"),
    ],
)
def test_pinned_values(params, expected):
    assert hash_dict(params) == expected
    assert FixedParams(params).uid() == expected


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.int8(3), 3),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        ([np.int64(1), np.float64(2.5)], [1, 2.5]),
        ((np.int64(1),), (1,)),
        ({"k": np.int64(1)}, {"k": 1}),
    ],
)
def test_numpy_values_count_as_python_values(scalar, plain):
    assert hash_dict({"v": scalar}) == hash_dict({"v": plain})


def test_single_precision_is_written_short():
    assert hash_dict({"v": np.float32(0.1)}) == hash_dict({"v": 0.1})


def test_print_options_do_not_matter():
    expected = hash_dict({"v": np.array([1.23456789, 2.0])})
    assert hash_dict({"v": np.array([1.23456789, 2.0])}) == expected
    assert hash_dict({"v": np.array([1.23456789, 3.0])}) != expected


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(), st.text(), st.none(), st.booleans())))
def test_plain_values_are_hashed_as_the_text_of_their_sorted_items(params):
    import hashlib

    text = str(sorted(params.items(), key=lambda item: item[0]))
    assert hash_dict(params) == hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
