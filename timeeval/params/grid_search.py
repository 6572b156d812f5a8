"""Configurations with many settings."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from timeeval.params.base import ParameterConfig
from timeeval.params.params import FixedParams
from timeeval.utils.hash_dict import begin, item_text

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset

_Choices = list[tuple[tuple[str, Any], str]]


_BLOCK = 64
"""Settings that are made at a time."""


class _GridParams(FixedParams):
    """A setting whose identity is the digest of a text whose beginning it shares with others of its grid.

    Any change of a value forgets it.
    """

    __slots__ = ("_rest", "_state")
    #: Digest of the beginning; None when the values were changed.
    _state: Any
    #: What follows.
    _rest: bytes

    def uid(self) -> str:
        if self._state is None:
            return super().uid()
        state = self._state.copy()
        state.update(self._rest)
        return state.hexdigest()  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:  # noqa: ANN401
        return FixedParams, (dict(self),)

    def copy(self) -> FixedParams:
        return FixedParams(self)

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401
        self._state = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._state = None
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # noqa: ANN401
        self._state = None
        dict.update(self, other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._state = None
        super().update(*args, **kwargs)

    def pop(self, *args: Any) -> Any:  # noqa: ANN401
        self._state = None
        return super().pop(*args)

    def popitem(self) -> tuple[str, Any]:
        self._state = None
        return super().popitem()

    def clear(self) -> None:
        self._state = None
        super().clear()

    def setdefault(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        self._state = None
        return super().setdefault(key, default)


class ParameterGrid(ParameterConfig):
    """Base of the configurations that are described by a dictionary of values to try."""

    @abstractmethod
    def __iter__(self) -> Iterator[FixedParams]:
        """Go through the settings in a fixed order."""

    @property
    def param_grid(self) -> Any:  # noqa: ANN401 - scikit-learn has no types
        """The settings as scikit-learn's ``ParameterGrid``."""
        from sklearn.model_selection import ParameterGrid as SklearnGrid

        return SklearnGrid(self._description())

    @abstractmethod
    def _description(self) -> Any:  # noqa: ANN401 - a dictionary or a list of dictionaries
        """Describe the settings as scikit-learn takes it."""

    def iter(self, algorithm: "Algorithm", dataset: "Dataset") -> Iterator[FixedParams]:  # noqa: ARG002
        """Go through the settings; they are the same for all algorithms and datasets."""
        return iter(self)

    def __getitem__(self, index: int) -> FixedParams:
        size = len(self)
        position = index + size if index < 0 else index
        if not 0 <= position < size:
            msg = f"There is no setting {index}: the grid has {size}."
            raise IndexError(msg)
        return self._at(position)

    @abstractmethod
    def _at(self, position: int) -> FixedParams:
        """Return the setting at a position within the grid."""


class FullParameterGrid(ParameterGrid):
    """All combinations of the given values.

    Parameters
    ----------
    param_grid
        Sequence of values by parameter name. Without parameters there is one empty setting.

    Raises
    ------
    TypeError
        If ``param_grid`` is not a mapping or one of its values not a sequence.
    ValueError
        If one of the sequences is empty or has more than one dimension.

    Notes
    -----
    The names are sorted and the value of the last one changes fastest, as in scikit-learn's ``ParameterGrid``. As
    there, a setting that is taken by its number names its parameters from the last to the first.
    """

    def __init__(self, param_grid: Mapping[str, Any]) -> None:
        given: object = param_grid
        if not isinstance(given, Mapping):
            if isinstance(given, list):
                msg = (
                    "A list of grids was given, but FullParameterGrid takes one dict. Please use one dict, or an "
                    "IndependentParameterGrid."
                )
                raise TypeError(msg)
            msg = f"The parameter grid is not a dict but {type(given).__name__} ({given!r})."
            raise TypeError(msg)
        for name, values in param_grid.items():
            _check_values(name, values)
        self._param_grid = dict(param_grid)
        self._axes: list[_Choices] = [
            [((name, value), item_text((name, value))) for value in param_grid[name]] for name in sorted(param_grid)
        ]

    def _description(self) -> dict[str, Any]:
        return self._param_grid

    def written_values(self) -> Iterable[object]:
        """Return the values of all parameters."""
        return (value for values in self._param_grid.values() for value in values)

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self._axes)

    def __iter__(self) -> Iterator[FixedParams]:
        if not self._axes:
            return iter([FixedParams()])
        *leading, last = self._axes
        ends = [(value, f"{text}]".encode()) for (_, value), text in last]
        blocks = [ends[start : start + _BLOCK] for start in range(0, len(ends), _BLOCK)]
        name = last[0][0][0]
        # lists, chained in C, cost less than a generator that is woken for each setting
        return itertools.chain.from_iterable(
            _block(head, name, block) for head in itertools.product(*leading) for block in blocks
        )

    def _at(self, position: int) -> FixedParams:
        chosen: list[tuple[str, Any]] = []
        for axis in reversed(self._axes):
            position, offset = divmod(position, len(axis))
            chosen.append(axis[offset][0])
        return FixedParams(chosen)


