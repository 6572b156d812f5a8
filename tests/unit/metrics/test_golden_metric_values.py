"""Values that TimeEval 1.5.0 gives for the same series (fresh objects), computed with it once."""

import json
from pathlib import Path

import pytest
from golden_series import series

from timeeval import metrics
from timeeval.metrics import thresholding

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def make(name, arguments):
    arguments = dict(arguments)
    strategy = arguments.pop("thresholding_strategy", None)
    if strategy is not None:
        options = {"factor": 1.0} if strategy == "SigmaThresholding" else {}
        arguments["thresholding_strategy"] = getattr(thresholding, strategy)(**options)
    return getattr(metrics, name)(**arguments)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['series']}-{case['metric']}-{case['arguments']}")
def test_values_are_those_of_timeeval(case):
    metric = make(case["metric"], case["arguments"])
    assert metric(*series(case["series"])) == pytest.approx(case["value"], rel=0, abs=1e-12)


@pytest.mark.parametrize("name", ["noise", "waves", "steps", "short"])
def test_metrics_of_one_result_together_give_the_same(name):
    cases = [case for case in GOLDEN if case["series"] == name]
    outcomes = metrics.score_each([make(case["metric"], case["arguments"]) for case in cases], *series(name))
    assert outcomes == pytest.approx([case["value"] for case in cases], rel=0, abs=1e-12)
