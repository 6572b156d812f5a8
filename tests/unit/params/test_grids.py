# ruff: noqa: S301 - the tests unpickle what they pickled
import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeeval.params import FullParameterGrid, IndependentParameterGrid
from timeeval.utils.hash_dict import hash_dict


def test_names_are_sorted_and_the_last_changes_fastest():
    grid = FullParameterGrid({"b": [1, 2], "a": ["x", "y"]})
    expected = [{"a": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "y", "b": 1}, {"a": "y", "b": 2}]
    assert list(grid) == expected
    assert [list(params) for params in grid] == [["a", "b"]] * 4
    assert list(grid.iter(None, None)) == expected
    assert [grid[i] for i in range(4)] == expected
    assert grid[-1] == expected[-1]
    assert list(grid[0]) == ["b", "a"]
    assert len(grid) == 4
    assert list(grid.param_grid) == expected


@pytest.mark.parametrize("index", [4, -5, 100])
def test_positions_outside(index):
    with pytest.raises(IndexError, match="grid has 4"):
        FullParameterGrid({"b": [1, 2], "a": ["x", "y"]})[index]


def test_without_parameters_there_is_one_empty_setting():
    assert list(FullParameterGrid({})) == [{}]
    assert len(FullParameterGrid({})) == 1
    assert FullParameterGrid({})[0].uid() == hash_dict({})


@pytest.mark.parametrize("values", [range(3), np.arange(3), (0, 1, 2), [np.int64(0), 1, 2]])
def test_kinds_of_sequences(values):
    grid = FullParameterGrid({"a": values})
    assert list(grid) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert [p.uid() for p in grid] == [hash_dict({"a": i}) for i in range(3)]


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ([{"a": [1]}], TypeError, r"[Pp]lease use"),
        ("a", TypeError, r"[P|p]arameter grid is not a dict"),
        (3, TypeError, r"[P|p]arameter grid is not a dict"),
        ({"a": 1}, TypeError, "must be a sequence"),
        ({"a": "text"}, TypeError, "must be a sequence"),
        ({"a": {1, 2}}, TypeError, "must be a sequence"),
        ({"a": []}, ValueError, "has no values"),
        ({"a": np.zeros((2, 2))}, ValueError, "2 dimensions"),
    ],
)
def test_what_is_no_full_grid(grid, error, message):
    with pytest.raises(error, match=message):
        FullParameterGrid(grid)


VALUES = st.lists(
    st.one_of(st.integers(-3, 3), st.text(max_size=2), st.floats(allow_nan=False)), min_size=1, max_size=3
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_identities_are_those_of_the_plain_settings(description):
    names = sorted(description)
    expected = [dict(zip(names, values, strict=True)) for values in itertools.product(*(description[n] for n in names))]
    grid = FullParameterGrid(description)
    assert list(grid) == expected
    assert [p.uid() for p in grid] == [hash_dict(p) for p in expected]
    assert [grid[i].uid() for i in range(len(grid))] == [hash_dict(p) for p in expected]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.__setitem__("a", 9),
        lambda p: p.__delitem__("a"),
        lambda p: p.update(a=9),
        lambda p: p.update({"c": 1}),
        lambda p: p.pop("a"),
        lambda p: p.popitem(),
        lambda p: p.clear(),
        lambda p: p.setdefault("c", 3),
        lambda p: p.__ior__({"a": 9}),
    ],
)
def test_a_changed_setting_has_another_identity(change):
    params = FullParameterGrid({"a": [1], "b": [2]})[0]
    change(params)
    assert params.uid() == hash_dict(params) != hash_dict({"a": 1, "b": 2})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), dict.copy])
def test_copies_are_independent(duplicate):
    params = FullParameterGrid({"a": [1], "b": [[1, 2]]})[0]
    other = duplicate(params)
    assert other == params
    other["a"] = 5
    assert params.uid() == hash_dict({"a": 1, "b": [1, 2]})
    assert hash_dict(other) == hash_dict({"a": 5, "b": [1, 2]})


def test_one_parameter_at_a_time():
    grid = IndependentParameterGrid({"b": [1, 2], "a": ["x"]}, default_params={"a": "d", "b": 0, "c": 7})
    expected = [{"a": "d", "b": 1, "c": 7}, {"a": "d", "b": 2, "c": 7}, {"a": "x", "b": 0, "c": 7}]
    assert list(grid) == list(grid.param_grid) == expected
    assert list(grid.iter(None, None)) == expected
    assert [grid[i] for i in range(3)] == expected
    assert len(grid) == 3
    assert [list(params) for params in grid] == [["a", "b", "c"]] * 3  # in this order they stand in files and tables
    assert list(grid[0]) == ["c", "b", "a"]


def test_without_defaults_the_others_are_absent():
    assert list(IndependentParameterGrid({"a": [1, 2], "b": (3, 4)})) == [{"a": 1}, {"a": 2}, {"b": (3, 4)}]


def test_without_values_the_defaults_are_the_one_setting():
    assert list(IndependentParameterGrid({}, {"a": 1})) == [{"a": 1}]
    assert list(IndependentParameterGrid({"b": []}, {"a": 1})) == [{"a": 1}]
    assert list(IndependentParameterGrid({})) == [{}]


@pytest.mark.parametrize(
    ("grid", "defaults", "message"),
    [
        ([], None, "parameter grid is not a dict"),
        ({}, [1], r"[D|d]efault parameters is not a dict"),
        ({}, {"a": [1]}, "Only fixed values are allowed for defaults"),
    ],
)
def test_what_is_no_independent_grid(grid, defaults, message):
    with pytest.raises(TypeError, match=message):
        IndependentParameterGrid(grid, defaults)
