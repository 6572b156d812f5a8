import json

import numpy as np
import pandas as pd
import pytest

from timeeval.datasets import (
    AnomalyLength,
    DatasetAnalyzer,
    DatasetManager,
    DatasetMetadata,
    Stationarity,
    Trend,
    TrendType,
)
from timeeval.datasets.analyzer import find_stationarity, find_trends
from timeeval.datasets.metadata import DatasetMetadataEncoder


def metadata(**changes):
    fields = {
        "dataset_id": ("c", "d"),
        "is_train": False,
        "length": 10,
        "dimensions": 2,
        "contamination": 0.3,
        "num_anomalies": 1,
        "anomaly_length": AnomalyLength(3, 3, 3),
        "means": {"a": 1.0, "b": 3.0},
        "stddevs": {"a": 1.0, "b": 0.5},
        "trends": {"a": [Trend(TrendType.LINEAR, 0.5, 0.9)], "b": [Trend(TrendType.KUBIC, 0.1, 0.6)]},
        "stationarities": {"a": Stationarity.STATIONARY, "b": Stationarity.TREND_STATIONARY},
    }
    return DatasetMetadata(**{**fields, **changes})


def test_summaries():
    data = metadata()
    assert (data.channels, data.shape, data.mean, data.stddev) == (2, (10, 2), 2.0, 0.75)
    assert data.trend == "kubic trend"
    assert data.stationarity is Stationarity.TREND_STATIONARY
    assert data.get_stationarity_name() == "trend_stationary"


def test_summaries_of_nothing():
    data = metadata(means={}, stddevs={}, trends={}, stationarities={})
    assert (data.mean, data.stddev, data.trend) == (0, 0, "no trend")
    assert data.stationarity is Stationarity.STATIONARY
    assert metadata(trends={"a": [], "b": []}).trend == "no trend"


@pytest.mark.parametrize("pretty", [False, True])
def test_json_round_trip(pretty):
    text = metadata().to_json(pretty=pretty)
    assert DatasetMetadata.from_json(text) == metadata()
    assert ("\n" in text) is pretty
    document = json.loads(text)
    assert document["stationarities"] == {"a": "stationary", "b": "trend_stationary"}
    assert document["trends"]["a"] == [{"tpe": "linear", "coef": 0.5, "confidence_r2": 0.9}]
    assert document["anomaly_length"] == {"min": 3, "median": 3, "max": 3}


def test_json_with_numpy_values():
    data = metadata(length=np.int64(10), means={"a": np.float64(1.0), "b": np.float32(3.0)})
    assert DatasetMetadata.from_json(data.to_json()) == metadata()
    assert DatasetMetadataEncoder.object_hook({"other": 1}) == {"other": 1}
    with pytest.raises(ValueError, match="does not describe"):
        DatasetMetadata.from_json("{}")


def test_enumerations():
    assert [Stationarity.from_name(i) for i in range(4)] == list(Stationarity)
    assert [TrendType.from_order(i) for i in (1, 2, 3)] == list(TrendType)
    assert [Trend(t, 1, 1).name for t in TrendType] == ["linear trend", "quadratic trend", "kubic trend"]
    assert Trend(TrendType.QUADRATIC, 1, 1).order == 2


def series(values, labels=None):
    labels = np.zeros(len(values), dtype=int) if labels is None else labels
    return pd.DataFrame({"timestamp": range(len(values)), "value": values, "is_anomaly": labels})


@pytest.mark.parametrize(
    ("labels", "lengths"),
    [
        ([0, 0, 0], []),
        ([1, 1, 1], [3]),
        ([1, 0, 1, 1, 0, 0, 1], [1, 2, 1]),
        ([0, 1, 1, 1, 1, 0, 1, 1], [4, 2]),
        ([0.0, 1.0], [1]),
        ([], []),
    ],
)
def test_anomalies(labels, lengths):
    frame = series(np.arange(len(labels)) * 1.0, labels)
    found = DatasetAnalyzer(("c", "d"), is_train=False, df=frame, ignore_stationarity=True, ignore_trend=True).metadata
    assert found.num_anomalies == len(lengths)
    expected = (min(lengths), int(np.median(lengths)), max(lengths)) if lengths else (0, 0, 0)
    assert (found.anomaly_length.min, found.anomaly_length.median, found.anomaly_length.max) == expected
    assert found.contamination == pytest.approx(sum(lengths) / max(len(labels), 1))


