"""Metrics of scores that an earlier run stored: no algorithm runs again."""

from __future__ import annotations

import csv
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
    text = path.read_text(encoding="ascii", errors="replace")
    try:
        scores = np.array([float(line) for line in text.split()], dtype=np.float64)
    except ValueError as error:
        raise ScoresError(f"{path} does not hold scores: {error}") from error
    y_true = labels_of(labels)
    if len(y_true) != len(scores):
        raise ScoresError(f"{path} holds {len(scores)} scores for {len(y_true)} points")
    print(f"Computing {','.join(metrics)} of the stored scores")
    values, _ = compute_metrics(metrics, y_true.astype(np.int64), scores)
    write_metrics(folder / METRICS_CSV, {**_written(folder / METRICS_CSV), **values})
    return values


def _written(path: Path) -> dict[str, float]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file), None)
    except FileNotFoundError:
        return {}
    return {} if row is None else {name: float(text) if text else np.nan for name, text in row.items()}
