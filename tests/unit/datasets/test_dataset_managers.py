import json
import logging

import numpy as np
import pandas as pd
import pytest

from timeeval import DatasetManager, InputDimensionality, MultiDatasetManager, TrainingType
from timeeval.datasets import Dataset, DatasetRecord, locations
from timeeval.datasets.index import COLUMNS
from timeeval.errors import DatasetIndexError, TimeEvalError

LINES = [
    (
        "test,dates,dates.train.csv,dates.test.csv,synthetic,True,,supervised,False,univariate,4,1,0.25,1,1,1,1,1.5,1,none,"
        "stationary,12"
    ),
    "test,numbers,,numbers.test.csv,real,False,,unsupervised,False,univariate,4,1,0.5,2,1,1,1,1.5,1,no trend,s,",
    "multi,wide,wide.train.csv,wide.test.csv,real,False,,semi-supervised,True,multivariate,4,2,0.0,0,0,0,0,1,1,t,s,",
    "multi,odd,wide.train.csv,wide.test.csv,real,False,,semi-supervised,False,multivariate,4,2,0.0,,0,0,0,1,1,t,s,2.5",
]
NUMBERS = "timestamp,value,is_anomaly\n0,1.0,0\n1,2.0,1\n2,1.0,0\n3,2.0,1\n"
DATES = (
    "timestamp,value,is_anomaly\n1970-01-01 00:00:00,1.0,0\n1970-01-01 01:00:00,2.0,1\n1970-01-01 02:00:00,1.0,0\n"
    "1970-01-01 03:00:00,2.0,0\n"
)
WIDE = "timestamp,a,b,is_anomaly\n0,1.0,4,0\n1,2.0,5,0\n2,1.0,6,0\n3,2.0,7,0\n"


def fill(folder, lines=LINES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "datasets.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    (folder / "numbers.test.csv").write_text(NUMBERS)
    for name in ("dates.test.csv", "dates.train.csv"):
        (folder / name).write_text(DATES)
    for name in ("wide.test.csv", "wide.train.csv"):
        (folder / name).write_text(WIDE)
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "data")


@pytest.fixture
def manager(folder):
    return DatasetManager(folder, create_if_missing=False)


@pytest.fixture
def custom(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "one.csv").write_text(NUMBERS)
    (own / "normal.csv").write_text(WIDE)
    (own / "dates.csv").write_text(DATES)
    entries = {
        "plain": {"test_path": "one.csv", "type": "synthetic test", "period": 10},
        "trained": {"test_path": str(own / "dates.csv"), "train_path": "dates.csv"},
        "wide": {"test_path": "normal.csv", "train_path": "./normal.csv"},
    }
    path = own / "datasets.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def _no_locations():
    yield
    locations.set_locations({})


def test_a_dataset(manager):
    expected = Dataset(
        datasetId=("test", "dates"),
        dataset_type="synthetic",
        training_type=TrainingType.SUPERVISED,
        length=4,
        dimensions=1,
        contamination=0.25,
        min_anomaly_length=1,
        median_anomaly_length=1,
        max_anomaly_length=1,
        period_size=12,
        num_anomalies=1,
    )
    for found in (manager.get("test", "dates"), manager.get(("test", "dates")), manager.get(("test", "dates"), None)):
        assert found == expected
    assert type(expected.period_size) is type(found.period_size) is int
    assert (found.name, found.collection_name, found.has_anomalies) == ("dates", "test", True)
    assert found.input_dimensionality is InputDimensionality.UNIVARIATE


def test_what_is_not_known_is_none(manager):
    odd = manager.get("multi", "odd")
    assert (odd.num_anomalies, odd.has_anomalies, odd.period_size) == (None, None, 2.5)
    assert manager.get("test", "numbers").period_size is None
    assert manager.get("multi", "wide").has_anomalies is False


def test_each_description_is_the_callers_own(manager):
    manager.get("test", "dates").length = 99
    assert manager.get("test", "dates").length == 4