def test_everything():
    rng = np.random.default_rng(42)
    frame = pd.DataFrame(
        {
            "timestamp": range(500),
            "noise": rng.normal(size=500),
            "line": np.arange(500) * 0.5 + rng.normal(size=500),
            "is_anomaly": [0] * 499 + [1],
        }
    )
    found = DatasetAnalyzer(("c", "d"), is_train=True, df=frame).metadata
    assert (found.length, found.dimensions, found.is_train, found.contamination) == (500, 2, True, 0.002)
    assert found.means == pytest.approx(frame[["noise", "line"]].mean().to_dict())
    assert found.stddevs == pytest.approx(frame[["noise", "line"]].std().to_dict())
    assert found.trends["noise"] == []
    assert [trend.tpe for trend in found.trends["line"]] == list(TrendType)
    assert found.trends["line"][0].coef == pytest.approx(0.5, abs=1e-3)
    assert found.stationarities["noise"] is Stationarity.DIFFERENCE_STATIONARY


def test_parts_can_be_left_out():
    found = DatasetAnalyzer(
        ("c", "d"), is_train=True, df=series(np.arange(5.0)), ignore_stationarity=True, ignore_trend=True
    ).metadata
    assert found.trends == {}
    assert found.stationarities == {"value": Stationarity.NOT_STATIONARY}


def test_sources_of_the_data(tmp_path):
    with pytest.raises(ValueError, match="must be supplied"):
        DatasetAnalyzer(("c", "d"), is_train=False)
    path = tmp_path / "series.csv"
    series(np.arange(5.0)).to_csv(path, index=False)
    assert DatasetAnalyzer(("c", "d"), is_train=False, dataset_path=path, ignore_stationarity=True).metadata.length == 5


def test_data_of_a_manager():
    class Manager(DatasetManager):
        def __init__(self):
            pass

        def get_dataset_df(self, dataset_id, train=False):
            assert (dataset_id, train) == (("c", "d"), True)
            return series(np.arange(7.0))

    analyzer = DatasetAnalyzer(("c", "d"), is_train=True, dmgr=Manager(), ignore_stationarity=True)
    assert analyzer.metadata.length == 7


@pytest.mark.parametrize("order", [1, 2, 3])
def test_trends(order):
    steps = np.arange(100.0)
    found = find_trends(3.0 * steps**order + 7.0)
    own = next(trend for trend in found if trend.order == order)
    assert own.coef == pytest.approx(np.array([3.0]))
    assert own.confidence_r2 == pytest.approx(1.0)


def test_coefficients_are_lists_of_one_in_metadata_files(tmp_path):
    DatasetAnalyzer(("c", "d"), is_train=False, df=series(np.arange(9.0) * 2)).save_to_json(tmp_path / "d.json")
    assert json.loads((tmp_path / "d.json").read_text())[0]["trends"]["value"][0]["coef"] == pytest.approx([2.0])
    assert DatasetAnalyzer.load_from_json(tmp_path / "d.json").trends["value"][0].coef == pytest.approx([2.0])


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [float("nan")] * 3])
def test_series_without_trend(values):
    assert find_trends(np.array(values)) == []


@pytest.mark.parametrize("values", [[], [1.0], [3.0] * 50, [float("nan")] * 50, list(range(50))])
def test_series_for_which_a_test_is_not_defined(values):
    assert find_stationarity(np.array(values, dtype=float)) in {
        Stationarity.NOT_STATIONARY,
        Stationarity.TREND_STATIONARY,
    }


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda noise: noise, Stationarity.DIFFERENCE_STATIONARY),
        (np.cumsum, Stationarity.TREND_STATIONARY),
        (lambda noise: noise + np.arange(600) * 0.002, Stationarity.STATIONARY),
    ],
)
def test_decisions(make, expected):
    assert find_stationarity(make(np.random.default_rng(42).normal(size=600))) is expected


def analyzer(is_train=False, length=5):
    return DatasetAnalyzer(("c", "d"), is_train=is_train, df=series(np.arange(float(length))), ignore_stationarity=True)


def test_files(tmp_path):
    path = tmp_path / "c.metadata.json"
    analyzer().save_to_json(path)
    analyzer(is_train=True, length=6).save_to_json(path)
    text = path.read_text()
    assert text.endswith("]\n")
    assert DatasetAnalyzer.load_from_json(path).length == 5
    assert DatasetAnalyzer.load_from_json(path, train=True) == analyzer(is_train=True, length=6).metadata
    analyzer(length=7).save_to_json(path, overwrite=True)
    assert DatasetAnalyzer.load_from_json(path).length == 7
    with pytest.raises(ValueError, match="nothing about the training series"):
        DatasetAnalyzer.load_from_json(path, train=True)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"a": 1}'])
def test_other_content_is_set_aside(tmp_path, content):
    path = tmp_path / "c.metadata.json"
    path.write_text(content)
    analyzer().save_to_json(path)
    assert (tmp_path / "c.metadata.json.bak").read_text() == content
    assert DatasetAnalyzer.load_from_json(path).length == 5
