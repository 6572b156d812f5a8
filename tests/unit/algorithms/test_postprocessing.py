"""From the output of images to point scores: the windows of each algorithm, and the three that spread."""

from types import SimpleNamespace

import numpy as np
import pytest

from timeeval.algorithms import CATALOGUE

W, A, P = "window_size", "anomaly_window_size", "prediction_window_size"


WINDOWS = [
    ("damp mstamp", 50, {A: 7}, 7),
    ("hybrid_knn tarzan", 20, {A: 7}, 7),
    ("donut", 120, {W: 7}, 7),
    (
        (
            "multi_subsequence_lof subsequence_if subsequence_knn subsequence_lof subsequence_lof_multi_sum "
            "subsequence_fast_mcd omnianomaly"
        ),
        100,
        {W: 7},
        7,
    ),
    ("normalizing_flows", 20, {W: 7}, 7),
    ("deepant", 46, {W: 7, P: 2}, 9),
    ("lstm_ad", 31, {W: 7, P: 2}, 9),
    ("telemanom", 261, {W: 7, P: 2}, 10),
    ("mtad_gat", 21, {W: 7}, 8),
    ("deepnap", 30, {A: 7}, 14),
    ("encdec_ad", 60, {A: 7}, 14),
    ("norma", 39, {A: 7}, 13),
    ("stamp stomp", 30, {A: 3}, 4),
    ("valmod mvalmod", 30, {"min_anomaly_window_size": 3}, 4),
    ("left_stampi", 50, {A: 9, "n_init_train": 7}, 7),
    ("left_stampi", 50, {A: 2}, 3),
    ("series2graph", 145, {W: 9, "query_window_size": 2}, 18),
    ("series2graph", 145, {W: 9, "query_window_size": 2, "convolution_size": 1}, 16),
    ("torsk", 201, {P: 2, "context_window_size": 3}, 7),
]


@pytest.mark.parametrize(("names", "default", "given", "window"), WINDOWS)
def test_windows(names, default, given, window):
    for name in names.split():
        post = CATALOGUE[name]().postprocess
        for params, size in (({}, default), (given, window)):
            points = post(np.arange(5.0), {"hyper_params": params})
            assert len(points) == 5 + size - 1
            assert (points[0], points[1], points[-1]) == (0.0, 0.5, 4.0)


def test_raised_windows_are_logged(caplog):
    CATALOGUE.stomp().postprocess(np.ones(3), {"hyper_params": {A: 2}})
    assert "anomaly_window_size 2 was raised to 4" in caplog.text


def test_every_post_processing_is_tested():
    tested = {name for row in WINDOWS for name in row[0].split()} | {"tanogan", "mscred", "hotsax", "grammarviz3"}
    assert tested == {entry.function for entry in CATALOGUE.entries if entry.postprocess}


def args(length, **params):
    return {"hyper_params": params, "dataset_details": SimpleNamespace(length=length)}


def test_tanogan():
    post = CATALOGUE.tanogan().postprocess
    np.testing.assert_array_equal(post(np.array([1.0, 2.0]), args(5, window_size=2)), [1, 1, 2, 2, np.nan])
    with pytest.raises(ValueError, match="cover 4 points, but the series has only 3"):
        post(np.ones(2), args(3, window_size=2))


@pytest.mark.parametrize(
    ("length", "gap", "expected"),
    [(10, 3, [1, 1, 1, 2]), (9, 3, [1, 1, 1, 2, 2, 2]), (10, 0, [1, 2]), (10, 1, [1, 2]), (11, 3, [1, 2])],
)
def test_mscred(length, gap, expected):
    scores = CATALOGUE.mscred().postprocess(
        np.array([1.0, 2.0]), args(length, window_size=1, windows=[2, 4], gap_time=gap)
    )
    assert scores.tolist() == expected


def test_hotsax():
    scores = CATALOGUE.hotsax().postprocess(np.array([0, 2.0, 4.0, 0, 0, -1]), {"hyper_params": {A: 2}})
    assert scores.tolist() == [0, 2, 3, 4, 0, 0]


def test_grammarviz():
    post = CATALOGUE.grammarviz3().postprocess
    rows = np.array([[0, 2.0, 2], [1, 4.0, 2], [2, 0, 0], [3, -1, 2], [4, 0, 0]])
    assert post(rows, {}).tolist() == [2, 3, 4, 0, 0]
    assert post(rows[1], args(4)).tolist() == [0, 4, 4, 0]
    with pytest.raises(ValueError, match="index, score and length"):
        post(np.ones((3, 2)), {})