@pytest.mark.parametrize(
    "arguments", [("a",), (("a", "b"), "c"), (("a",),), (None, "b"), (["a", "b"],), ("a", None), (3, 4)]
)
def test_names_that_are_none(manager, arguments):
    with pytest.raises(ValueError, match="Cannot use"):
        manager.get(*arguments)


@pytest.mark.parametrize("identity", [("test", "nothing"), ("nothing", "dates"), ("custom", "x")])
def test_unknown_datasets(manager, identity):
    with pytest.raises(KeyError, match="not found"):
        manager.get(identity)
    with pytest.raises(KeyError, match="not found"):
        manager.get_dataset_path(identity)


def test_paths(manager, folder):
    assert manager.get_dataset_path(("test", "dates")) == folder / "dates.test.csv"
    assert manager.get_dataset_path(("test", "dates"), train=True) == folder / "dates.train.csv"
    with pytest.raises(KeyError, match="not found"):
        manager.get_dataset_path(("test", "numbers"), train=True)


def test_paths_are_absolute_and_links_resolved(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DatasetManager("data").get_dataset_path(("test", "dates")) == folder / "dates.test.csv"
    (tmp_path / "link").symlink_to(folder)
    assert DatasetManager("link").get_dataset_path(("test", "dates")) == folder / "dates.test.csv"


def test_names(manager, custom):
    assert manager.get_collection_names() == ["multi", "test"]
    assert manager.get_dataset_names() == ["odd", "wide", "dates", "numbers"]
    manager.load_custom_datasets(custom)
    assert manager.get_collection_names() == ["custom", "multi", "test"]
    assert manager.get_dataset_names()[:3] == ["plain", "trained", "wide"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ["odd", "wide", "dates", "numbers"]),
        ({"collection": "test"}, ["dates", "numbers"]),
        ({"collection": "nothing"}, []),
        ({"dataset": "dates"}, ["dates"]),
        ({"collection": "multi", "dataset": "dates"}, []),
        ({"dataset_type": "real"}, ["odd", "wide", "numbers"]),
        ({"datetime_index": True}, ["dates"]),
        ({"datetime_index": False}, ["odd", "wide", "numbers"]),
        ({"training_type": TrainingType.SUPERVISED}, ["dates"]),
        ({"training_type": TrainingType("unsupervised")}, ["numbers"]),
        ({"training_type": TrainingType.SEMI_SUPERVISED}, ["odd", "wide"]),
        ({"training_type": TrainingType.SEMI_SUPERVISED, "train_is_normal": True}, ["wide"]),
        ({"train_is_normal": False}, ["odd", "dates", "numbers"]),
        ({"input_dimensionality": InputDimensionality.MULTIVARIATE}, ["odd", "wide"]),
        ({"min_anomalies": 1}, ["dates", "numbers"]),
        ({"min_anomalies": 2}, ["numbers"]),
        ({"max_anomalies": 1}, ["wide", "dates"]),
        ({"min_anomalies": 1, "max_anomalies": 1}, ["dates"]),
        ({"max_contamination": 0.25}, ["odd", "wide", "dates"]),
        ({"max_contamination": 0.24}, ["odd", "wide"]),
    ],
)
def test_select(manager, conditions, expected):
    assert [name for _, name in manager.select(**conditions)] == expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"collection": "custom"}, ["plain", "trained", "wide"]),
        ({"dataset": "plain"}, ["plain"]),
        ({"dataset": "wide"}, ["wide"]),
        ({"collection": "test"}, ["dates", "numbers"]),
        ({"dataset_type": "synthetic test"}, ["plain"]),
        ({"training_type": TrainingType.SUPERVISED}, ["dates", "trained"]),
        ({"training_type": TrainingType.SEMI_SUPERVISED}, ["odd", "wide", "wide"]),
        ({"input_dimensionality": InputDimensionality.MULTIVARIATE, "collection": "custom"}, ["wide"]),
        ({"min_anomalies": 2}, ["numbers", "plain"]),
        ({"max_anomalies": 0, "collection": "custom"}, ["wide"]),
        ({"max_contamination": 0.3, "collection": "custom"}, ["trained", "wide"]),
        ({"train_is_normal": True, "collection": "custom"}, ["plain", "trained", "wide"]),
    ],
)
def test_select_with_custom_datasets(manager, custom, conditions, expected):
    manager.load_custom_datasets(custom)
    assert [name for _, name in manager.select(**conditions)] == expected


