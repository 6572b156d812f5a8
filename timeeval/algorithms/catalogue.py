"""The functions that make algorithms of a catalogue's entries."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

from timeeval.algorithms.entries import REMEDY, CatalogueError, Entry, read_entries

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.data_types import TSFunctionPost
    from timeeval.durations import TimeSpan
    from timeeval.params.base import ParameterConfig

_POSTPROCESSING: Final = "timeeval.algorithms.postprocessing"


class Factory(Protocol):
    """A function that makes an algorithm."""

    def __call__(
        self, params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
    ) -> Algorithm:
        """Make the algorithm.

        Parameters
        ----------
        params
            Parameter settings to run; ``None``: one with all defaults.
        skip_pull
            Do not pull the image in the prepare phase.
        timeout
            Longest training and longest execution; wins over the resource constraints.
        """
        ...  # pragma: no cover


class Catalogue(Mapping[str, Factory]):
    """The functions of a catalogue by name, as items and as attributes: ``catalogue["lof"]()``, ``catalogue.lof()``.

    Parameters
    ----------
    entries
        What the functions make.
    package
        Package in whose submodules the functions say to live; ``None`` for catalogues that no package holds.
    """

    def __init__(self, entries: tuple[Entry, ...], package: str | None = None) -> None:
        self.entries = entries
        self._factories = {entry.function: make_factory(entry, package) for entry in entries}

    def __getitem__(self, name: str) -> Factory:
        return self._factories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __getattr__(self, name: str) -> Factory:
        # copy and pickle ask for attributes of an object whose constructor has not run
        factories: dict[str, Factory] = self.__dict__.get("_factories", {})
        try:
            return factories[name]
        except KeyError:
            msg = f"The catalogue has no algorithm {name!r}; it has: {', '.join(factories)}"
            raise AttributeError(msg) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._factories]


def make_factory(entry: Entry, package: str | None = None) -> Factory:
    """Make the function that makes the algorithm of an entry."""

    def factory(
        params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
    ) -> Algorithm:
        from timeeval.adapters.docker import DockerAdapter
        from timeeval.algorithm import Algorithm
        from timeeval.data_types import InputDimensionality, TrainingType
        from timeeval.params.base import ParameterConfig

        return Algorithm(
            name=entry.name,
            main=DockerAdapter(
                image_name=entry.image,
                tag=entry.tag,
                skip_pull=skip_pull,
                timeout=timeout,
                group_privileges="akita",
            ),
            preprocess=None,
            postprocess=find_postprocess(entry),
            param_schema=param_schema(entry),
            param_config=ParameterConfig.defaults() if params is None else params,
            data_as_file=True,
            training_type=TrainingType(entry.training_type),
            input_dimensionality=InputDimensionality(entry.input_dimensionality),
        )

    factory.__name__ = factory.__qualname__ = entry.function
    factory.__doc__ = describe(entry)
    if package is not None:
        factory.__module__ = f"{package}.{entry.function}"
    return factory


def param_schema(entry: Entry) -> dict[str, dict[str, Any]]:
    """Return the parameters as algorithms hold them; new objects with every call."""
    return {
        p.name: {
            "name": p.name,
            "type": p.type,
            "defaultValue": copy.deepcopy(p.default),
            "description": p.description,
        }
        for p in entry.parameters
    }


def find_postprocess(entry: Entry) -> TSFunctionPost | None:
    """Return the function that makes point scores of the image's output.

    Raises
    ------
    CatalogueError
        If it is not defined where the entry says.
    """
    if entry.postprocess is None:
        return None
    if entry.postprocess_source is None:
        names, place = vars(importlib.import_module(_POSTPROCESSING)), _POSTPROCESSING
    else:
        # Functions of __main__ are sent to other hosts, and tell a resumed run that they changed, by their code.
        names, place = {"__name__": "__main__"}, "its own source"
        code = compile(entry.postprocess_source, f"<post-processing of {entry.function}>", "exec", dont_inherit=True)
        exec(code, names)  # noqa: S102 - the user loads this code as they would import a module
    function: TSFunctionPost | None = names.get(entry.postprocess)
    if function is None:
        msg = f"Algorithm {entry.function!r}: {place} defines no function {entry.postprocess!r}"
        raise CatalogueError(msg, remedy=REMEDY)
    return function


def describe(entry: Entry) -> str:
    """Return the documentation of an entry's function."""
    learning = f"{entry.training_type}, {entry.input_dimensionality}"
    lines = [f"{entry.name}: {learning}; image ``{entry.image}:{entry.tag}``."]
    if not entry.image_published:
        lines += ["", "The source is not public: build the image yourself and use ``skip_pull=True``."]
    if entry.parameters:
        lines += ["", "Parameters of the algorithm (type, default):", ""]
        lines += [f"- ``{p.name}`` ({p.type}, {p.default!r}): {p.description}." for p in entry.parameters]
    return "\n".join(lines)


def load(path: str | Path) -> Catalogue:
    """Read a catalogue file.

    Parameters
    ----------
    path
        JSON file; ``python -m timeeval.algorithms.manifests FOLDER`` writes one.

    Returns
    -------
    Catalogue
        Its functions, as items and as attributes.

    Raises
    ------
    CatalogueError
        If the file is not a catalogue; names the entry and the key.
    OSError
        If the file cannot be read.

    Notes
    -----
    Python code of post-processing functions in the file is run when their algorithm is made: load only files whose
    author you trust.
    """
    return Catalogue(read_entries(Path(path)))


def install(catalogue: Catalogue, package: ModuleType) -> list[str]:
    """Put the functions of a catalogue into a package, each also into a submodule of its own name.

    Submodules are entered into ``sys.modules`` here rather than found on import: importing one must not replace the
    function of the same name in the package.

    Returns
    -------
    list of str
        The exported names.
    """
    for entry in catalogue.entries:
        full = f"{package.__name__}.{entry.function}"
        module = ModuleType(full, describe(entry))
        module.__spec__ = ModuleSpec(full, None, origin="catalogue.json")
        module.__package__ = package.__name__
        factory = catalogue[entry.function]
        module.__dict__.update({entry.function: factory, "__all__": [entry.function]})
        if entry.postprocess is not None:
            module.__dict__["__getattr__"] = _postprocess_attribute(entry)
        sys.modules[full] = module
        setattr(package, entry.function, factory if entry.exported else module)
    return [entry.function for entry in catalogue.entries if entry.exported]


def _postprocess_attribute(entry: Entry) -> object:
    def attribute(name: str) -> object:
        if name == entry.postprocess:
            return find_postprocess(entry)
        msg = f"module {entry.function!r} of the algorithms' catalogue has no attribute {name!r}"
        raise AttributeError(msg)

    return attribute
