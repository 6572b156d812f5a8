import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeeval.adapters.docker.scores import is_regular_file, read_scores
from timeeval.errors import ScoresError


@pytest.fixture
def read(tmp_path):
    def run(text, **options):
        path = tmp_path / "scores.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_scores(path, "lof:1", **options)

    return run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2\n3\n", [1.0, 2.0, 3.0]),
        ("1\n2\n3", [1.0, 2.0, 3.0]),
        ("1\r\n2\r\n", [1.0, 2.0]),
        ("1e-3\n-2.5\n+4\n", [0.001, -2.5, 4.0]),
        ("1\nnan\ninf\n-inf\n", [1.0, np.nan, np.inf, -np.inf]),
        ('1\n""\n3\n', [1.0, np.nan, 3.0]),
        ("1\nNA\nnull\n", [1.0, np.nan, np.nan]),
        ("7\n", [7.0]),
        ("1\n2\n\n\n", [1.0, 2.0]),
        ("0,0.5,10\n20,0.7,10\n", [[0.0, 0.5, 10.0], [20.0, 0.7, 10.0]]),
        ("0,0.5,10\n", [[0.0, 0.5, 10.0]]),
        ("1\n\n3\n", [1.0, np.nan, 3.0]),
    ],
)
def test_files(read, text, expected):
    scores = read(text)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, np.array(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("scores\n1\n2\n", "Line 1 .*not a number: 'scores'"),
        ("1\n2\nx\n", "Line 3 .*not a number: 'x'"),
        ("1\n2,3\n", "Line 2 .*2 columns, not 1"),
        ("nan\nnan\n", "all of them are NaN"),
        (b"\xff\xfe1\n", "Line 1 .*not a number"),
        ("# 1\n2\n", "Line 1 .*not a number"),
    ],
)
def test_useless_files(read, text, message):
    with pytest.raises(ScoresError, match=message) as caught:
        read(text)
    assert "lof:1" in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ScoresError, match=r"left no scores in .*dataOutput"):
        read_scores(tmp_path / "nothing.csv", "lof:1")


def test_links_pipes_and_folders_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("1\n2\n")
    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(secret)
    os.mkfifo(pipe)
    folder.mkdir()
    with pytest.raises(ScoresError, match="cannot be opened"):
        read_scores(link, "lof:1")
    for path in (pipe, folder):
        with pytest.raises(ScoresError, match="not a regular file"):
            read_scores(path, "lof:1")
    assert [is_regular_file(p) for p in (secret, link, pipe, folder, tmp_path / "nothing")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_large_files_are_not_read(read):
    with pytest.raises(ScoresError, match="has 8 bytes, more than the 7"):
        read("1\n2\n3\n4\n", max_bytes=7)
    assert len(read("1\n2\n3\n4\n", max_bytes=8)) == 4


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_what_numpy_writes_comes_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    np.array(values).tofile(path, sep="\n")
    np.testing.assert_array_equal(read_scores(path, "lof:1"), np.array(values))


def test_memory_follows_the_file_not_the_limit(read):
    import tracemalloc

    tracemalloc.start()
    try:
        read("1\n2\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6