def test_custom_datasets_have_no_kind_of_time_steps(manager, custom):
    manager.load_custom_datasets(custom)
    with pytest.warns(UserWarning, match="not supported for custom datasets"):
        assert manager.select(collection="custom", datetime_index=True) == [
            ("custom", "plain"),
            ("custom", "trained"),
            ("custom", "wide"),
        ]


def test_a_custom_dataset(manager, custom):
    manager.load_custom_datasets(custom)
    assert manager.get("custom", "plain") == Dataset(
        datasetId=("custom", "plain"),
        dataset_type="synthetic test",
        training_type=TrainingType.UNSUPERVISED,
        length=4,
        dimensions=1,
        contamination=0.5,
        min_anomaly_length=1,
        median_anomaly_length=1,
        max_anomaly_length=1,
        period_size=10,
        num_anomalies=2,
    )
    assert manager.get_dataset_path(("custom", "plain")) == custom.parent / "one.csv"
    assert manager.get_training_type(("custom", "wide")) is TrainingType.SEMI_SUPERVISED
    with pytest.raises(ValueError, match="unsupervised and has no training time series"):
        manager.get_dataset_path(("custom", "plain"), train=True)
    with pytest.raises(KeyError):
        manager.get("custom", "nothing")


def test_the_frame_of_all(manager, custom):
    assert manager.df().equals(manager._df)
    manager.load_custom_datasets(custom)
    frame = manager.df()
    assert list(frame.index.get_level_values(0)) == ["custom"] * 3 + ["multi"] * 2 + ["test"] * 2
    row = frame.loc[("custom", "plain")]
    assert row["test_path"] == str(custom.parent / "one.csv")
    for column in ("mean", "stddev", "split_at", "train_path", "train_is_normal"):
        assert pd.isna(row[column])
    assert len(manager._df) == 4


def test_the_frame_is_a_copy(manager):
    frame = manager.df()
    frame.loc[:, "length"] = 0
    assert manager.get("test", "dates").length == 4


def test_data(manager, custom):
    frame = manager.get_dataset_df(("test", "dates"))
    assert str(frame.dtypes["timestamp"]) == "datetime64[ns]"
    assert list(frame.columns) == ["timestamp", "value", "is_anomaly"]
    assert manager.get_dataset_df(("test", "numbers")).dtypes["timestamp"] == np.int64
    assert manager.get_dataset_ndarray(("test", "numbers")).shape == (4, 3)
    manager.load_custom_datasets(custom)
    assert manager.get_dataset_df(("custom", "plain")).dtypes["timestamp"] == np.int64
    assert str(manager.get_dataset_df(("custom", "trained"), train=True).dtypes["timestamp"]) == "datetime64[ns]"


def test_time_steps_of_another_kind(manager, custom, folder):
    (folder / "numbers.test.csv").write_text("timestamp,value,is_anomaly\nx,1.0,0\n")
    with pytest.raises(TypeError, match="not whole numbers"):
        manager.get_dataset_df(("test", "numbers"))
    manager.load_custom_datasets(custom)
    (custom.parent / "one.csv").write_text("timestamp,value,is_anomaly\nx,1.0,0\n")
    with pytest.raises(TypeError, match="not dates"):
        manager.get_dataset_df(("custom", "plain"))


def test_a_training_series_that_is_not_normal(manager, caplog):
    with caplog.at_level(logging.WARNING, logger="DatasetManager"):
        assert manager.get_training_type(("multi", "odd")) is TrainingType.SUPERVISED
    assert "not normal" in caplog.text
    assert manager.get("multi", "odd").training_type is TrainingType.SUPERVISED
    assert manager.get_training_type(("multi", "wide")) is TrainingType.SEMI_SUPERVISED


