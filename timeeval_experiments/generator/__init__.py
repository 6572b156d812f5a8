"""Reading the manifests of algorithm repositories; their functions come from `timeeval.algorithms`."""

from timeeval._gone import gone

__getattr__ = gone(
    __name__,
    {
        "AlgorithmGenerator": "algorithms are data here, not generated code. Use `python -m "
        "timeeval.algorithms.manifests FOLDER > catalogue.json` and timeeval.algorithms.load",
        "ParamConfigGenerator": "its spreadsheet is nowhere described. Use a file for "
        "timeeval_experiments.algorithm_configurator, or a parameter grid in the script",
    },
)
