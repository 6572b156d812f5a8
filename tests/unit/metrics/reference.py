"""Slow definitions of the metrics, written from the papers and the interface specification, to compare with."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np


def ranges(mask):
    """Maximal runs of true values as (start, end), end exclusive."""
    found, start = [], None
    for i, value in enumerate([*mask, 0]):
        if value and start is None:
            start = i
        if not value and start is not None:
            found.append((start, i))
            start = None
    return found


def roc_auc(labels, scores):
    positive = [s for s, y in zip(scores, labels, strict=True) if y]
    negative = [s for s, y in zip(scores, labels, strict=True) if not y]
    wins = sum(1.0 if p > q else 0.5 if p == q else 0.0 for p in positive for q in negative)
    return wins / (len(positive) * len(negative))


def _precision_recall_points(labels, scores):
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        predicted = scores >= threshold
        hits = int(np.sum(predicted & (labels == 1)))
        points.append((hits / int(labels.sum()), hits / int(predicted.sum())))
    return points


def pr_auc(labels, scores):
    points = [(0.0, 1.0), *_precision_recall_points(labels, scores)]
    return sum((r2 - r1) * (p1 + p2) / 2 for (r1, p1), (r2, p2) in pairwise(points))


def average_precision(labels, scores):
    points = [(0.0, 1.0), *_precision_recall_points(labels, scores)]
    return sum((r2 - r1) * p2 for (r1, _), (r2, p2) in pairwise(points))


def _weight(bias, i, length):
    if bias == "flat":
        return 1
    if bias == "front":
        return length - i + 1
    if bias == "back":
        return i
    return i if i <= length / 2 else length - i + 1


def _reward(own, others, alpha, cardinality, bias):
    start, end = own
    length = end - start
    total = sum(_weight(bias, i, length) for i in range(1, length + 1))
    overlaps, share = 0, Fraction(0)
    for low, high in others:
        inside = range(max(start, low), min(end, high))
        if inside:
            overlaps += 1
            share += Fraction(sum(_weight(bias, p - start + 1, length) for p in inside), total)
    if overlaps > 1 and cardinality == "reciprocal":
        share /= overlaps
    return alpha * (overlaps > 0) + (1 - alpha) * float(share)


def mean_reward(own, others, alpha=0.0, cardinality="reciprocal", bias="flat"):
    return sum(_reward(one, others, alpha, cardinality, bias) for one in own) / len(own)


def range_precision(labels, predictions, **options):
    return mean_reward(ranges(predictions), ranges(labels), **options)


def range_recall(labels, predictions, **options):
    return mean_reward(ranges(labels), ranges(predictions), **options)


def range_curve(labels, scores, max_samples, p_options, r_options):
    """Precision and recall at the sampled thresholds, ascending."""
    thresholds = sorted(set(scores.tolist()))[1:]
    if len(thresholds) > max_samples:
        sampled = thresholds[:: len(thresholds) // (max_samples - 1)]
        thresholds = sampled if sampled[-1] == thresholds[-1] else [*sampled, thresholds[-1]]
    return [
        (range_precision(labels, scores >= t, **p_options), range_recall(labels, scores >= t, **r_options))
        for t in thresholds
    ]


def top_k_ranges_threshold(scores, k):
    distinct = sorted(set(scores.tolist()), reverse=True)
    if len(distinct) < 3:
        return distinct[0]
    for candidate in distinct[1:-1]:
        if len(ranges(scores >= candidate)) >= k:
            return candidate
    return distinct[-2]


def _linear_extension(labels, slope):
    n = len(labels)
    extended = labels.astype(float)
    windows = []
    for start, end in ranges(labels):
        for j in range(slope + 1):
            value = 1 - (1 - 1 / np.sqrt(2)) * j / slope
            for position in (start - j, end - 1 + j):
                if 0 <= position < n:
                    extended[position] = max(extended[position], value)
        windows.append((max(0, start - slope), min(n, end + slope)))
    return extended, windows


def _root_extension(labels, slope, buffer):
    n = len(labels)
    extended = labels.astype(float)
    for start, end in ranges(labels):
        for x in range(end - 1, min(end - 1 + slope, n)):
            extended[x] += np.sqrt(1 - (x - (end - 1)) / buffer)
        for x in range(max(start - slope, 0), start):
            extended[x] += np.sqrt(1 - (start - x) / buffer)
    extended = np.clip(extended, 0, 1)
    return extended, [(start, end - 1) for start, end in ranges(extended > 0)]


def buffered_areas(labels, scores, buffer, *, compatible=False, max_samples=250):
    """Areas under the precision-recall and the ROC curve with extended labels."""
    n = len(labels)
    if buffer <= 1:
        extended = labels.astype(float)
        windows = [(start, end - 1) for start, end in ranges(labels)]
    elif compatible:
        extended, windows = _root_extension(labels, buffer // 2, buffer)
    else:
        extended, windows = _linear_extension(labels, buffer // 2)
    descending = np.sort(scores)[::-1]
    samples = 250 if compatible else min(max_samples, n)
    positives = (labels.sum() + extended.sum()) / 2
    recalls, rates, precisions = [0.0], [0.0], [1.0]
    for threshold in descending[np.linspace(0, n - 1, samples).astype(int)]:
        predicted = scores >= threshold
        hits = (extended * predicted).sum()
        found = np.mean([(extended * predicted)[start : end + 1].sum() > 0 for start, end in windows])
        recalls.append(min(hits / positives, 1) * found)
        rates.append(min((predicted.sum() - hits) / (n - positives), 1) if n > positives else float("nan"))
        precisions.append(hits / predicted.sum())
    pr = sum((r2 - r1) * (p1 + p2) / 2 for (r1, p1), (r2, p2) in pairwise(zip(recalls, precisions, strict=True)))
    roc = sum(
        (f2 - f1) * (r1 + r2) / 2 for (f1, r1), (f2, r2) in pairwise(zip([*rates, 1.0], [*recalls, 1.0], strict=True))
    )
    return pr, roc


def volumes(labels, scores, largest, **options):
    areas = [buffered_areas(labels, scores, buffer, **options) for buffer in range(largest + 1)]
    return tuple(np.mean(areas, axis=0))


def point_adjusted_f1(labels, predictions):
    adjusted = np.array(predictions, dtype=bool)
    for start, end in ranges(labels):
        if adjusted[start:end].any():
            adjusted[start:end] = True
    hits = int((adjusted & (labels == 1)).sum())
    return 2 * hits / (int(adjusted.sum()) + int(labels.sum()))


def affiliation(labels, predictions, cells=200):
    """Affiliation precision and recall by the midpoint rule, `cells` cells per point (an even number)."""
    n = len(labels)
    events = ranges(labels)
    borders = [0.0, *((a[1] + b[0]) / 2 for a, b in pairwise(events)), float(n)]
    time = (np.arange(n * cells) + 0.5) / cells
    is_predicted = np.repeat(np.array(predictions, dtype=bool), cells)
    precisions, recalls = [], []
    for (start, end), left, right in zip(events, borders[:-1], borders[1:], strict=True):
        in_zone = (time > left) & (time < right)
        zone = time[in_zone]
        predicted = time[in_zone & is_predicted]
        anomalous = zone[(zone > start) & (zone < end)]
        if len(predicted) == 0:
            recalls.append(0.0)
            continue

        def off(x, start=start, end=end):
            return np.maximum(np.maximum(start - x, x - end), 0)

        random_distance = np.sort(off(zone))
        at_least = 1 - np.searchsorted(random_distance, off(predicted) - 1e-9, side="left") / len(zone)
        precisions.append(at_least.mean())
        following = np.searchsorted(predicted, anomalous)
        distance = np.minimum(
            np.abs(predicted[np.minimum(following, len(predicted) - 1)] - anomalous),
            np.abs(predicted[np.maximum(following - 1, 0)] - anomalous),
        )
        # Share of the zone at least `distance` off, from the zone's extent on either side.
        length = np.maximum(anomalous - distance - left, 0) + np.maximum(right - anomalous - distance, 0)
        recalls.append((length / (right - left)).mean())
    return (float(np.mean(precisions)) if precisions else float("nan")), float(np.mean(recalls))
