"""Parameter settings of many algorithms from one JSON file.

The file is an object with six keys:

``fixed_params``
    Value by parameter name.
``shared_params``
    By parameter name an object with ``value``, used by all algorithms that have the parameter, and ``search_space``, a
    list of values to try instead. Other keys, as ``algorithms``, are notes.
``optimized_params``
    By parameter name a list of values to try, or such a list by algorithm name.
``dependent_params``
    By parameter name a heuristic, or a list of them to try, by the names of the next key.
``__heuristic_function_mapping``
    Heuristic by name, e.g. ``"PeriodSizeHeuristic(factor=1.0)"``.
``__algorithm_overwrites``
    Values by parameter name, by algorithm name.

Instead of a value or a list, ``"default"`` leaves a parameter out, so that the algorithm's default holds.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timeeval.heuristics import PREFIX, TimeEvalHeuristic
from timeeval.params import FullParameterGrid, IndependentParameterGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timeeval.algorithm import Algorithm

_log = logging.getLogger("AlgorithmConfigurator")

FIXED: Final = "fixed_params"
SHARED: Final = "shared_params"
DEPENDENT: Final = "dependent_params"
OPTIMIZED: Final = "optimized_params"
HEURISTICS: Final = "__heuristic_function_mapping"
OVERWRITES: Final = "__algorithm_overwrites"
_DEFAULT: Final = "default"


_Source = Callable[["Algorithm", str], "list[Any] | None"]
"""Returns the values of a parameter of an algorithm, None if it has none."""


class AlgorithmConfigurator:
    """Configures algorithms as a JSON file says (see the module for its form).

    Parameters
    ----------
    config_path
        The file.
    check
        Make every heuristic once, to find mistakes at once.

    Raises
    ------
    KeyError
        If one of the six keys is missing.
    SyntaxError
        If a heuristic cannot be made.
    """

    def __init__(self, config_path: str | Path, check: bool = True) -> None:
        self.config_path = Path(config_path)
        config = json.loads(self.config_path.read_text(encoding="utf-8"))
        self._params: dict[str, Mapping[str, Any]] = {
            key: self._section(config, key) for key in (FIXED, SHARED, DEPENDENT, OPTIMIZED, HEURISTICS, OVERWRITES)
        }
        if check:
            self._check_heuristics()

    def configure(  # noqa: PLR0917 - the signature scripts know
        self,
        algos: list[Algorithm] | Algorithm,
        use_defaults: bool = False,
        ignore_overwrites: bool = False,
        ignore_fixed: bool = False,
        ignore_dependent: bool = False,
        ignore_shared: bool = False,
        ignore_optimized: bool = False,
        perform_search: bool = True,
        assume_parameter_independence: bool = False,
    ) -> None:
        """Set `param_config` of algorithms from their `param_schema`.

        A parameter takes the first that there is of: overwrite, fixed value, shared value, shared search space (if
        shared values are ignored), optimized values, heuristic. A parameter without any is left out, with a warning.

        Parameters
        ----------
        algos
            Changed in place. One without a schema is left as it is, with a warning.
        use_defaults
            Leave all algorithms as they are.
        ignore_overwrites, ignore_fixed, ignore_dependent, ignore_shared, ignore_optimized
            What is not looked at.
        perform_search
            Whether search spaces and optimized values are looked at.
        assume_parameter_independence
            Change one parameter at a time (`IndependentParameterGrid`) instead of trying all combinations
            (`FullParameterGrid`). All parameters with one value are its defaults then, lists among them as tuples.

        Raises
        ------
        ValueError
            If a value is not of the form its key demands, or a heuristic's name is unknown.
        KeyError
            If a shared parameter has no value, or an optimized one no values for an algorithm that has it.
        """
        if use_defaults:
            return
        choices: tuple[tuple[bool, _Source], ...] = (
            (not ignore_overwrites, self._overwrite),
            (not ignore_fixed, self._fixed),
            (not ignore_shared, self._shared),
            (ignore_shared and perform_search, self._search_space),
            (perform_search and not ignore_optimized, self._optimized),
            (not ignore_dependent, self._dependent),
        )
        sources = [source for wanted, source in choices if wanted]
        for algorithm in algos if isinstance(algos, list | tuple) else [algos]:
            if not algorithm.param_schema:
                _warn(algorithm, "it has no param_schema and is left as it is.")
                continue
            grid = dict(self._grid(algorithm, sources))
            algorithm.param_config = _independent(grid) if assume_parameter_independence else FullParameterGrid(grid)

    @staticmethod
    def _grid(algorithm: Algorithm, sources: Sequence[_Source]) -> Iterator[tuple[str, list[Any]]]:
        for parameter in algorithm.param_schema:
            found = (values for source in sources if (values := source(algorithm, parameter)) is not None)
            values = next(found, None)
            if values is None:
                _warn(algorithm, f"nothing is configured for its parameter {parameter!r}; the default holds.")
            elif values != [_DEFAULT]:
                yield parameter, values

    def _overwrite(self, algorithm: Algorithm, parameter: str) -> list[Any] | None:
        values = self._params[OVERWRITES].get(algorithm.name, {})
        return [self._named(values[parameter])] if parameter in values else None

    def _fixed(self, _: Algorithm, parameter: str) -> list[Any] | None:
        return [self._params[FIXED][parameter]] if parameter in self._params[FIXED] else None

    def _shared(self, _: Algorithm, parameter: str) -> list[Any] | None:
        if parameter not in self._params[SHARED]:
            return None
        value = self._params[SHARED][parameter]["value"]
        if isinstance(value, list):
            raise ValueError(self._wrong(SHARED, parameter, "value", "one value, not a list"))
        return [value]

    def _search_space(self, _: Algorithm, parameter: str) -> list[Any] | None:
        if parameter not in self._params[SHARED]:
            return None
        space = self._params[SHARED][parameter]["search_space"]
        return self._choices(space, self._wrong(SHARED, parameter, "search_space", "a list of values"))

    def _optimized(self, algorithm: Algorithm, parameter: str) -> list[Any] | None:
        if parameter not in self._params[OPTIMIZED]:
            return None
        values = self._params[OPTIMIZED][parameter]
        if isinstance(values, dict):
            if algorithm.name not in values:
                raise KeyError(
                    f"{OPTIMIZED}[{parameter!r}] in {self.config_path} has no values for {algorithm.name!r}, which has "
                    'this parameter; give it some, or "default"'
                )
            values = values[algorithm.name]
        choices = self._choices(values, self._wrong(OPTIMIZED, parameter, algorithm.name, "a list of values"))
        return [self._named(choice) for choice in choices]

    def _dependent(self, _: Algorithm, parameter: str) -> list[Any] | None:
        if parameter not in self._params[DEPENDENT]:
            return None
        named = self._params[DEPENDENT][parameter]
        return [self._heuristic(name) for name in (named if isinstance(named, list) else [named])]

    @staticmethod
    def _choices(values: object, wrong: str) -> list[Any]:
        if values == _DEFAULT:
            return [_DEFAULT]
        if not isinstance(values, list):
            raise ValueError(wrong)
        return values

    def _named(self, value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
        """Return the heuristic of a name, any other value itself."""
        return self._heuristic(value) if isinstance(value, str) and value in self._params[HEURISTICS] else value

    def _heuristic(self, name: object) -> str:
        try:
            return f"{PREFIX}{self._params[HEURISTICS][name]}"  # type: ignore[index]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{name!r} is not a valid heuristic: {HEURISTICS} in {self.config_path} does not have it."
            ) from error

    def _check_heuristics(self) -> None:
        problems = []
        for name, signature in self._params[HEURISTICS].items():
            try:
                TimeEvalHeuristic(signature)
            except Exception as error:  # noqa: BLE001 - the text is Python
                problems.append(f"{name}: {error}")
                _log.error("Heuristic %r of %s is invalid: %s", name, self.config_path, error)
        if problems:
            raise SyntaxError(f"{HEURISTICS} in {self.config_path} has invalid entries: {'; '.join(problems)}")

    def _section(self, config: object, key: str) -> Mapping[str, Any]:
        if not isinstance(config, dict):
            raise ValueError(f"{self.config_path} holds no JSON object.")
        if key not in config:
            raise KeyError(f"{key!r} is missing in {self.config_path}; it may be an empty object")
        if not isinstance(config[key], dict):
            raise ValueError(f"{key!r} in {self.config_path} must be an object.")
        section: Mapping[str, Any] = config[key]
        return section

    def _wrong(self, key: str, parameter: str, part: str, form: str) -> str:
        return f"Wrong format: {part!r} of parameter {parameter!r} in {key} of {self.config_path} must be {form}."


def _independent(grid: Mapping[str, list[Any]]) -> IndependentParameterGrid:
    searched = {name: values for name, values in grid.items() if len(values) > 1}
    defaults = {
        name: tuple(values[0]) if isinstance(values[0], list) else values[0]
        for name, values in grid.items()
        if len(values) == 1
    }
    return IndependentParameterGrid(searched, default_params=defaults)


def _warn(algorithm: Algorithm, text: str) -> None:
    warnings.warn(f"{algorithm.name}: {text}", stacklevel=4)
