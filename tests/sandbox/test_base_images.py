"""The base images keep the contract between TimeEval and an algorithm's container."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from provisioning.sandbox.engine import Engine
from provisioning.sandbox.recipe import BASE_PLAIN, BASE_PYTHON, Recipe

MAIN = """
import getpass, json, os, sys
print(json.dumps({"argument": json.loads(sys.argv[1]), "count": len(sys.argv), "ids": [os.getuid(), os.getgid()],
                  "name": getpass.getuser(), "folder": os.getcwd()}))
"""
JOB = {"executionType": "execute", "customParameters": {"text": 'it\'s "quoted" $HOME'}}


@pytest.fixture(params=[BASE_PLAIN, BASE_PYTHON], ids=["plain", "python"])
def image(request, sandbox, tmp_path) -> Iterator[str]:
    recipe: Recipe = request.param
    (tmp_path / "algorithm.py").write_text(MAIN, encoding="utf-8")
    (tmp_path / "manifest.json").write_text('{"title": "Probe"}', encoding="utf-8")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {recipe.alias}\nENV ALGORITHM_MAIN=/app/algorithm.py\nCOPY algorithm.py manifest.json /app/\n",
        encoding="utf-8",
    )
    tag = f"timeeval-test/{request.node.name.partition('[')[0].replace('_', '-')}:1"
    engine = Engine()
    engine.build(tag, tmp_path)
    yield tag
    engine.run("rmi", tag)


def run(image: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    return Engine().attempt("run", "--rm", *variables, image, *words)


def test_the_algorithm_gets_one_json_argument_as_the_callers_user(image):
    done = run(image, "execute-algorithm", json.dumps(JOB), LOCAL_UID="4711", LOCAL_GID="4712")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["argument"] == JOB
    assert seen["count"] == 2
    assert seen["ids"] == [4711, 4712]
    assert seen["name"] == "user"
    assert seen["folder"] == "/app"


def test_ids_that_the_image_already_has_are_no_obstacle(image):
    done = run(image, "execute-algorithm", "{}", LOCAL_UID="1", LOCAL_GID="100")
    assert json.loads(done.stdout)["ids"] == [1, 100]


def test_without_both_ids_it_stays_root(image):
    assert json.loads(run(image, "execute-algorithm", "{}", LOCAL_UID="4711").stdout)["ids"] == [0, 0]


def test_the_manifest_is_printed(image):
    assert json.loads(run(image, "manifest").stdout) == {"title": "Probe"}


def test_an_image_without_a_main_file_says_so(image):
    done = run(image, "execute-algorithm", "{}", ALGORITHM_MAIN="")
    assert done.returncode == 1
    assert "ALGORITHM_MAIN" in done.stderr