def new_record(**changes):
    row = dict(zip(COLUMNS, [None] * len(COLUMNS), strict=True))
    row.update(
        collection_name="new",
        dataset_name="one",
        test_path="one.csv",
        dataset_type="real",
        datetime_index=False,
        train_type="unsupervised",
        train_is_normal=False,
        input_type="univariate",
        length=3,
        dimensions=1,
        contamination=0.0,
        num_anomalies=0,
        min_anomaly_length=0,
        median_anomaly_length=0,
        max_anomaly_length=0,
        mean=0.0,
        stddev=0.0,
        trend="no trend",
        stationarity="stationary",
    )
    return DatasetRecord(**{**row, **changes})


def test_adding_and_saving(manager, folder):
    manager.add_dataset(new_record())
    manager.add_datasets([new_record(dataset_name="two"), new_record(length=9)])
    assert manager.get("new", "one").length == 9
    assert "new" not in (folder / "datasets.csv").read_text()
    manager.save()
    again = DatasetManager(folder)
    assert again.select() == manager.select()
    assert again.get("new", "two") == manager.get("new", "two")
    pd.testing.assert_frame_equal(again.df(), manager.df())


def test_a_replaced_dataset(manager):
    manager.add_dataset(new_record(collection_name="test", dataset_name="dates"))
    assert manager.get("test", "dates").length == 3
    assert len(manager.select()) == 4


def test_unsaved_changes_are_not_lost_by_refresh(manager):
    manager.refresh()
    manager.add_dataset(new_record())
    with pytest.raises(TimeEvalError, match="unsaved changes"):
        manager.refresh()
    manager.refresh(force=True)
    assert ("new", "one") not in manager.select()


def test_others_changes_are_seen_after_refresh(manager, folder):
    other = DatasetManager(folder)
    other.add_dataset(new_record())
    other.save()
    with pytest.raises(KeyError):
        manager.get("new", "one")
    manager.refresh()
    assert manager.get("new", "one").length == 3


def test_leaving_the_context_saves(folder):
    with DatasetManager(folder) as manager:
        manager.add_dataset(new_record())
    assert ("new", "one") in DatasetManager(folder).select()


def fail_inside(folder):
    with DatasetManager(folder) as manager:
        manager.add_dataset(new_record())
        manager.get("no", "dataset")


def test_leaving_the_context_hides_no_error_and_saves_nevertheless(folder):
    with pytest.raises(KeyError, match="not found"):
        fail_inside(folder)
    assert ("new", "one") in DatasetManager(folder).select()


def test_a_missing_index(tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="Could not find the index file"):
        DatasetManager(tmp_path / "nothing", create_if_missing=False)
    assert not (tmp_path / "nothing").exists()
    manager = DatasetManager(tmp_path / "nothing")
    assert manager.select() == []
    assert manager.df().empty
    assert "does not exist" in caplog.text
    assert (tmp_path / "nothing" / "datasets.csv").read_text() == ",".join(COLUMNS) + "\n"
    manager.add_dataset(new_record())
    assert manager.get("new", "one").length == 3


def test_an_empty_folder_with_custom_datasets(tmp_path, custom):
    manager = DatasetManager(tmp_path / "nothing", custom_datasets_file=custom)
    assert len(manager.df()) == 3
    assert len(manager.select()) == 3


def test_a_malformed_index(folder):
    (folder / "datasets.csv").write_text("a,b\n")
    with pytest.raises(DatasetIndexError, match="line 1"):
        DatasetManager(folder)


def test_texts(manager, custom):
    assert "Custom datasets:" in str(manager)
    manager.load_custom_datasets(custom)
    assert "plain" in repr(manager)


