"""Which modules a program needs on a node: itself and, by reading the sources, what it imports from its own package."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from provisioning import kept
from provisioning.bare import bare

__all__ = ["Pack", "collect", "pack"]


_OF_SOME_VERSIONS = frozenset({"_sha256"})
"""Parts of the standard library that this interpreter need not have; programs that import them do without as well."""

_reading = threading.Lock()
"""CPython before 3.11.5 mixes up syntax trees that several threads build at the same time (its issue 106905)."""


def collect(program: str) -> dict[str, str]:
    """Read a program and the modules it imports.

    Parameters
    ----------
    program : str
        Dotted name of a module of any importable package.

    Returns
    -------
    dict of str to str
        Module name -> source.

    Raises
    ------
    ValueError
        When the program imports what neither Python's standard library nor its own package or `provisioning.node` has.
    """
    with _reading:
        return _collect(program)


class Pack(NamedTuple):
    """Programs and the modules they import, as they travel: compressed, and known by the sha256 (hex) of that."""

    digest: str
    data: bytes


@functools.lru_cache(maxsize=64)
def pack(*programs: str) -> Pack:
    """Make programs ready to travel; what was made before is taken as long as no file of it has changed.

    Parameters
    ----------
    *programs : str
        Dotted names, as for `collect`.

    Returns
    -------
    Pack
    """

    def make() -> tuple[bytes, list[str]]:
        modules: dict[str, str] = {}
        for program in programs:
            modules |= collect(program)
        return packed(modules), [__file__, *(str(_file(name)) for name in modules)]

    data = kept.made(" ".join(f"{program} {_file(program)}" for program in programs), make)
    return Pack(hashlib.sha256(data).hexdigest(), data)


def packed(modules: Mapping[str, str]) -> bytes:
    """Return modules (name -> source) as they travel, without what only we read."""
    return zlib.compress(json.dumps({name: bare(source) for name, source in modules.items()}).encode("ascii"), 9)


@functools.lru_cache(maxsize=64)
def _collect(program: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    waiting = [program]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        file = _file(name)
        if file is None:
            raise ValueError(f"there is no module {name}")
        sources[name] = file.read_text(encoding="utf-8")
        for wanted in _imports(name, sources[name]):
            top = wanted.partition(".")[0]
            if top in {program.partition(".")[0], "provisioning"}:
                waiting.append(wanted)
            elif top not in sys.stdlib_module_names | _OF_SOME_VERSIONS:
                raise ValueError(
                    f"{name} imports {wanted}, which no node has: programs for nodes use no other packages"
                )
    return sources


def _file(name: str) -> Path | None:
    """File of a module (None for a package or nothing), found without importing anything."""
    top, *parts = name.split(".")
    spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if spec is not None and not parts and not folders and spec.origin is not None:
        return Path(spec.origin)
    files = (Path(folder, *parts[:-1], f"{parts[-1]}.py") for folder in folders if parts)
    return next((file for file in files if file.is_file()), None)


def _imports(name: str, source: str) -> Iterator[str]:
    for node in _runtime_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = name.split(".")[: -node.level]
                base = ".".join([*anchor, base] if base else anchor)
            modules = [f"{base}.{alias.name}" for alias in node.names if _file(f"{base}.{alias.name}") is not None]
            yield from modules or [base]


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _runtime_nodes(other)
            continue
        yield child
        yield from _runtime_nodes(child)
