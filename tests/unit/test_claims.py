"""The tables of faults name tests that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = [page for page in sorted((TESTS.parent / "docs").glob("*.md")) if "| tests |" in page.read_text("utf-8")]
NAME = re.compile(r"`([\w/]+\.py)::(\w+)`")


def defined(file):
    tree = ast.parse(file.read_text("utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    # a stateful test is a class, and the case that runs it a name
    return found | {target.id for target in targets if isinstance(target, ast.Name)}


def rows(page):
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[-1] not in {"tests", "---"}:
            yield cells


def test_there_are_tables():
    assert "faults.md" in {page.name for page in DOCS}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_row_names_tests_that_exist(page):
    for fault, *_, named in rows(page):
        found = NAME.findall(named)
        assert found, f"no test is named for: {fault}"
        for file, name in found:
            assert name in defined(TESTS / file), f"{file} has no {name}, named for: {fault}"