def test_several_folders(tmp_path, custom, caplog):
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two", [LINES[0], LINES[1].replace("test,", "other,", 1)])
    manager = MultiDatasetManager([one, str(two)], custom_datasets_file=custom)
    assert [c for c, _ in manager.select()] == ["multi", "multi", "other", "test", "test"] + ["custom"] * 3
    assert manager.get_dataset_path(("multi", "wide")) == one / "wide.test.csv"
    assert manager.get_dataset_path(("other", "numbers")) == two / "numbers.test.csv"
    assert manager.get_dataset_path(("test", "dates")) == two / "dates.test.csv"
    assert "the latter counts" in caplog.text
    before = manager.df()
    manager.refresh()
    pd.testing.assert_frame_equal(manager.df(), before)
    assert manager.get("test", "dates").length == 4


def test_several_folders_of_which_some_are_missing(tmp_path):
    fill(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="Could not find the index files") as caught:
        MultiDatasetManager([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert str(tmp_path / "two") in str(caught.value)
    assert str(tmp_path / "three") in str(caught.value)
    assert str(tmp_path / "one") not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no dataset folder"):
        MultiDatasetManager([])


@pytest.mark.usefixtures("_no_locations")
@pytest.mark.parametrize("kind", [DatasetManager, lambda path: MultiDatasetManager([path])])
def test_content_elsewhere_paths_of_the_nodes(folder, tmp_path, kind):
    declared = tmp_path / "srv" / "data"
    locations.set_locations({declared: folder})
    manager = kind(declared)
    assert len(manager.select()) == 4
    assert manager.get_dataset_path(("test", "dates")) == declared / "dates.test.csv"
    assert len(manager.get_dataset_df(("test", "dates"))) == 4
    assert manager.get_detailed_metadata(("test", "dates")).length == 4
    assert not declared.exists()
    assert locations.readable(declared / "dates.test.csv") == folder / "dates.test.csv"
    assert locations.readable(tmp_path / "srv" / "data2") == tmp_path / "srv" / "data2"


@pytest.mark.usefixtures("_no_locations")
def test_content_at_the_path_itself_wins(folder, tmp_path):
    locations.set_locations({folder: tmp_path / "nothing"})
    assert len(DatasetManager(folder).select()) == 4
    locations.set_locations({})
    assert locations.readable(tmp_path / "x") == tmp_path / "x"


def test_detailed_metadata_is_kept(manager, folder):
    file = folder / "wide.metadata.json"
    test = manager.get_detailed_metadata(("multi", "wide"))
    assert (test.is_train, test.dimensions, test.dataset_id) == (False, 2, ("multi", "wide"))
    train = manager.get_detailed_metadata(("multi", "wide"), train=True)
    assert len(json.loads(file.read_text())) == 2
    changed = file.read_text().replace('"length": 4', '"length": 44')
    file.write_text(changed)
    assert manager.get_detailed_metadata(("multi", "wide")).length == 44
    assert train.is_train


def test_metadata_of_custom_datasets_is_not_kept(manager, custom):
    manager.load_custom_datasets(custom)
    assert manager.get_detailed_metadata(("custom", "plain")).means == {"value": 1.5}
    assert not list(custom.parent.glob("*.metadata.json"))


def test_a_large_index_is_looked_up_without_pandas(tmp_path, monkeypatch):
    lines = [
        f"c{i % 7},d{i:05},,d{i}.csv,real,False,,unsupervised,False,univariate,4,1,0.5,2,1,1,1,1,1,t,s,"
        for i in range(2000)
    ]
    manager = DatasetManager(fill(tmp_path / "large", lines))
    first = manager.get("c0", "d00000")
    monkeypatch.setattr(pd.DataFrame, "loc", property(lambda _: pytest.fail("pandas takes a millisecond per row")))
    monkeypatch.setattr(pd.DataFrame, "to_dict", lambda *_: pytest.fail("once is enough"))
    found = [manager.get(identity) for identity in manager.select(collection="c0")]
    assert found[0] == first
    assert len(found) == 286
    assert manager.get_dataset_path(("c1", "d00001")).name == "d1.csv"
