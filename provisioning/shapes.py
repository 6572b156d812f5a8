"""What an answer of a node must look like before anything is read from it: a node that is not well may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Final, TypeGuard, TypeVar

from provisioning.endings import senseless

__all__ = ["Shape", "fits", "is_size", "shaped"]

LARGEST: Final = 1 << 60
"""Bytes; no folder holds more."""

Shape = type | UnionType | list[Any] | tuple[Any] | dict[str, Any]
"""A type or some of them; ``[shape]``, a list of such; ``(shape,)``, an object with any names and such values;
``{name: shape}``, an object that has at least these names."""

T = TypeVar("T", bound=Mapping[str, Any])


def fits(value: object, shape: Shape) -> bool:
    """Say whether a JSON value has a shape.

    Parameters
    ----------
    value : object
    shape : Shape
        Of types, ``int`` does not admit ``bool``.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    if isinstance(shape, tuple):
        return isinstance(value, dict) and all(fits(each, shape[0]) for each in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(name in value and fits(value[name], shape[name]) for name in shape)
    return isinstance(value, shape) and not (shape is int and isinstance(value, bool))


def is_size(value: object) -> TypeGuard[int]:
    """Say whether a value can be a number of bytes."""
    return isinstance(value, int) and 0 <= value <= LARGEST


def shaped(answer: T, shape: Shape, host: str, program: str) -> T:
    """Return an answer that has a shape.

    Raises
    ------
    NodeError
        When it has another one.
    """
    if not fits(answer, shape):
        raise senseless(host, dict(list(answer.items())[:3]), program=program)
    return answer
