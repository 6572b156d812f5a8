"""Score windows by how far their simple statistics lie from those of the other windows of the series.

The scores are one per window; `examples/nab_demo.py` turns them into one per point (`ReverseWindowing`).
"""

import json
import sys

import numpy as np


def window_statistics(series, window):
    """Return mean, standard deviation, slope and range of each window, shape (n - window + 1, 4)."""
    windows = np.lib.stride_tricks.sliding_window_view(series, window)
    time = np.arange(window) - (window - 1) / 2
    return np.column_stack(
        [windows.mean(axis=1), windows.std(axis=1), windows @ time / (time @ time), np.ptp(windows, axis=1)]
    )


def score(series, window):
    """Return the largest robust z-score of each window's statistics."""
    statistics = window_statistics(series, min(window, len(series)))
    distance = np.abs(statistics - np.median(statistics, axis=0))
    spread = 1.4826 * np.median(distance, axis=0)
    spread[spread == 0] = 1.0
    return (distance / spread).max(axis=1)


def main():
    request = json.loads(sys.argv[1])
    if request["executionType"] == "train":
        print("Nothing to train: this algorithm is unsupervised.")
        return
    table = np.genfromtxt(request["dataInput"], delimiter=",", skip_header=1, usecols=1)
    series = np.nan_to_num(table, nan=float(np.nanmean(table)))
    window = int(request["customParameters"].get("window_size", 50))
    np.savetxt(request["dataOutput"], score(series, window), delimiter=",")
    print(f"Scored {len(series)} points in windows of {window}.")


if __name__ == "__main__":
    main()
