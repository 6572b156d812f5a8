"""What a program for a node is without its docstrings: these are for us, and would travel with every call."""

from __future__ import annotations

import ast
import functools
import threading

__all__ = ["bare"]

_reading = threading.Lock()
"""CPython before 3.11.5 mixes up syntax trees that several threads build at the same time (its issue 106905)."""


@functools.lru_cache(maxsize=256)
def bare(source: str) -> str:
    """Return a module's source without docstrings; every other line keeps its number, for tracebacks.

    Parameters
    ----------
    source : str

    Returns
    -------
    str
    """
    with _reading:
        tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for statement in node.body:
            match statement:
                case ast.Expr(value=ast.Constant(value=str()), end_lineno=int(end)):
                    begin = statement.lineno - 1
                case _:
                    continue
            # nothing may stand before or behind it on its lines, or they are left as they are
            if not lines[begin][: statement.col_offset].strip() and _ends(lines[end - 1], statement.end_col_offset):
                lines[begin:end] = [" " * statement.col_offset + '""', *[""] * (end - begin - 1)]
    return "\n".join(lines) + "\n"


def _ends(line: str, column: int | None) -> bool:
    return not line.encode()[column:].strip()
