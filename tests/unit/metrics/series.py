"""Series for property tests: labels with at least one anomaly and scores that are not all equal."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def scored_series(draw, max_size=60, normal_points=False):
    n = draw(st.integers(2, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros(n, dtype=np.int64)
    for _ in range(draw(st.integers(1, 6))):
        start = int(rng.integers(0, n))
        labels[start : start + int(rng.integers(1, 7))] = 1
    if normal_points and labels.all():
        labels[int(rng.integers(0, n))] = 0
    levels = draw(st.sampled_from([2, 3, 5, 1000]))
    scores = rng.integers(0, levels, n) / (levels - 1)
    if draw(st.booleans()):  # smooth scores have long predicted ranges
        scores = np.convolve(np.pad(scores, 2, mode="edge"), np.ones(5) / 5, "valid")
    if scores.min() == scores.max():
        scores[int(rng.integers(0, n))] += 0.5
    return labels, scores
