"""The user's own modules: which ones a script uses, and how they are imported where they were never installed.

Functions and classes of such modules travel by value with the jobs; what their code imports when it runs (a neighbour
inside of a function, ``from . import``) is found among their sources, which go to each host once.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from timeeval.errors import TimeEvalError

LARGEST = 16 << 20
_OURS = frozenset({"timeeval", "provisioning"})


@dataclass(frozen=True, slots=True)
class Source:
    """One module.

    Attributes
    ----------
    text : str
        Its source.
    package : bool
        Whether it holds others.
    file : str
        Where it lies on the driver, for tracebacks; empty for a folder without ``__init__.py``.
    """

    text: str
    package: bool
    file: str


class Places:
    """Where the user's modules may lie, and what is installed; the script is the one that runs, unless it is named."""

    def __init__(self, named: Path | None = None) -> None:
        script = named or getattr(sys.modules.get("__main__"), "__file__", None)
        self.script = None if script is None else Path(script)
        roots = {Path.cwd()}
        if sys.path and sys.path[0] and named is None:
            roots.add(Path(sys.path[0]))
        if self.script is not None:
            roots.add(self.script.parent)
        self._roots = _folders(roots)
        libraries = {Path(path) for name, path in sysconfig.get_paths().items() if "lib" in name}
        prefixes = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix) if prefix not in {"/usr", "/"}}
        self._installed = _folders(libraries | prefixes)

    def own(self, file: str) -> bool:
        """Tell whether a file is the user's."""
        installed = file.startswith(self._installed) or "/site-packages/" in file or "/dist-packages/" in file
        return file.startswith(self._roots) and not installed


def _folders(paths: set[Path]) -> tuple[str, ...]:
    """Return folders as beginnings of paths, each also by its name without links."""
    return tuple(sorted({f"{path}/" for known in paths for path in (known.absolute(), known.resolve())}))


def local_modules() -> list[ModuleType]:
    """Return the loaded modules that lie beside the script or in the working directory and are not installed."""
    places = Places()
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or file is None or not file.endswith(".py") or name.partition(".")[0] in _OURS:
            continue
        if places.own(file):
            found.append(module)
    return found


def collect() -> dict[str, Source]:
    """Return the sources of the user's modules, by name: the loaded ones, their packages, and what they name.

    Raises
    ------
    TimeEvalError
        If they are too large to be meant.
    """
    places = Places()
    due = sorted({module.__name__.partition(".")[0] for module in local_modules()})
    if places.script is not None and places.script.suffix == ".py" and places.script.is_file():
        due += _named_in(places.script.read_bytes())
    return _closure(due, places)


def of_script(script: Path) -> dict[str, Source]:
    """Return the same of a script, or of an experiment file, that does not run here: nothing of it is imported."""
    content = script.read_bytes()
    due = _named_in_file(content) if script.suffix == ".toml" else _named_in(content)
    beside = str(script.resolve().parent)
    sys.path.insert(0, beside)  # as it is when the script runs
    try:
        return _closure(due, Places(script))
    finally:
        sys.path.remove(beside)


def _closure(due: list[str], places: Places) -> dict[str, Source]:
    found: dict[str, Source] = {}
    seen: set[str] = set()
    size = 0
    while due:
        top = due.pop()
        if top in seen or top in _OURS or top in sys.stdlib_module_names:
            continue
        seen.add(top)
        for name, source in _module(top, places):
            found[name] = source
            size += len(source.text)
            due += _named_in(source.text.encode())
    if size > LARGEST:
        raise TimeEvalError(
            f"the modules beside the script have {size} bytes of source, at most {LARGEST} travel with a run",
            remedy="Keep other projects out of the script's folder, or install yours: [environment] projects in "
            "cluster.toml",
        )
    return found


