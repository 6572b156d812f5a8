"""Small datasets and algorithms for the runner's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from timeeval import Algorithm, InputDimensionality
from timeeval.adapters import FunctionAdapter

INDEX = (
    "collection_name,dataset_name,train_path,test_path,dataset_type,datetime_index,split_at,train_type,train_is_normal,"
    "input_type,length,dimensions,contamination,num_anomalies,min_anomaly_length,median_anomaly_length,"
    "max_anomaly_length,mean,stddev,trend,stationarity,period_size"
)
LENGTH = 40


def write_series(path: Path, channels: int = 1, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(LENGTH, channels))
    labels = np.zeros(LENGTH, dtype=int)
    labels[20:23] = 1
    values[20:23] += 5
    names = ",".join(f"value_{i}" for i in range(channels))
    rows = (",".join([str(t), *(repr(float(v)) for v in values[t]), str(labels[t])]) for t in range(LENGTH))
    path.write_text(f"timestamp,{names},is_anomaly\n" + "\n".join(rows) + "\n")


def row(name: str, *, train: str = "", kind: str = "unsupervised", channels: int = 1, period: str = "12") -> str:
    dimension = "univariate" if channels == 1 else "multivariate"
    return (
        f"small,{name},{train},{name}.test.csv,synthetic,False,,{kind},{train != ''},{dimension},{LENGTH},{channels},"
        f"0.075,1,3,3,3,0,1,no trend,stationary,{period}"
    )


def deviation(values: np.ndarray, _: dict) -> np.ndarray:
    channels = np.asarray(values, dtype=float).reshape(len(values), -1)
    return np.abs(channels - np.median(channels, axis=0)).max(axis=1)


def algorithm(function: Callable = deviation, name: str | None = None, **fields: object) -> Algorithm:
    fields.setdefault("input_dimensionality", InputDimensionality.MULTIVARIATE)
    return Algorithm(name=name or function.__name__, main=FunctionAdapter(function), **fields)


def write_datasets(folder: Path) -> Path:
    folder.mkdir()
    lines = [INDEX, row("one"), row("two", period=""), row("multi", channels=2)]
    lines.append(row("trained", train="trained.train.csv", kind="semi-supervised"))
    (folder / "datasets.csv").write_text("\n".join(lines) + "\n")
    for number, name in enumerate(("one", "two", "trained")):
        write_series(folder / f"{name}.test.csv", seed=number)
    write_series(folder / "multi.test.csv", channels=2)
    write_series(folder / "trained.train.csv", seed=9)
    return folder
