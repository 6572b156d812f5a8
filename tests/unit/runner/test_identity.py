"""Keys of executions: what changes scores changes them, and nothing else does."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_data import algorithm, deviation

from timeeval import ResourceConstraints
from timeeval.adapters import DockerAdapter
from timeeval.durations import Duration
from timeeval.metrics import PrAUC
from timeeval.run.identity import Identities, grid_digest

FACTOR = 2


@pytest.fixture
def key(experiment_of):
    def of(function=deviation, dataset: str = "one", image_ids=None, **fields) -> str:
        return Identities(image_ids).execution(experiment_of(function, dataset, **fields)).key

    return of


def test_keys_are_hex_digests_that_stay(key):
    assert len(key()) == 64
    assert key() == key()


def test_limits_and_metrics_do_not_count(key):
    assert key(constraints=ResourceConstraints(execute_timeout=Duration("1 second"))) == key()
    assert key(metrics=[PrAUC()]) == key()


def test_what_counts(key, data):
    base = key()
    assert key(params={"a": 1}) != base
    assert key(dataset="two") != base
    assert key(name="other") != base
    assert key(postprocess=lambda scores, _: scores) != base
    assert key(lambda values, _: deviation(values, {}) * 2, name="deviation") != base
    with (data / "one.test.csv").open("a") as file:
        file.write("40,0.0,0\n")
    assert key() != base


def test_globals_closures_defaults_and_partials_count(key, monkeypatch):
    def with_global(values, args):
        return values * FACTOR

    def closed_over(number):
        return lambda values, _: values * number

    before = key(with_global)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert key(with_global) != before
    assert key(closed_over(1), name="x") != key(closed_over(2), name="x")
    assert key(functools.partial(with_global, args=1), name="x") != key(
        functools.partial(with_global, args=2), name="x"
    )


def test_classes_state_and_strange_objects_are_described(key):
    class Model:
        threshold = np.arange(3)

        def __init__(self, size: int) -> None:
            self.size, self.log, self.lock = size, logging.getLogger("model"), threading.Lock()
            self.options = {"b": {1, 2}, "a": (None, b"x", Path("y"), np.float64(1))}
            self.me = self

        def __call__(self, values, args):
            self.log.info("called")
            return values

    assert key(Model(1), name="m") == key(Model(1), name="m") != key(Model(2), name="m")


def test_images_are_known_by_their_proven_identity(key):
    def docker(tag: str, **options):
        made = algorithm(name="d", data_as_file=True)
        made.main = DockerAdapter("image", tag=tag, **options)
        return made

    assert key(docker("1")) != key(docker("2"))
    assert key(docker("1")) == key(docker("1", timeout=Duration("1 minute"), memory_limit_overwrite=5))
    assert key(docker("1"), image_ids={"image:1": "sha256:a"}) != key(docker("1"), image_ids={"image:1": "sha256:b"})


def test_proven_digests_of_data_are_not_computed_again(experiment_of):
    experiment = experiment_of()
    path = experiment.resolved_test_dataset_path
    proven = Identities(data_digests={path: "abc"}).execution(experiment).key
    path.unlink()
    assert Identities(data_digests={path: "abc"}).execution(experiment).key == proven


def test_a_missing_file_is_left_to_the_experiment(experiment_of):
    experiment = experiment_of()
    experiment.resolved_test_dataset_path.unlink()
    assert Identities().execution(experiment).key


def test_grid_digest_sees_cells_in_order(experiment_of):
    one, two = (Identities().execution(experiment_of(dataset=name)) for name in ("one", "two"))
    assert grid_digest([one, two]) == grid_digest(iter([one, two])) != grid_digest([two, one])


def test_keys_are_the_same_in_every_process(tmp_path):
    (tmp_path / "script.py").write_text(
        "from timeeval.run.identity import _Describer, _digest\n"
        "import functools, helper\n"
        "def f(x, *, y={'b', 'a', 'c'}):\n"
        "    return helper.g(x) if x in {'q', 'r'} else [helper.g(i) for i in x]\n"
        "class C:\n    @property\n    def p(self): return f(1)\n    @classmethod\n    def c(cls): return 2\n"
        "print(_digest(_Describer({'__main__', 'helper'})([f, C(), functools.partial(f, 1), len, lambda z: z])))\n"
    )
    (tmp_path / "helper.py").write_text("def g(x): return x\n")
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, cwd=tmp_path)
    digests = {
        run([sys.executable, "script.py"], env={"PYTHONHASHSEED": seed, "PYTHONPATH": Path.cwd()}).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
