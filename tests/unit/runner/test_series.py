"""Reading each file once, and writing scores as numpy's text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from timeeval import series


@pytest.fixture
def file(data: Path) -> Path:
    series._loaded.clear()
    return data / "one.test.csv"


def test_arrays_are_the_callers_own(file):
    first = series.features_of(file)
    first[:] = 0
    assert series.features_of(file).any()
    whole = series.whole_of(file)
    whole[:] = 0
    assert series.whole_of(file).any()
    labels = series.labels_of(file)
    labels[:] = 7
    assert series.labels_of(file).sum() == 3


def test_a_file_is_read_once_and_again_when_it_changed(file, monkeypatch):
    reads = []
    original = series.load_dataset
    monkeypatch.setattr(series, "load_dataset", lambda path: reads.append(path) or original(path))
    for _ in range(3):
        series.features_of(file)
        series.whole_of(file)
    assert len(reads) == 1
    os.utime(file, ns=(1, 1))
    series.features_of(file)
    assert len(reads) == 2


def test_labels_alone_read_only_the_labels(file):
    assert series.labels_of(file).sum() == 3
    assert not series._loaded


def test_the_cache_is_bounded(data, file, monkeypatch):
    monkeypatch.setattr(series, "CACHE_BYTES", 1)
    for name in ("one", "two", "multi"):
        series.features_of(data / f"{name}.test.csv")
    assert [Path(key[0]).name for key in series._loaded] == ["multi.test.csv"]


numbers = st.one_of(
    hnp.arrays(np.float64, st.integers(0, 20)),
    hnp.arrays(np.float32, st.integers(0, 20)),
    hnp.arrays(np.int64, st.integers(0, 20)),
    hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4))),
    hnp.arrays(np.bool_, st.integers(0, 5)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(scores=numbers)
def test_scores_are_written_as_tofile_does(tmp_path_factory, scores):
    folder = tmp_path_factory.getbasetemp()
    series.write_scores(folder / "ours", scores)
    scores.tofile(str(folder / "theirs"), sep="\n")
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


@given(
    scores=hnp.arrays(np.float64, 40, elements=st.floats(allow_subnormal=True) | st.floats(1e-6, 1e-3))
    | hnp.arrays(np.float64, 40, elements=st.floats(1e15, 1e18))
)
def test_each_score_is_the_repr_of_a_number(tmp_path_factory, scores):
    path = tmp_path_factory.getbasetemp() / "scores"
    series.write_scores(path, scores)
    assert path.read_text().split("\n") == [repr(value) for value in scores.tolist()]
