"""What travels to a node is the program without what only we read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from provisioning import frames
from provisioning.bare import bare

SOURCE = '''"""Module."""

import os


class A:
    """Only this,

    on three lines.
    """


def f():
    """One."""; x = 1
    return "not this"


def g():
    """Alone."""


async def h():
    "a text" "in two"
    0 if x else 1
'''


def test_docstrings_go_and_lines_stay() -> None:
    left = bare(SOURCE)
    assert len(left.splitlines()) == len(SOURCE.splitlines())
    for gone in ("Module.", "Only this", "three lines", "Alone", "in two"):
        assert gone not in left
    for kept in ("not this", "One."):
        assert kept in left
    functions = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    one, other = (
        {node.name: node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, functions)}
        for text in (left, SOURCE)
    )
    assert one == other
    assert len(one) == 4


@pytest.mark.parametrize(
    "file", sorted(Path(frames.__file__).parent.joinpath("node").glob("*.py")), ids=lambda f: f.name
)
def test_every_program_still_is_one(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert len(bare(source)) < len(source)
    compile(bare(source), file.name, "exec")
