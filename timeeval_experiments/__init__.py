"""What scripts written for TimeEval 1.5 know under this name: baselines, and the reader of algorithm manifests."""

from timeeval._gone import gone

__getattr__ = gone(
    __name__,
    {
        "algorithm_configurator": "the form of its configuration file is nowhere described. Use FullParameterGrid or "
        "IndependentParameterGrid with the algorithm's `param_schema`",
    },
)
