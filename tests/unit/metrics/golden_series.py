"""Series of exact decimals, the same with every numpy: labels and scores behind the values in golden.json."""

import numpy as np


def series(name):
    """Return labels (int64) and scores (float64) of `noise`, `waves`, `steps` or `short`."""
    n = 40 if name == "short" else 240
    state, noise = 12345 + len(name), []
    for _ in range(n):
        state = (1103515245 * state + 12345) % 2**31
        noise.append(state // 2**11 % 1000)
    position = np.arange(n)
    labels = ((position % 60 > 25) & (position % 60 < 34) | (position % 100 > 95)).astype(np.int64)
    noise = np.array(noise)
    if name == "waves":
        noise = np.abs(position % 37 - 18) * 40 + noise // 5
    if name == "steps":
        noise = noise // 250 * 250 + position // 80 * 50
    return labels, (noise + 200 * labels) / 1200
