import pandas as pd
import pytest

from timeeval.datasets.index import COLUMNS, DatasetRecord, frame_of, join_frames, read_index, write_index
from timeeval.errors import DatasetIndexError

HEADER = ",".join(COLUMNS)
LINE = (
    "NAB,art_daily_no_noise,,data-processed/univariate/NAB/art_daily_no_noise.test.csv,synthetic,True,,unsupervised,"
    "False,univariate,4032,1,0.015,1,5,5,6,564.52,2.468,no trend,not_stationary,"
)
OTHER = "NAB,another,a.train.csv,a.test.csv,real,False,7,semi-supervised,True,multivariate,10,2,0.5,2,1,2,3,1,2,t,s,12"


def record(**changes):
    fields = {
        "collection_name": "NAB",
        "dataset_name": "art_daily_no_noise",
        "train_path": None,
        "test_path": "data-processed/univariate/NAB/art_daily_no_noise.test.csv",
        "dataset_type": "synthetic",
        "datetime_index": True,
        "split_at": None,
        "train_type": "unsupervised",
        "train_is_normal": False,
        "input_type": "univariate",
        "length": 4032,
        "dimensions": 1,
        "contamination": 0.015,
        "num_anomalies": 1,
        "min_anomaly_length": 5,
        "median_anomaly_length": 5,
        "max_anomaly_length": 6,
        "mean": 564.52,
        "stddev": 2.468,
        "trend": "no trend",
        "stationarity": "not_stationary",
        "period_size": None,
    }
    return DatasetRecord(**{**fields, **changes})


@pytest.fixture
def read(tmp_path):
    def run(*lines, header=HEADER):
        path = tmp_path / "datasets.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return read_index(path)

    return run


def test_columns_of_a_record():
    assert COLUMNS[:4] == ("collection_name", "dataset_name", "train_path", "test_path")
    assert len(COLUMNS) == 22
    assert COLUMNS[-1] == "period_size"


def test_a_written_line_is_exact(tmp_path):
    path = tmp_path / "datasets.csv"
    write_index(frame_of([record()]), path)
    assert path.read_text() == f"{HEADER}\n{LINE}\n"
    assert path.stat().st_mode & 0o044
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_sorted(read):
    frame = read(LINE, OTHER)
    assert list(frame.index) == [("NAB", "another"), ("NAB", "art_daily_no_noise")]
    row = frame.loc[("NAB", "another")]
    assert (row["train_path"], row["length"], row["period_size"], row["split_at"]) == ("a.train.csv", 10, 12, 7)
    assert pd.isna(frame.loc[("NAB", "art_daily_no_noise"), "train_path"])


def test_reading_and_writing_keeps_everything(read, tmp_path):
    frame = read(LINE, OTHER)
    path = tmp_path / "again.csv"
    write_index(frame, path)
    pd.testing.assert_frame_equal(read_index(path), frame)


def test_an_empty_index(read, tmp_path):
    assert read().empty
    path = tmp_path / "empty.csv"
    write_index(frame_of([]), path)
    assert path.read_text() == f"{HEADER}\n"


def test_optional_columns_may_be_absent_and_others_are_kept(read):
    header = "collection_name,dataset_name,test_path,dataset_type,train_type,input_type,length,dimensions,"
    header += "contamination,min_anomaly_length,median_anomaly_length,max_anomaly_length,licence"
    frame = read("c,d,p,real,supervised,univariate,10.0,1,0.1,1,1,1,MIT", header=header)
    row = frame.loc[("c", "d")]
    assert (row["length"], row["licence"]) == (10, "MIT")
    assert pd.isna(row["period_size"])
    assert pd.isna(row["train_path"])


def test_a_byte_order_mark_and_blank_lines_are_passed_over(tmp_path):
    path = tmp_path / "datasets.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n\r\n{LINE}\r\n".encode())
    assert len(read_index(path)) == 1


