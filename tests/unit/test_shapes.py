"""What an answer must look like before anything is read from it."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.errors import NodeError
from provisioning.shapes import fits, shaped


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (True, bool, True),
        (None, str, False),
        ("x", str, True),
        ([], [int], True),
        ([1, "x"], [int], False),
        ({"a": 1}, [int], False),
        ({"a": 1, "more": None}, {"a": int}, True),
        ({"b": 1}, {"a": int}, False),
        ([], {"a": int}, False),
        ({"any": "x", "name": "y"}, (str,), True),
        ({"any": 1}, (str,), False),
        ([{"a": {"x": [1]}}], [{"a": ([int],)}], True),
        ([{"a": {"x": [1.5]}}], [{"a": ([int],)}], False),
    ],
)
def test_shapes(value: object, shape: Any, expected: bool) -> None:
    assert fits(value, shape) is expected


def test_another_shape_is_an_error_that_names_the_node() -> None:
    answer = {"a": 1}
    assert shaped(answer, {"a": int}, "node1", "x.look") is answer
    with pytest.raises(NodeError, match=r"x\.look said what makes no sense: \{'a': 1\}") as caught:
        shaped(answer, {"a": str}, "node1", "x.look")
    assert caught.value.host == "node1"
    assert caught.value.remedy
