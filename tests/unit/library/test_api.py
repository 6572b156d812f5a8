"""Every public name of TimeEval 1.5 is here, takes the same arguments and means the same."""

from __future__ import annotations

import importlib
import inspect
from enum import Enum
from typing import Any

import pytest
from api import EXCEPTIONS, EXPORTS, MEMBERS, METRIC_NAMES, PROPERTIES, SIGNATURES, STATUSES, VALUES

import timeeval
from timeeval import DefaultMetrics, Status
from timeeval.algorithms import CATALOGUE
from timeeval.resource_constraints import DEFAULT_TIMEOUT, ResourceConstraints


def found(path: str) -> Any:
    module, _, name = path.partition(":")
    thing: Any = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def written(parameter: inspect.Parameter) -> str:
    name = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "") + parameter.name
    if parameter.default is parameter.empty:
        return name
    default = parameter.default
    return f"{name}={type(default).__name__}.{default.name}" if isinstance(default, Enum) else f"{name}={default!r}"


def parts(signature: str) -> list[str]:
    return [part.strip() for part in signature.split(",") if part.strip()]


@pytest.mark.parametrize("module", EXPORTS)
def test_names_can_be_imported(module):
    loaded = importlib.import_module(module)
    assert [name for name in EXPORTS[module].split() if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path):
    taken = [p for p in inspect.signature(found(path)).parameters.values() if p.name != "self"]
    expected = parts(SIGNATURES[path])
    ours = [written(p) for p in taken if p.kind is not p.KEYWORD_ONLY]
    assert len(ours) == len(expected), ours
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine == theirs or (theirs.endswith("=...") and mine.startswith(theirs.removesuffix("...")))
    added = [p for p in taken if p.kind is p.KEYWORD_ONLY and p.name not in ("inf_is_1", "neginf_is_0", "nan_is_0")]
    assert all(p.default is not p.empty for p in added), "what is added must not be demanded"


@pytest.mark.parametrize("path", MEMBERS)
def test_members_of_enumerations(path):
    assert {member.name: member.value for member in found(path)} == MEMBERS[path]


def test_statuses():
    assert [status.name for status in Status] == STATUSES


@pytest.mark.parametrize("path", VALUES)
def test_constant(path):
    assert found(path) == VALUES[path]


@pytest.mark.parametrize("attribute", METRIC_NAMES)
def test_column_of_default_metric(attribute):
    assert getattr(DefaultMetrics, attribute).name == METRIC_NAMES[attribute]


@pytest.mark.parametrize("path", PROPERTIES)
def test_attributes_of_instances(path):
    kind = found(path)
    assert [name for name in PROPERTIES[path].split() if not hasattr(kind, name)] == []


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_exceptions_are_exceptions(module):
    loaded = importlib.import_module(module)
    assert all(issubclass(getattr(loaded, name), Exception) for name in EXCEPTIONS[module].split())


def test_the_default_limit_is_eight_hours_and_one_object():
    constraints = ResourceConstraints()
    assert constraints.train_timeout is constraints.execute_timeout is DEFAULT_TIMEOUT
    assert DEFAULT_TIMEOUT.to_seconds() == 8 * 3600


def test_all_is_what_is_exported():
    assert set(timeeval.__all__) == set(EXPORTS["timeeval"].split())


def test_every_algorithm_is_a_module_with_a_function_of_its_name():
    assert len(CATALOGUE.entries) == 82
    for entry in CATALOGUE.entries:
        function = getattr(importlib.import_module(f"timeeval.algorithms.{entry.function}"), entry.function)
        assert list(inspect.signature(function).parameters) == ["params", "skip_pull", "timeout"]
    assert sum(hasattr(timeeval.algorithms, entry.function) for entry in CATALOGUE.entries if entry.exported) == 81


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("timeeval._core.remote", "Remote"),
        ("timeeval_experiments.generator", "AlgorithmGenerator"),
        ("timeeval_experiments.generator", "ParamConfigGenerator"),
    ],
)
def test_what_is_gone_says_so_and_what_takes_its_place(module, name):
    with pytest.raises(ImportError, match=rf"{name} .*Use "):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ["remote", "rsync_results", "rsync_results_from"])
def test_attributes_that_are_gone_say_so(name):
    assert not hasattr(timeeval.TimeEval, name)
    with pytest.raises(AttributeError, match=rf"TimeEval\.{name} is not provided: .*Use "):
        getattr(timeeval.TimeEval.__new__(timeeval.TimeEval), name)