def digests(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return the SHA-256 (hex) of each module's source, by name."""
    return {name: hashlib.sha256(source.text.encode()).hexdigest() for name, source in sorted(sources.items())}


def _module(top: str, places: Places) -> Iterator[tuple[str, Source]]:
    """Yield a top-level module, with all that is in it when it is a package; nothing when it is not the user's."""
    loaded = sys.modules.get(top)
    spec = importlib.machinery.PathFinder.find_spec(top) if loaded is None else loaded.__spec__
    if spec is None:
        return
    folders = spec.submodule_search_locations
    if spec.origin is not None and spec.origin.endswith(".py") and places.own(spec.origin) and folders is None:
        yield top, Source(_text(Path(spec.origin)), False, spec.origin)
    for folder in folders or ():
        if places.own(f"{folder}/"):
            yield from _package(Path(folder), top)


def _package(folder: Path, name: str) -> Iterator[tuple[str, Source]]:
    below = []
    for entry in sorted(folder.iterdir()):
        if entry.suffix == ".py" and entry.stem.isidentifier() and entry.stem != "__init__" and entry.is_file():
            below.append((f"{name}.{entry.stem}", Source(_text(entry), False, str(entry))))
        elif entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir():
            below += _package(entry, f"{name}.{entry.name}")
    init = folder / "__init__.py"
    if init.is_file():
        yield name, Source(_text(init), True, str(init))
    elif below:
        yield name, Source("", True, "")
    yield from below


def _text(file: Path) -> str:
    return importlib.util.decode_source(file.read_bytes())


def _named_in(source: bytes) -> list[str]:
    """Return the top-level modules that a source imports anywhere; none when it is no Python."""
    return list(_named_in_once(source))


def _named_in_file(content: bytes) -> list[str]:
    """Return the top-level modules of all ``module:object`` in an experiment file."""
    texts: list[str] = []
    waiting: list[Any] = [tomllib.loads(content.decode("utf-8"))]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    modules = (text.partition(":")[0].partition(".")[0] for text in texts if ":" in text)
    return sorted({name for name in modules if name.isidentifier()})


@cache
def _named_in_once(source: bytes) -> tuple[str, ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return tuple(sorted(names))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Go through all statements, but not into their expressions, which are most of a tree and import nothing."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, ()):
            yield inner
            yield from _statements(inner)


# --- where they are imported ------------------------------------------------------------------------------------------


class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from their sources.

    Parameters
    ----------
    sources : mapping
        Of each module its ``text``, ``package`` and ``file``, by name.
    """

    def __init__(self, sources: Mapping[str, Mapping[str, Any]]) -> None:
        self.sources = dict(sources)

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Find one of the modules; whatever else has its name here is another one."""
        known = self.sources.get(fullname)
        if known is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=known["file"], is_package=known["package"])
        spec.has_location = bool(known["file"])
        return spec

    def get_source(self, fullname: str) -> str:
        """Return a source text, for imports and for tracebacks."""
        try:
            return str(self.sources[fullname]["text"])
        except KeyError:
            raise ImportError(f"{fullname} did not travel with the run", name=fullname) from None

    def is_package(self, fullname: str) -> bool:
        """Tell whether a module holds others."""
        return bool(self.sources[fullname]["package"])

    def get_code(self, fullname: str) -> Any:  # noqa: ANN401 - a code object
        """Compile a module, with its file on the driver as its name."""
        return compile(self.get_source(fullname), self.sources[fullname]["file"], "exec", dont_inherit=True)


_installed: list[tuple[str, Finder]] = []


def install(path: str) -> None:
    """Let this process import the modules of a file of sources; those of another run are forgotten."""
    if _installed and _installed[0][0] == path:
        return
    while _installed:
        _, former = _installed.pop()
        sys.meta_path.remove(former)
        for name in former.sources:
            sys.modules.pop(name, None)
    finder = Finder(json.loads(Path(path).read_text(encoding="utf-8")))
    sys.meta_path.insert(0, finder)
    _installed.append((path, finder))
