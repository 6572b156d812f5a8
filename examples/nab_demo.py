"""A benchmark as one writes it for TimeEval 1.5: three algorithms, seventeen datasets, two repetitions.

On a provisioned cluster: ``timeeval-run examples/nab_demo.py --cluster cluster.toml``.
On this machine alone: ``timeeval-run examples/nab_demo.py --local -- --functions-only --data examples/data/nab``.
Nothing in it knows where it runs.
"""

import argparse

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, InputDimensionality, TimeEval, TrainingType
from timeeval.adapters import DockerAdapter, FunctionAdapter
from timeeval.params import FixedParameters, FullParameterGrid
from timeeval.utils.window import ReverseWindowing


def rolling_median_distance(data: np.ndarray, args: dict) -> np.ndarray:
    """Distance of each point from the median of the points around it, in robust standard deviations, over channels."""
    channels = np.asarray(data, dtype=float).reshape(len(data), -1)
    window = args.get("window_size", 51) // 2 * 2 + 1
    padded = np.pad(channels, ((window // 2, window // 2), (0, 0)), mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=0), axis=-1)
    distance = np.abs(channels - around)
    spread = 1.4826 * np.median(distance, axis=0)
    return np.max(distance / np.where(spread > 0, spread, 1.0), axis=1)


def per_point(scores: np.ndarray, args: dict) -> np.ndarray:
    """Scores of windows -> scores of points."""
    return ReverseWindowing(window_size=args["hyper_params"].get("window_size", 50)).fit_transform(scores)


def algorithms(functions_only: bool) -> list[Algorithm]:
    chosen = [
        Algorithm(
            name="RollingMedian",
            main=FunctionAdapter(rolling_median_distance),
            param_config=FullParameterGrid({"window_size": [25, 101]}),
            input_dimensionality=InputDimensionality.MULTIVARIATE,
        )
    ]
    if not functions_only:
        chosen += [
            Algorithm(
                name="SubsequenceStats",
                main=DockerAdapter("timeeval-demo/subsequence-stats", tag="1"),
                postprocess=per_point,
                data_as_file=True,
                param_config=FixedParameters({"window_size": 50}),
            ),
            Algorithm(
                name="ARForecast",
                main=DockerAdapter("timeeval-demo/ar-forecast", tag="1"),
                data_as_file=True,
                param_config=FixedParameters({"order": 12}),
                training_type=TrainingType.SEMI_SUPERVISED,
            ),
        ]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", default="/srv/timeeval/data/nab", help="folder of the datasets, the same on every node"
    )
    parser.add_argument("--functions-only", action="store_true", help="only algorithms that need no Docker")
    options = parser.parse_args()

    datasets = DatasetManager(options.data, create_if_missing=False)
    timeeval = TimeEval(
        datasets,
        datasets.select(),
        algorithms(options.functions_only),
        repetitions=2,
        distributed=True,
        metrics=[DefaultMetrics.ROC_AUC, DefaultMetrics.PR_AUC, DefaultMetrics.RANGE_PR_AUC],
    )
    timeeval.run()
    print(timeeval.get_results(aggregated=True, short=True).to_string())


if __name__ == "__main__":
    main()
