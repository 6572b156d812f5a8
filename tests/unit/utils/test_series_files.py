import numpy as np
import pandas as pd
import pytest

from timeeval.errors import DatasetFileError
from timeeval.utils.datasets import extract_features, extract_labels, load_dataset, load_labels_only, read_series


@pytest.fixture
def write(tmp_path):
    def run(text):
        path = tmp_path / "series.csv"
        path.write_text(text)
        return path

    return run


def test_dates(write):
    frame = load_dataset(write("timestamp,a,b,is_anomaly\n2020-01-01 00:00:00,1,2.5,0\n2020-01-01 01:00:00,3,4.5,1\n"))
    assert str(frame.dtypes["timestamp"]) == "datetime64[ns]"
    np.testing.assert_array_equal(extract_features(frame), [[1.0, 2.5], [3.0, 4.5]])
    assert extract_features(frame).dtype == np.float64
    assert extract_labels(frame).tolist() == [0.0, 1.0]
    assert extract_labels(frame).dtype == np.float64


@pytest.mark.parametrize("text", ["timestamp,a,is_anomaly\n0,1,0\n1,2,1\n", "time,a,label\n0,1,0\n1,2,1\n"])
def test_numbers_stay_numbers(write, text):
    frame = load_dataset(write(text))
    assert frame.iloc[:, 0].dtype == np.int64
    assert extract_labels(frame).tolist() == [0.0, 1.0]
    assert extract_features(frame).shape == (2, 1)


def test_labels_alone(write):
    path = write("timestamp,a,is_anomaly\n0,1,0\n1,2,1\n")
    assert load_labels_only(path).tolist() == [0.0, 1.0]
    assert load_labels_only(path).dtype == np.float64


@pytest.mark.parametrize("text", ["", "timestamp,a\n0,1\n", "timestamp,a,is_anomaly\n0,1,x\n"])
def test_labels_that_are_not_there(write, text):
    with pytest.raises(DatasetFileError, match=r"series\.csv cannot be read"):
        load_labels_only(write(text))


@pytest.mark.parametrize("text", ["", 'a,b\n"1,2\n3', "timestamp,a,is_anomaly\n1,2,3,4\n1,2,3,4,5\n"])
def test_what_is_no_table(write, text):
    with pytest.raises(DatasetFileError, match=r"series\.csv"):
        load_dataset(write(text))


def test_time_steps_that_are_neither(write):
    path = write("timestamp,a,is_anomaly\nyesterday-ish,1,0\n")
    with pytest.raises(DatasetFileError, match="not dates"):
        load_dataset(path)
    for dates in (None, True):
        with pytest.raises(TypeError, match="not dates"):
            read_series(path, dates=dates)
    with pytest.raises(TypeError, match="not whole numbers"):
        read_series(path, dates=False)
    with pytest.raises(TypeError, match="not whole numbers"):
        read_series(write("timestamp,a,is_anomaly\n0.5,1,0\n"), dates=False)


def test_kinds_of_time_steps(write):
    path = write("timestamp,a,is_anomaly\n0,1,0\n1,1,0\n")
    assert read_series(path).dtypes["timestamp"] == np.int64
    assert str(read_series(path, dates=True).dtypes["timestamp"]) == "datetime64[ns]"
    assert read_series(write("timestamp,a,is_anomaly\n0.0,1,0\n"), dates=False).dtypes["timestamp"] == np.int64
    assert pd.api.types.is_datetime64_ns_dtype(read_series(write("t,a,l\n2020-01-01,1,0\n")).dtypes["t"])


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_dataset(tmp_path / "nothing.csv")
