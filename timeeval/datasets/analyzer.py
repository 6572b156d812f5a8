"""Computing what is known about a dataset from its data."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from timeeval.datasets.locations import readable
from timeeval.datasets.metadata import (
    AnomalyLength,
    DatasetId,
    DatasetMetadata,
    DatasetMetadataEncoder,
    Stationarity,
    Trend,
    TrendType,
)
from timeeval.utils.datasets import load_dataset

if TYPE_CHECKING:
    from timeeval.datasets.datasets import Datasets

#: A polynomial counts as trend if it explains more than this share of the variance.
_TREND_R2 = 0.5
#: Significance level of the stationarity tests.
_ALPHA = 0.05

_log = logging.getLogger("DatasetAnalyzer")


class DatasetAnalyzer:
    """Analyzes one time series when it is made.

    Parameters
    ----------
    dataset_id
        Collection and name.
    is_train
        Whether it is the training series.
    df
        The series: time steps, channels, labels.
    dataset_path
        File of the series, if ``df`` is not given.
    dmgr
        Where to find the series, if neither ``df`` nor ``dataset_path`` is given.
    ignore_stationarity
        Leave out the stationarity tests: every channel counts as not stationary.
    ignore_trend
        Leave out the trends.

    Raises
    ------
    ValueError
        If no source of the data is given.
    """

    def __init__(  # noqa: PLR0917 - the signature scripts know
        self,
        dataset_id: DatasetId,
        is_train: bool,
        df: pd.DataFrame | None = None,
        dataset_path: str | Path | None = None,
        dmgr: "Datasets | None" = None,
        ignore_stationarity: bool = False,
        ignore_trend: bool = False,
    ) -> None:
        if df is None:
            if dataset_path is not None:
                df = load_dataset(readable(Path(dataset_path)))
            elif dmgr is not None:
                df = dmgr.get_dataset_df(dataset_id, train=is_train)
            else:
                msg = "One of df, dataset_path and dmgr must be supplied."
                raise ValueError(msg)
        channels = df.iloc[:, 1:-1]
        labels = df.iloc[:, -1].to_numpy()
        lengths = _anomaly_lengths(labels)
        values = {str(name): channels[name].to_numpy(dtype=np.float64) for name in channels}
        self._metadata = DatasetMetadata(
            dataset_id=dataset_id,
            is_train=is_train,
            length=len(df),
            dimensions=channels.shape[1],
            contamination=float(np.mean(labels == 1)) if len(labels) else 0.0,
            num_anomalies=len(lengths),
            anomaly_length=AnomalyLength(
                min=int(lengths.min()) if len(lengths) else 0,
                median=int(np.median(lengths)) if len(lengths) else 0,
                max=int(lengths.max()) if len(lengths) else 0,
            ),
            means={str(name): float(mean) for name, mean in channels.mean().items()},
            stddevs={str(name): float(stddev) for name, stddev in channels.std().items()},
            trends={} if ignore_trend else {name: find_trends(series) for name, series in values.items()},
            stationarities={
                name: Stationarity.NOT_STATIONARY if ignore_stationarity else find_stationarity(series)
                for name, series in values.items()
            },
        )

    @property
    def metadata(self) -> DatasetMetadata:
        """What was found out."""
        return self._metadata

    def save_to_json(self, filename: str | Path, overwrite: bool = False) -> None:
        """Add the metadata to a file that holds a list of them.

        Parameters
        ----------
        filename
            The file. What is in it but is no such list is moved to a file of the same name with ``.bak``.
        overwrite
            Forget what is in the file.
        """
        path = Path(filename)
        entries: list[Any] = []
        if path.exists() and not overwrite:
            entries = _load_entries(path)
            if not entries:
                backup = path.with_name(f"{path.name}.bak")
                _log.warning("%s is not a list of metadata; it is kept as %s.", path, backup)
                path.replace(backup)
        entries.append(self._metadata)
        text = json.dumps(entries, cls=DatasetMetadataEncoder, indent=2, sort_keys=True)
        path.write_text(f"{text}\n", encoding="utf-8")

    @staticmethod
    def load_from_json(filename: str | Path, train: bool = False) -> DatasetMetadata:
        """Load the metadata of the training or the test series from a file.

        Parameters
        ----------
        filename
            What `save_to_json` wrote.
        train
            Take the training instead of the test series.

        Raises
        ------
        ValueError
            If the file says nothing about it.
        """
        for entry in _load_entries(Path(filename)):
            if isinstance(entry, DatasetMetadata) and entry.is_train == train:
                return entry
        msg = f"{filename} says nothing about the {'training' if train else 'test'} series."
        raise ValueError(msg)


def find_trends(series: np.ndarray[Any, Any]) -> list[Trend]:
    """Find the polynomials that explain a channel.

    Parameters
    ----------
    series
        Shape (n,), dtype float.

    Returns
    -------
    list[Trend]
        For each order 1 to 3, the least-squares line of the series over (time step) to that power, if it explains more
        than half of the variance.
    """
    found = []
    steps = np.arange(len(series), dtype=np.float64)
    centred = series - series.mean() if len(series) else series
    variation = float(centred @ centred)
    for trend_type in TrendType:
        powers = steps**trend_type.value
        powers -= powers.mean() if len(powers) else 0.0
        spread = float(powers @ powers)
        if spread == 0 or not variation > 0:
            continue
        shared = float(powers @ centred)
        explained = shared * shared / (spread * variation)
        if explained > _TREND_R2:
            found.append(Trend(trend_type, coef=np.array([shared / spread]), confidence_r2=explained))
    return found


def find_stationarity(series: np.ndarray[Any, Any]) -> Stationarity:
    """Tell how stationary a channel is, by a test that says "not" and one that says "is".

    Parameters
    ----------
    series
        Shape (n,), dtype float.

    Returns
    -------
    Stationarity
        From the augmented Dickey-Fuller test (lags by AIC), whose rejection speaks for stationarity, and the KPSS test
        (level, automatic bandwidth), each at the 5 % level. A test that is not defined for the series counts as not
        rejected.
    """
    from timeeval.datasets.stationarity import adf_test, kpss_test

    rejected = []
    for test in (adf_test, kpss_test):
        try:
            rejected.append(test(series).p_value < _ALPHA)
        except (ValueError, np.linalg.LinAlgError) as error:
            _log.warning("%s is not defined for this series: %s", test.__name__, error)
            rejected.append(False)
    match rejected:
        case [True, True]:
            return Stationarity.STATIONARY
        case [True, False]:
            return Stationarity.DIFFERENCE_STATIONARY
        case [False, True]:
            return Stationarity.TREND_STATIONARY
        case _:
            return Stationarity.NOT_STATIONARY


def _anomaly_lengths(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Lengths of the maximal runs of equal labels that mark an anomaly."""
    if len(labels) == 0:
        return np.array([], dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    lengths = np.diff(np.r_[starts, len(labels)])
    anomalous: np.ndarray[Any, Any] = lengths[labels[starts].astype(bool)]
    return anomalous


def _load_entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_hook=DatasetMetadataEncoder.object_hook)
    except (ValueError, TypeError, KeyError):
        return []
    return entries if isinstance(entries, list) else []