@pytest.mark.parametrize(
    ("old", "new", "column", "message"),
    [
        ("4032", "many", "length", "'many' is not a whole number"),
        ("4032", "1.5", "length", "'1.5' is not a whole number"),
        ("4032", "inf", "length", "'inf' is not a whole number"),
        ("0.015", "much", "contamination", "'much' is not a number"),
        (",True,", ",perhaps,", "datetime_index", "'perhaps' is not True or False"),
        ("unsupervised", "unsupervized", "train_type", "not unsupervised, semi-supervised, supervised"),
        ("univariate,4032", "bivariate,4032", "input_type", "not univariate, multivariate"),
        ("4032,1,", "4032,,", "dimensions", "must not be empty"),
        ("4032,1,", "4032,0,", "dimensions", "at least one channel"),
        ("NAB,art_daily_no_noise,", "NAB,,", "dataset_name", "must not be empty"),
        (",,data-processed/univariate/NAB/art_daily_no_noise.test.csv", ",,", "test_path", "must not be empty"),
    ],
)
def test_a_malformed_cell_names_line_and_column(read, old, new, column, message):
    with pytest.raises(DatasetIndexError, match=message) as caught:
        read(OTHER, LINE.replace(old, new, 1))
    assert f"datasets.csv, line 3, column '{column}'" in str(caught.value)


def test_lines_of_another_width(read):
    with pytest.raises(DatasetIndexError, match="line 3: 23 values for 22 columns"):
        read(OTHER, LINE + ",more")
    with pytest.raises(
        DatasetIndexError, match="line 2: 3 values for 22 columns; the line ends at column 'train_path'"
    ):
        read("a,b,c")


def test_quoted_line_breaks_do_not_shift_line_numbers(read):
    broken = LINE.replace("4032", "many")
    with pytest.raises(DatasetIndexError, match="line 4, column 'length'"):
        read(OTHER.replace("real", '"re\nal"'), broken)


def test_unreadable_text(read, tmp_path):
    with pytest.raises(DatasetIndexError, match="not readable as comma-separated text"):
        read(LINE.replace("synthetic", '"synthetic'))
    path = tmp_path / "bytes.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(DatasetIndexError, match="not readable"):
        read_index(path)


def test_headers(read):
    with pytest.raises(DatasetIndexError, match="line 1: the column 'test_path' is missing"):
        read(header=HEADER.replace(",test_path", ""))
    with pytest.raises(DatasetIndexError, match="line 1: the column 'mean' appears twice"):
        read(header=f"{HEADER},mean")
    with pytest.raises(DatasetIndexError, match="line 1: the column 'collection_name' is missing"):
        read(header="")


def test_names_are_unique(read):
    with pytest.raises(DatasetIndexError, match=r"line 4.*is in line 2 already"):
        read(LINE, OTHER, LINE)


def test_names_that_look_like_nothing_are_names(read):
    frame = read(LINE.replace("NAB,art_daily_no_noise", "NA,None", 1))
    assert list(frame.index) == [("NA", "None")]


def test_the_later_of_two_records_counts():
    frame = frame_of([record(), record(length=5), record(dataset_name="a")])
    assert list(frame.index) == [("NAB", "a"), ("NAB", "art_daily_no_noise")]
    assert frame["length"].tolist() == [4032, 5]


def test_frames_are_joined_by_content(read):
    first = frame_of([record(), record(dataset_name="only first", period_size=3)])
    second = frame_of([record(length=5, train_path="x"), record(dataset_name="a")])
    joined = join_frames([first, second])
    assert list(joined.index) == [("NAB", "a"), ("NAB", "art_daily_no_noise"), ("NAB", "only first")]
    assert joined["length"].tolist() == [4032, 5, 4032]
    assert joined.loc[("NAB", "art_daily_no_noise"), "train_path"] == "x"
    assert joined["datetime_index"].dtype == bool
    pd.testing.assert_frame_equal(join_frames([frame_of([]), first]), first)


def test_a_failing_write_leaves_the_old_index(tmp_path, monkeypatch):
    path = tmp_path / "datasets.csv"
    write_index(frame_of([record()]), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_index(frame_of([]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_of_an_index_stay(tmp_path):
    path = tmp_path / "datasets.csv"
    write_index(frame_of([]), path)
    path.chmod(0o640)
    write_index(frame_of([record()]), path)
    assert path.stat().st_mode & 0o777 == 0o640
