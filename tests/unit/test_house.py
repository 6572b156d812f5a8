"""The house as design.md draws it: who may know whom, and how large a room may be. Read from the source, not run."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("timeeval", "timeeval_experiments", "provisioning")
LONGEST_MODULE = 400


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path
    return found


MODULES = modules()


def imports(name: str, *, late: bool) -> Iterator[str]:
    """Yield what a module imports at run time; `late` takes in what its functions import when they are called."""
    path = MODULES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from visit(other)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not late:
                continue
            elif isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    anchor = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*anchor, *([base] if base else [])])
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    yield full if full in MODULES else base
            else:
                yield from visit(child)

    yield from visit(tree)


def test_provisioning_knows_nothing_of_timeeval() -> None:
    known = {(n, i) for n in MODULES if n.startswith("provisioning") for i in imports(n, late=True)}
    wrong = {(n, i) for n, i in known if i.startswith("timeeval")}
    assert wrong == set()


def test_timeeval_meets_provisioning_in_one_room() -> None:
    meets = {
        n for n in MODULES if n.startswith("timeeval") for i in imports(n, late=True) if i.startswith("provisioning")
    }
    assert {n for n in meets if n != "timeeval.cluster" and not n.startswith("timeeval.cluster.")} == set()


def test_nothing_imports_a_command_line() -> None:
    clis = {n for n in MODULES if n.rpartition(".")[2] in {"cli", "__main__"}}
    wrong = {(n, i) for n in MODULES for i in imports(n, late=True) if i in clis}
    assert {(n, i) for n, i in wrong if n not in clis} == set()


def test_no_circles() -> None:
    graph = {n: {i for i in imports(n, late=False) if i in MODULES and i != n} for n in MODULES}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                walk(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("provisioning.node.")))
def test_node_programs_need_only_the_standard_library(name: str) -> None:
    foreign = {
        i
        for i in imports(name, late=True)
        if i.partition(".")[0] not in sys.stdlib_module_names and not i.startswith("provisioning.node")
    }
    assert foreign <= {"provisioning"}


def test_rooms_fit_in_one_reading() -> None:
    lengths = {n: len(path.read_text(encoding="utf-8").splitlines()) for n, path in MODULES.items()}
    assert {n: length for n, length in lengths.items() if length > LONGEST_MODULE} == {}


NEVER = {"distributed", "dask", "sklearn", "docker", "matplotlib", "asyncssh", "fabric", "paramiko"}


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import timeeval", NEVER | {"pandas", "numpy"}),
        ("from timeeval import TimeEval, DatasetManager", NEVER),
        ("import timeeval.cli", NEVER | {"pandas"}),
        ("import provisioning.cli", NEVER | {"pandas"}),
    ],
)
def test_start_up_stays_light(statement: str, heavy: set[str]) -> None:
    probe = f"import sys\n{statement}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.split()
    assert heavy & set(loaded) == set()