class IndependentParameterGrid(ParameterGrid):
    """Settings that change one parameter at a time.

    Parameters
    ----------
    param_grid
        Values by parameter name. Each element of a list makes one setting; anything but a list is one value.
    default_params
        Values of the parameters that a setting does not change; those that are left out keep the algorithm's default.

    Raises
    ------
    TypeError
        If an argument is not a mapping or a default is a list.

    Notes
    -----
    Settings come in the given order of parameters and values. Within one, the parameters are sorted by their names as
    in scikit-learn's ``ParameterGrid``: files and tables show them like that. Without any value there is one setting,
    the defaults.
    """

    def __init__(self, param_grid: Mapping[str, Any], default_params: Mapping[str, Any] | None = None) -> None:
        given: object = param_grid
        if not isinstance(given, Mapping):
            msg = f"The parameter grid is not a dict but {type(given).__name__} ({given!r})."
            raise TypeError(msg)
        defaults: Any = {} if default_params is None else default_params
        if not isinstance(defaults, Mapping):
            msg = f"The default parameters is not a dict but {type(defaults).__name__} ({defaults!r})."
            raise TypeError(msg)
        for name, value in defaults.items():
            if isinstance(value, list):
                msg = f"Only fixed values are allowed for defaults, but {name!r} has the list {value!r}; use a tuple."
                raise TypeError(msg)
        self._param_grid = dict(param_grid)
        self._defaults = dict(defaults)
        self._changes: list[dict[str, Any]] = [
            {name: value}
            for name, values in param_grid.items()
            for value in (values if isinstance(values, list) else [values])
        ] or [{}]

    def written_values(self) -> Iterable[object]:
        """Return the defaults and the values to try."""
        return itertools.chain(self._defaults.values(), *(change.values() for change in self._changes))

    def _description(self) -> list[dict[str, list[Any]]]:
        return [{name: [value] for name, value in params.items()} for params in self]

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[FixedParams]:
        return (FixedParams(sorted({**self._defaults, **change}.items(), key=_name)) for change in self._changes)

    def _at(self, position: int) -> FixedParams:
        return FixedParams(sorted({**self._defaults, **self._changes[position]}.items(), key=_name, reverse=True))


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def _block(
    head: Iterable[tuple[tuple[str, Any], str]], name: str, ends: Iterable[tuple[Any, bytes]]
) -> list[FixedParams]:
    """Make settings that differ in the last parameter alone: they share the other items and the text of these."""
    items = dict([item for item, _ in head])
    state = begin("".join(["[", *[f"{text}, " for _, text in head]]))
    made: list[FixedParams] = []
    for value, end in ends:
        items[name] = value
        params = _GridParams(items)
        params._state, params._rest = state, end  # noqa: SLF001 - a constructor of its own would double the time
        made.append(params)
    return made


def _check_values(name: str, values: Any) -> None:  # noqa: ANN401
    if isinstance(values, np.ndarray) and values.ndim > 1:
        msg = f"The values of parameter {name!r} have {values.ndim} dimensions; a parameter grid takes one."
        raise ValueError(msg)
    if isinstance(values, str) or not isinstance(values, np.ndarray | Sequence):
        msg = (
            f"The values of parameter {name!r} must be a sequence (e.g. a list or a NumPy array), not "
            f"{type(values).__name__} ({values!r}); put a single value into a list."
        )
        raise TypeError(msg)
    if len(values) == 0:
        msg = f"Parameter {name!r} has no values; a parameter grid needs at least one."
        raise ValueError(msg)
