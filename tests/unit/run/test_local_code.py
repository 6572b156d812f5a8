"""The user's own modules: which ones travel, and that they are imported where nobody installed them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from timeeval.run import local_code

FILES = {
    "script.py": "import helper\nfrom lab.methods import median\n\ndef late():\n    import lazy\n",
    "helper.py": "import json\nVALUE = 1\n",
    "lazy.py": "from lab import shared\nVALUE = shared.VALUE\n",
    "unused.py": "raise RuntimeError\n",
    "lab/__init__.py": "",
    "lab/shared.py": "VALUE = 'shared'\n",
    "lab/methods/__init__.py": "from .median import median\n",
    "lab/methods/median.py": (
        "from ..shared import VALUE\n\ndef median():\n    from . import deep\n    return deep.answer(VALUE)\n"
    ),
    "lab/methods/deep.py": "def answer(value):\n    return value * 2\n",
    "lab/methods/not-a-module.py": "raise RuntimeError\n",
    "plain/inner/leaf.py": "VALUE = 3\n",
    "numpy_like/data.txt": "",
}

COLLECT = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, sys.argv[1])
import runpy
sys.argv = [sys.argv[1] + "/" + sys.argv[2]]
from timeeval.run import local_code
collect = lambda: {name: asdict(source) for name, source in local_code.collect().items()}
scope = runpy.run_path(sys.argv[0], init_globals={"collect": collect}, run_name="__main__")
print(json.dumps(collect() if "found" not in scope else scope["found"]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def collected(project: Path, script: str = "script.py") -> dict[str, dict[str, object]]:
    with (project / script).open("a") as file:
        file.write("\nfound = collect()\n")  # while it runs as __main__, as an evaluation does
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, str(project), script],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


def test_loaded_modules_travel_with_their_packages_and_what_they_name(project: Path) -> None:
    found = collected(project)
    assert found.keys() == {
        "helper",
        "lazy",
        "lab",
        "lab.shared",
        "lab.methods",
        "lab.methods.median",
        "lab.methods.deep",
    }
    assert found["helper"] == {"text": FILES["helper.py"], "package": False, "file": str(project / "helper.py")}
    assert found["lab.methods"]["package"] is True


def test_folders_without_init_are_packages_as_well(project: Path) -> None:
    (project / "script.py").write_text("import plain.inner.leaf\nimport numpy\n")
    assert collected(project).keys() == {"plain", "plain.inner", "plain.inner.leaf"}


@pytest.mark.parametrize("installed", ["project/.venv/lib/python3.11/site-packages", "elsewhere"])
def test_what_is_installed_or_lies_elsewhere_stays(project: Path, installed: str) -> None:
    folder = project.parent / installed
    folder.mkdir(parents=True)
    (folder / "foreign.py").write_text("")
    (project / "script.py").write_text(f"import sys\nsys.path.append({str(folder)!r})\nimport foreign, helper\n")
    assert collected(project).keys() == {"helper"}


def test_a_script_is_reached_through_a_link(project: Path) -> None:
    (project.parent / "link").symlink_to(project)
    assert collected(project.parent / "link").keys() >= {"helper", "lab.methods.deep"}


def test_what_is_too_large_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_code, "LARGEST", 3)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(project / "script.py"))
    with pytest.raises(local_code.TimeEvalError, match=r"at most 3 travel .*\[environment\] projects"):
        local_code.collect()


IMPORT = """
import json, linecache, sys
from timeeval.run import local_code
local_code.install(sys.argv[1])
import helper, lazy
from lab.methods import median
assert "{0}" not in json.dumps(sys.path)
print(json.dumps([median(), lazy.VALUE, helper.__file__, linecache.getline(lazy.__file__, 2, vars(lazy))]))
try:
    import lab.missing
except ModuleNotFoundError as error:
    print(error)
local_code.install(sys.argv[2])
assert "lazy" not in sys.modules
import helper
print(helper.VALUE)
"""


def test_modules_are_imported_from_their_sources_until_another_run_has_others(project: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps(collected(project)))
    second.write_text(json.dumps({"helper": asdict(local_code.Source("VALUE = 2\n", False, "helper.py"))}))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.replace("{0}", str(project)), str(first), str(second)],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    values, missing, other = done.stdout.splitlines()
    assert json.loads(values) == [
        *("sharedshared", "shared", str(project / "helper.py"), "VALUE = shared.VALUE\n"),
    ]
    assert missing == "No module named 'lab.missing'"
    assert other == "2"


def test_a_run_records_the_digests() -> None:
    sources = {"b": local_code.Source("x", False, ""), "a": local_code.Source("y", False, "")}
    assert local_code.digests(sources) == {
        "a": hashlib.sha256(b"y").hexdigest(),
        "b": hashlib.sha256(b"x").hexdigest(),
    }


def test_imports_are_found_wherever_a_statement_may_stand() -> None:
    source = """
import a.b
def f():
    for _ in range(3):
        import c
    else:
        from d.e import x
    try:
        import f
    except OSError:
        import g
    finally:
        import h
    match f:
        case 1:
            import i
    from . import not_this
class K:
    async def m(self):
        async with self:
            while True:
                import j
if 1:
    pass
elif 2:
    import k
"""
    assert local_code._named_in(source.encode()) == [*"acdfghijk"]
