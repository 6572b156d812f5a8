import json

import pytest

from timeeval.datasets import custom
from timeeval.datasets.custom import CustomDatasets
from timeeval.datasets.custom_base import CustomDatasetsBase
from timeeval.datasets.custom_noop import NoOpCustomDatasets

SERIES = "timestamp,value,is_anomaly\n0,1.0,0\n1,2.0,1\n"


@pytest.fixture
def write(tmp_path):
    (tmp_path / "there.csv").write_text(SERIES)

    def run(content):
        path = tmp_path / "datasets.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return run


def test_key_names():
    assert (custom.TRAIN_PATH_KEY, custom.TEST_PATH_KEY) == ("train_path", "test_path")
    assert (custom.TYPE_KEY, custom.PERIOD_KEY) == ("type", "period")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "misses the required 'test_path' property"),
        ({"train_path": "there.csv"}, "misses the required 'test_path' property"),
        ("there.csv", "misses the required 'test_path' property"),
        ({"test_path": "missing.csv"}, r"was not found \(property 'test_path'\)"),
        ({"test_path": "missing.csv", "train_path": "missing"}, r"was not found \(property 'test_path'\)"),
        ({"test_path": "there.csv", "train_path": "missing"}, r"was not found \(property 'train_path'\)"),
    ],
)
def test_wrong_entries(write, entry, message):
    with pytest.raises(ValueError, match=message):
        CustomDatasets(write({"a": entry}))


def test_wrong_files(write, tmp_path):
    with pytest.raises(ValueError, match="line 1, column 2: not JSON"):
        CustomDatasets(write("{"))
    with pytest.raises(ValueError, match="not list"):
        CustomDatasets(write([]))
    with pytest.raises(FileNotFoundError):
        CustomDatasets(tmp_path / "nothing.json")


def test_data_is_read_once_and_late(write, tmp_path, capsys):
    datasets = CustomDatasets(str(write({"a": {"test_path": "there.csv"}, "b": {"test_path": "there.csv"}})))
    assert capsys.readouterr().out == ""
    first = datasets.get("a")
    assert capsys.readouterr().out.count("\n") == 1
    (tmp_path / "there.csv").unlink()
    assert datasets.get("a") is first
    assert (first.dataset_type, first.period_size, first.length) == ("unknown", None, 2)
    assert datasets.get_dataset_names() == ["a", "b"]
    assert datasets.get_collection_names() == ["custom"]
    assert datasets.select("other") == []


def test_no_datasets():
    nothing = NoOpCustomDatasets()
    assert isinstance(nothing, CustomDatasetsBase)
    assert nothing.get_collection_names() == nothing.get_dataset_names() == nothing.select() == []
    with pytest.raises(KeyError, match="No custom datasets loaded!"):
        nothing.get("a")
    with pytest.raises(KeyError, match="No custom datasets loaded!"):
        nothing.get_path("a", train=True)
