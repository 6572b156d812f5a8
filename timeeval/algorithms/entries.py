"""Algorithms as data: the entries of a catalogue file.

A catalogue is a JSON file (the one of this package is ``catalogue.json``)::

    {"format": 1, "algorithms": [{
        "function": "lof", "name": "LOF", "image": "ghcr.io/timeeval/lof", "tag": "0.3.1",
        "training_type": "unsupervised", "input_dimensionality": "multivariate",
        "postprocess": null, "image_published": true, "exported": true,
        "parameters": {"n_neighbors": {"type": "int", "default": 20, "description": "Number of neighbors"}}}]}

``postprocess`` is ``null``, the name of a function of :mod:`timeeval.algorithms.postprocessing`, or
``{"function": NAME, "source": PYTHON}``. ``image_published`` says whether the image can be pulled from its registry:
the source of some algorithms is not public, and whoever has it builds the image. ``exported`` says whether
``from … import *`` brings the function along. The last four keys may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final

from timeeval.errors import TimeEvalError

FORMAT: Final = 1
TRAINING_TYPES: Final = ("unsupervised", "semi-supervised", "supervised")
DIMENSIONALITIES: Final = ("univariate", "multivariate")

#: What to do about a malformed entry.
REMEDY: Final = "The form is documented in timeeval.algorithms.entries"


class CatalogueError(TimeEvalError, ValueError):
    """A catalogue file does not have the form it must have; names the file, the entry and the key."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the algorithm's manifest describes it.

    Parameters
    ----------
    name
        What the algorithm calls it.
    type
        ``int``, ``float``, ``boolean``, ``enum[a,b]``, ``List[int]``, ... in the manifest's own spelling.
    default
        A JSON value. Some manifests write numbers and truth values as text; it stays so.
    description
        One line for people.
    """

    name: str
    type: str
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An algorithm in a container image.

    Parameters
    ----------
    function
        Name of the function that makes the algorithm.
    name
        Name of the algorithm in results.
    image, tag
        The container image.
    training_type
        One of `TRAINING_TYPES`.
    input_dimensionality
        One of `DIMENSIONALITIES`.
    parameters
        In the order of the file.
    postprocess
        Name of the function that makes point scores of the image's output.
    postprocess_source
        Python code that defines it; ``None``: it is one of :mod:`timeeval.algorithms.postprocessing`.
    image_published
        Whether the image can be pulled.
    exported
        Whether ``import *`` brings the function along.
    """

    function: str
    name: str
    image: str
    tag: str
    training_type: str
    input_dimensionality: str
    parameters: tuple[Parameter, ...] = ()
    postprocess: str | None = None
    postprocess_source: str | None = None
    image_published: bool = True
    exported: bool = True


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read the entries of a catalogue file.

    Raises
    ------
    CatalogueError
        If the file is not a catalogue; names the entry and the key.
    OSError
        If the file cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is not JSON: {error}"
        raise CatalogueError(msg, remedy=REMEDY) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT or "algorithms" not in document:
        msg = f'{path} is not a catalogue: it must hold {{"format": {FORMAT}, "algorithms": [...]}}'
        raise CatalogueError(msg, remedy=REMEDY)
    entries = tuple(_Reader(raw, f"{path}, entry {i}").entry() for i, raw in enumerate(document["algorithms"], start=1))
    names = [entry.function for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"{path} has more than one entry for {', '.join(twice)}"
        raise CatalogueError(msg, remedy="Give each a function name of its own")
    return entries


def write_entries(entries: Iterable[Entry]) -> str:
    """Return the text of a catalogue file, one line for each parameter."""
    return f'{{"format": {FORMAT}, "algorithms": [\n' + ",\n".join(map(_entry_text, entries)) + "\n]}\n"


def _entry_text(entry: Entry) -> str:
    postprocess: object = entry.postprocess
    if entry.postprocess_source is not None:
        postprocess = {"function": entry.postprocess, "source": entry.postprocess_source}
    lines = [
        f'{{"function": {_json(entry.function)}, "name": {_json(entry.name)},',
        f' "image": {_json(entry.image)}, "tag": {_json(entry.tag)},',
        f' "training_type": {_json(entry.training_type)},',
        f' "input_dimensionality": {_json(entry.input_dimensionality)},',
        f' "postprocess": {_json(postprocess)},',
        f' "image_published": {_json(entry.image_published)}, "exported": {_json(entry.exported)},',
    ]
    parameters = [
        f"   {_json(p.name)}: {_json({'type': p.type, 'default': p.default, 'description': p.description})}"
        for p in entry.parameters
    ]
    inner = "\n" + ",\n".join(parameters) + "\n " if parameters else ""
    return "\n".join([*lines, f' "parameters": {{{inner}}}}}'])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Reader:
    """Reads one entry and says what is wrong with it."""

    def __init__(self, raw: object, where: str) -> None:
        self._where = where
        if not isinstance(raw, dict):
            raise self._error("is not a JSON object")
        self._raw: dict[str, Any] = raw
        if "function" in raw:
            self._where = f"{where} ({raw['function']})"

    def entry(self) -> Entry:
        if unknown := sorted(self._raw.keys() - _KEYS):
            raise self._error(f"has the unknown key {unknown[0]!r}")
        function = self._text("function")
        if not function.isidentifier() or iskeyword(function):
            raise self._error(f"'function' must be a Python name, but is {function!r}")
        postprocess, source = self._postprocess()
        return Entry(
            function=function,
            name=self._text("name"),
            image=self._text("image"),
            tag=self._text("tag"),
            training_type=self._one_of("training_type", TRAINING_TYPES),
            input_dimensionality=self._one_of("input_dimensionality", DIMENSIONALITIES),
            parameters=self._parameters(),
            postprocess=postprocess,
            postprocess_source=source,
            image_published=self._flag("image_published"),
            exported=self._flag("exported"),
        )

    def _error(self, what: str) -> CatalogueError:
        return CatalogueError(f"{self._where}: {what}", remedy=REMEDY)

    def _text(self, key: str) -> str:
        value = self._raw.get(key)
        if not isinstance(value, str) or not value:
            raise self._error(f"{key!r} must be a text, but is {value!r}")
        return value

    def _one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._text(key)
        if value not in choices:
            raise self._error(f"{key!r} must be one of {', '.join(choices)}, but is {value!r}")
        return value

    def _flag(self, key: str) -> bool:
        value = self._raw.get(key, True)
        if not isinstance(value, bool):
            raise self._error(f"{key!r} must be true or false, but is {value!r}")
        return value

    def _postprocess(self) -> tuple[str | None, str | None]:
        match self._raw.get("postprocess"):
            case None:
                return None, None
            case str(name):
                return name, None
            case {"function": str(name), "source": str(source), **rest} if not rest:
                return name, source
            case other:
                raise self._error(
                    f"'postprocess' must be null, a name or an object with 'function' and 'source', not {other!r}"
                )

    def _parameters(self) -> tuple[Parameter, ...]:
        raw = self._raw.get("parameters", {})
        if not isinstance(raw, dict):
            raise self._error("'parameters' must be an object")
        found = []
        for name, details in raw.items():
            match details:
                case {"type": str(kind), "default": default, "description": str(description), **rest} if not rest:
                    found.append(Parameter(name, kind, default, description))
                case _:
                    raise self._error(f"parameter {name!r} must have just 'type', 'default' and 'description'")
        return tuple(found)


_KEYS = (Entry.__dataclass_fields__.keys() - {"postprocess_source"}) | {"parameters"}
