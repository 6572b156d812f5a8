"""Metrics of scores that an earlier run stored: no algorithm runs again."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from timeeval.constants import ANOMALY_SCORES_TS, METRICS_CSV
from timeeval.errors import ScoresError
from timeeval.experiment import compute_metrics, write_metrics
from timeeval.series import labels_of

if TYPE_CHECKING:
    from timeeval.metrics import Metric

LONGEST_METRICS = 1 << 20
LONGEST_NUMBER = 32
"""Bytes of a score in a file, its end of line included; Python writes 25 at most."""


def rescore(folder: Path, labels: Path, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Compute metrics of the scores in an experiment's folder and add them to its ``metrics.csv``.

    Parameters
    ----------
    folder : Path
        Holds ``anomaly_scores.ts``, the scaled scores.
    labels : Path
        The test file of the experiment's dataset.
    metrics : mapping of str to Metric
        What to compute, by column name.

    Returns
    -------
    dict
        Values of the metrics that did not fail, by column name; NaN where undefined.

    Raises
    ------
    ScoresError
        If the file is no list of scores for this dataset.
    OSError
        If it or the labels cannot be read.
    """
    path = folder / ANOMALY_SCORES_TS
    y_true = labels_of(labels)
    text = _text_of(path, LONGEST_NUMBER * (len(y_true) + 1))
    try:
        scores = np.array([float(line) for line in text.split()], dtype=np.float64)
    except ValueError as error:
        raise ScoresError(f"{path} does not hold scores: {error}") from error
    if len(y_true) != len(scores):
        raise ScoresError(f"{path} holds {len(scores)} scores for {len(y_true)} points")
    print(f"Computing {','.join(metrics)} of the stored scores")
    values, _ = compute_metrics(metrics, y_true.astype(np.int64), scores)
    write_metrics(folder / METRICS_CSV, {**_written(folder / METRICS_CSV), **values})
    return values


def _text_of(path: Path, most: int) -> str:
    """Read a file that may have come from elsewhere: a regular one, and no more of it than scores can be."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ScoresError(f"{path} is not a regular file")
        if facts.st_size > most:
            raise ScoresError(f"{path} has {facts.st_size} bytes, more than scores of this dataset can have ({most})")
        return file.read(most).decode("ascii", errors="replace")


def _written(path: Path) -> dict[str, float]:
    try:
        row = next(csv.DictReader(_text_of(path, LONGEST_METRICS).splitlines()), None)
    except FileNotFoundError:
        return {}
    return {} if row is None else {name: float(text) if text else np.nan for name, text in row.items()}
