"""Every public name says what it is, what it takes and, a metric, where it is defined."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from api import EXPORTS

from timeeval import metrics
from timeeval.metrics import Metric


def public() -> Iterator[tuple[str, Any]]:
    """Yield the classes, functions and methods of ours that scripts can import, by their place."""
    seen = set()
    for module, names in EXPORTS.items():
        for name in names.split():
            thing = getattr(importlib.import_module(module), name)
            ours = getattr(thing, "__module__", "").startswith("timeeval")
            if ours and (inspect.isclass(thing) or inspect.isfunction(thing)) and id(thing) not in seen:
                seen.add(id(thing))
                yield f"{module}:{name}", thing
                if inspect.isclass(thing):
                    yield from ((f"{module}:{name}.{key}", getattr(thing, key)) for key in methods(thing))


def methods(kind: type) -> list[str]:
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and (isinstance(value, property) or inspect.isfunction(inspect.unwrap(getattr(kind, name, None))))
    ]


def arguments(thing: Any) -> int:
    """Count the arguments that a docstring has to tell of; what a class inherits is told where it is defined."""
    if isinstance(thing, property) or (inspect.isclass(thing) and "__init__" not in vars(thing)):
        return 0
    return sum(p.name != "self" and not p.name.startswith("_") for p in inspect.signature(thing).parameters.values())


def inherited(place: str, thing: Any) -> bool:
    """Tell whether a method only does what a base says, in its own way."""
    module, _, path = place.partition(":")
    owner, _, name = path.partition(".")
    if not name:
        return False
    bases = getattr(importlib.import_module(module), owner).__mro__[1:]
    return any(name in vars(base) and base.__module__ != "builtins" for base in bases)


NAMES = dict(public())


@pytest.mark.parametrize("place", NAMES)
def test_public_names_are_documented(place):
    thing = NAMES[place]
    text = inspect.getdoc(thing) or ""
    assert text
    if arguments(thing) > 1 and not inherited(place, thing):
        told = (
            "Parameters\n",
            "Attributes\n",
            "arameters and source see",
            "arameters see",
            "for parameters and source",
        )
        names = [name for name in inspect.signature(thing).parameters if name != "self"]
        assert any(part in text for part in told) or all(f"`{name}`" in text for name in names), text


@pytest.mark.parametrize("name", [n for n in metrics.__all__ if inspect.isclass(getattr(metrics, n))])
def test_metrics_name_their_source(name):
    kind = getattr(metrics, name)
    if not issubclass(kind, Metric) or inspect.isabstract(kind):
        return
    texts = [inspect.getdoc(thing) or "" for thing in (inspect.getmodule(kind), *kind.__mro__[:3])]
    assert any("[1]" in text for text in texts)
