"""What an execution's scores depend on, as a digest: the key under which the journal finds it again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.params.params import SearchedParams
from timeeval.run.local_code import local_modules
from timeeval.run.model import Cell, Execution

if TYPE_CHECKING:
    from timeeval.experiment import Experiment

# settings of adapters that say where or how long something may run, never what it computes
_NOT_CODE = {"skip_pull", "timeout", "memory_limit", "cpu_limit", "group", "group_privileges"}


class Identities:
    """Digests of the experiments of one run; what several share is digested once.

    Parameters
    ----------
    image_ids : mapping of str to str, optional
        Proven image identity by ``name:tag``; without a gate an image is known by its name.
    data_digests : mapping of Path to str, optional
        Proven SHA-256 of dataset files; all others are read.
    locate : callable, optional
        Where to read a dataset file on this machine.
    """

    def __init__(
        self,
        image_ids: Mapping[str, str] | None = None,
        data_digests: Mapping[Path, str] | None = None,
        locate: Callable[[Path], Path] = lambda path: path,
    ) -> None:
        self._image_ids = image_ids or {}
        self._data = dict(data_digests or {})
        self._locate = locate
        self._here: dict[Path, bool] = {}
        self._algorithms: dict[int, str] = {}
        self._local = {module.__name__ for module in local_modules()} | {"__main__"}

    def execution(self, experiment: Experiment, expected_seconds: float = 1.0, measured: bool = False) -> Execution:
        """Return the execution of an experiment.

        Raises
        ------
        OSError
            If a dataset file cannot be read.
        """
        cell = Cell(
            experiment.algorithm.name,
            experiment.dataset_collection,
            experiment.dataset_name,
            sys.intern(experiment.params_id),
            experiment.repetition,
        )
        parts = {
            "algorithm": self._algorithm(experiment),
            "cell": _fields(cell),
            "params": _settings(experiment),
            "test": self._file(experiment.resolved_test_dataset_path),
            "train": None
            if experiment.resolved_train_dataset_path is None
            else self._file(experiment.resolved_train_dataset_path),
        }
        searched = isinstance(experiment.params, SearchedParams)
        return Execution(_digest(parts), cell, expected_seconds, measured, alone=searched)

    def proven_here(self, path: Path) -> bool:
        """Tell whether this machine can read a dataset file with the very content that executions are known by."""
        if path not in self._here:
            try:
                with self._locate(path).open("rb") as file:
                    self._here[path] = hashlib.file_digest(file, "sha256").hexdigest() == self._file(path)
            except OSError:
                self._here[path] = False
        return self._here[path]

    def _algorithm(self, experiment: Experiment) -> str:
        algorithm = experiment.algorithm
        known = self._algorithms.get(id(algorithm))
        if known is None:
            fields = {
                field.name: getattr(algorithm, field.name)
                for field in dataclasses.fields(algorithm)
                if field.name != "param_config"
            }
            images = [self._image_ids.get(image, image) for image in algorithm.main.get_images()]
            describe = _Describer(self._local)
            known = self._algorithms[id(algorithm)] = _digest([describe(fields), images])
        return known

    def _file(self, path: Path) -> str | None:
        if path not in self._data:
            try:
                with self._locate(path).open("rb") as file:
                    self._data[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:  # the experiment will say so where it runs
                self._data[path] = ""
        return self._data[path]


def grid_digest(executions: Iterable[Execution]) -> str:
    """Return the digest of a grid: its cells in order, whatever they depend on."""
    digest = hashlib.sha256()
    for execution in executions:
        digest.update(json.dumps(_fields(execution.cell)).encode())
    return digest.hexdigest()


def _fields(cell: Cell) -> list[str | int]:
    """Return what `dataclasses.astuple` would, which copies deeply and takes ten times as long."""
    return [cell.algorithm, cell.collection, cell.dataset, cell.hyper_params_id, cell.repetition]


def _settings(experiment: Experiment) -> Any:  # noqa: ANN401 - JSON
    if isinstance(experiment.params, SearchedParams):  # drawn later: known by its id and what it is drawn from
        return experiment.params.description()
    return _Describer(set())(experiment.params.to_dict())


def _digest(value: Any) -> str:  # noqa: ANN401 - JSON
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class _Describer:
    """Describes values and code as JSON, the same in every process and on every line of the script.

    Functions are described by their bytecode, constants, defaults, closures and the globals they use; what is
    installed (not one of the `local` modules) by its name.
    """

    def __init__(self, local: set[str]) -> None:
        self._local = local
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []

    def __call__(self, value: Any) -> Any:  # noqa: ANN401 - anything to JSON
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        if isinstance(value, bytes):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if isinstance(value, PurePath | Enum):
            return [type(value).__name__, str(value)]
        if isinstance(value, np.generic):
            return repr(value.item())
        if id(value) in self._seen:
            return ["seen", self._seen[id(value)]]
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)  # an id is unique only while its object lives
        return self._compound(value)

    def _compound(self, value: Any) -> Any:  # noqa: ANN401
        kinds: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (np.ndarray, self._array),
            (Mapping, self._mapping),
            ((set, frozenset), self._set),
            ((list, tuple), lambda items: ["list", [self(item) for item in items]]),
            (functools.partial, lambda call: ["partial", self(call.func), self(call.args), self(call.keywords)]),
            (types.ModuleType, lambda module: ["module", module.__name__]),
            (types.CodeType, self._code),
            (types.MethodType, lambda method: ["method", self(method.__func__), self(method.__self__)]),
            (types.FunctionType, self._function),
            (type, self._class),
        )
        for kind, describe in kinds:
            if isinstance(value, kind):
                return describe(value)
        return self._object(value)

    def _array(self, array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
        content = self(array.tolist()) if array.dtype == object else hashlib.sha256(array.tobytes()).hexdigest()
        return ["array", str(array.dtype), list(array.shape), content]

    def _mapping(self, mapping: Mapping[Any, Any]) -> Any:  # noqa: ANN401
        return ["map", sorted(([self(key), self(item)] for key, item in mapping.items()), key=json.dumps)]

    def _set(self, items: AbstractSet[Any]) -> Any:  # noqa: ANN401
        return ["set", sorted((self(item) for item in items), key=json.dumps)]

    def _function(self, function: types.FunctionType) -> Any:  # noqa: ANN401
        if function.__module__ not in self._local:
            return ["function", function.__module__, function.__qualname__]
        closure = [] if function.__closure__ is None else [_content(cell) for cell in function.__closure__]
        names = sorted(_global_names(function.__code__))
        used = {name: self(function.__globals__[name]) for name in names if name in function.__globals__}
        return [
            "local function",
            self._code(function.__code__),
            self(function.__defaults__),
            self(function.__kwdefaults__),
            [self(item) for item in closure],
            used,
        ]

    def _code(self, code: types.CodeType) -> Any:  # noqa: ANN401
        constants = [
            self._code(constant) if isinstance(constant, types.CodeType) else self._constant(constant)
            for constant in code.co_consts
        ]
        return ["code", code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]

    def _constant(self, constant: Any) -> Any:  # noqa: ANN401
        return ["set", sorted(map(repr, constant))] if isinstance(constant, frozenset) else repr(constant)

    def _class(self, kind: type) -> Any:  # noqa: ANN401
        if kind.__module__ not in self._local:
            return ["class", kind.__module__, kind.__qualname__]
        members = {
            name: self(inspect.unwrap(member) if callable(member) else getattr(member, "__func__", member))
            for name, member in sorted(vars(kind).items())
            if name not in {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "_abc_impl"}
        }
        return ["local class", kind.__qualname__, [self(base) for base in kind.__bases__], members]

    def _object(self, value: Any) -> Any:  # noqa: ANN401
        kind = type(value)
        if kind.__module__ not in self._local and kind.__module__.partition(".")[0] != "timeeval":
            return ["foreign object", self(kind), self._reduced(value)]
        state = getattr(value, "__dict__", None)
        if state is None:
            state = {name: getattr(value, name) for name in getattr(kind, "__slots__", ()) if hasattr(value, name)}
        return ["object", self(kind), self({name: item for name, item in state.items() if name not in _NOT_CODE})]

    def _reduced(self, value: Any) -> Any:  # noqa: ANN401
        """Describe what pickle would keep: a logger its name, an estimator its parameters."""
        try:
            reduced = value.__reduce_ex__(4)
        except TypeError:
            return None  # locks, files: nothing of them could travel
        if isinstance(reduced, str):
            return reduced
        return [self(list(part) if isinstance(part, Iterator) else part) for part in reduced]


def _content(cell: types.CellType) -> Any:  # noqa: ANN401
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not bound yet


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names
