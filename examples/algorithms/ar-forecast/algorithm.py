"""Score points by the error of a one-step forecast; the autoregressive model is fitted to normal data.

Only the standard library: the model is the Yule-Walker solution by the Levinson-Durbin recursion.
"""

import csv
import json
import statistics
import sys


def read_series(path):
    """Return the first channel of a canonical CSV file; gaps take the value before them."""
    values = []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            values.append(float(row[1]) if row[1] else values[-1])
    return values


def autocovariance(series, order):
    """Return the biased autocovariances at lags 0..order."""
    n = len(series)
    mean = statistics.fmean(series)
    centred = [value - mean for value in series]
    return [sum(a * b for a, b in zip(centred, centred[lag:])) / n for lag in range(order + 1)]


def levinson_durbin(covariance):
    """Return the coefficients of lags 1..p and the variance of the forecast error."""
    error, coefficients = covariance[0], []
    for lag in range(1, len(covariance)):
        if error <= 0:
            break
        reflection = (covariance[lag] - sum(c * covariance[lag - i] for i, c in enumerate(coefficients, 1))) / error
        coefficients = [c - reflection * d for c, d in zip(coefficients, reversed(coefficients))] + [reflection]
        error *= 1 - reflection**2
    return coefficients, max(error, 1e-12)


def train(request):
    series = read_series(request["dataInput"])
    order = int(request["customParameters"].get("order", 12))
    coefficients, variance = levinson_durbin(autocovariance(series, order))
    model = {"mean": statistics.fmean(series), "coefficients": coefficients, "variance": variance}
    with open(request["modelOutput"], "w", encoding="utf-8") as file:
        json.dump(model, file)
    print(f"Fitted an AR({len(coefficients)}) model to {len(series)} points.")


def execute(request):
    with open(request["modelInput"], encoding="utf-8") as file:
        model = json.load(file)
    centred = [value - model["mean"] for value in read_series(request["dataInput"])]
    coefficients, scale = model["coefficients"], model["variance"] ** 0.5
    order = len(coefficients)
    scores = [0.0] * min(order, len(centred))
    for t in range(order, len(centred)):
        forecast = sum(c * centred[t - i] for i, c in enumerate(coefficients, 1))
        scores.append(abs(centred[t] - forecast) / scale)
    with open(request["dataOutput"], "w", encoding="utf-8") as file:
        file.writelines(f"{score!r}\n" for score in scores)
    print(f"Scored {len(scores)} points.")


def main():
    request = json.loads(sys.argv[1])
    if request["executionType"] == "train":
        train(request)
    else:
        execute(request)


if __name__ == "__main__":
    main()
