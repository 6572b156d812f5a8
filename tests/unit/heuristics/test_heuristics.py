import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from timeeval import Algorithm, TrainingType
from timeeval.adapters import FunctionAdapter
from timeeval.datasets import Dataset
from timeeval.heuristics import (
    AnomalyLengthHeuristic,
    CleanStartSequenceSizeHeuristic,
    ContaminationHeuristic,
    DatasetIdHeuristic,
    DefaultExponentialFactorHeuristic,
    DefaultFactorHeuristic,
    EmbedDimRangeHeuristic,
    HeuristicFallbackWarning,
    ParameterDependenceHeuristic,
    PeriodSizeHeuristic,
    RelativeDatasetSizeHeuristic,
    TimeEvalHeuristic,
    TimeEvalParameterHeuristic,
    inject_heuristic_values,
)
from timeeval.params import FixedParams, FullParameterGrid

DATASET = Dataset(
    datasetId=("collection", "name"),
    dataset_type="real",
    training_type=TrainingType.UNSUPERVISED,
    length=3000,
    dimensions=1,
    contamination=0.1,
    min_anomaly_length=2,
    median_anomaly_length=5,
    max_anomaly_length=9,
    period_size=10,
)
APERIODIC = replace(DATASET, period_size=None)
UNKNOWN = replace(DATASET, period_size=float("nan"))


def algorithm(**defaults):
    schema = {
        name: {"name": name, "defaultValue": value, "description": "", "type": type(value).__name__}
        for name, value in defaults.items()
    }
    return Algorithm("algorithm", FunctionAdapter.identity(), param_schema=schema)


ALGORITHM = algorithm(zero=0, one=1, tenth=0.1, five=5.0, fzero=0.0)


@pytest.fixture
def series(tmp_path):
    labels = np.zeros(3600, dtype=int)
    labels[2929] = 1
    path = tmp_path / "series.csv"
    lines = [f"{i},1.0,{label}" for i, label in enumerate(labels)]
    path.write_text("timestamp,value,is_anomaly\n" + "\n".join(lines) + "\n")
    return path


def value(heuristic, dataset=DATASET, path=Path("nowhere"), **kwargs):
    return heuristic(ALGORITHM, dataset, path, **kwargs)


@pytest.mark.parametrize(("agg", "expected"), [("min", 2), ("median", 5), ("max", 9)])
def test_anomaly_length(agg, expected):
    assert value(AnomalyLengthHeuristic(agg)) == expected
    assert type(value(AnomalyLengthHeuristic(agg))) is int


def test_anomaly_length_of_another_kind():
    with pytest.raises(ValueError, match="agg_type"):
        value(AnomalyLengthHeuristic("mean"))


@pytest.mark.parametrize(("factor", "expected"), [(0.1, 300), (1.0, 2929), (0.0, 0)])
def test_clean_start(series, factor, expected):
    assert value(CleanStartSequenceSizeHeuristic(factor), path=series) == expected


def test_a_series_without_anomalies_is_clean_throughout(tmp_path):
    path = tmp_path / "series.csv"
    path.write_text("timestamp,value,is_anomaly\n0,1.0,0\n1,1.0,0\n")
    assert value(CleanStartSequenceSizeHeuristic(0.5), path=path) == 1500


def test_contamination(series):
    assert value(ContaminationHeuristic(), path=series) == 1 / 3600


def test_dataset_id():
    assert value(DatasetIdHeuristic()) == ("collection", "name")


@pytest.mark.parametrize(
    ("heuristic", "parameter", "expected"),
    [
        (DefaultFactorHeuristic(2), "tenth", 0.2),
        (DefaultFactorHeuristic(2, zero_fb=10), "zero", 20),
        (DefaultFactorHeuristic(1.5), "one", 1),
        (DefaultFactorHeuristic(), "five", 5.0),
        (DefaultFactorHeuristic(3.0), "fzero", 3.0),
        (DefaultExponentialFactorHeuristic(2), "zero", 100.0),
        (DefaultFactorHeuristic(2.5), "zero", 2.5),
        (DefaultExponentialFactorHeuristic(2, zero_fb=10), "zero", 1000),
        (DefaultExponentialFactorHeuristic(1), "one", 10),
        (DefaultExponentialFactorHeuristic(-2), "five", 0.05),
        (DefaultExponentialFactorHeuristic(), "tenth", 0.1),
    ],
)
def test_defaults_are_scaled(heuristic, parameter, expected):
    result = value(heuristic, param_name=parameter)
    assert result == pytest.approx(expected)
    assert type(result) is type(expected)


@pytest.mark.parametrize("heuristic", [DefaultFactorHeuristic, DefaultExponentialFactorHeuristic])
def test_defaults_that_cannot_be_scaled(heuristic):
    with pytest.raises(ValueError, match="zero_fb"):
        heuristic(zero_fb=0)
    with pytest.raises(ValueError, match="Could not find the default value"):
        value(heuristic(), param_name="unknown")


@pytest.mark.parametrize(
    ("arguments", "dataset", "expected"),
    [
        ({}, DATASET, [5, 10, 15]),
        ({"base_factor": 2.0, "dim_factors": [1, 1.5]}, DATASET, [20, 30]),
    ],
)
def test_embed_dim_range(arguments, dataset, expected):
    assert value(EmbedDimRangeHeuristic(**arguments), dataset) == expected


def test_embed_dim_range_without_period():
    with pytest.warns(HeuristicFallbackWarning):
        assert value(EmbedDimRangeHeuristic(base_fb_value=10), APERIODIC) == [5, 10, 15]
    with pytest.warns(HeuristicFallbackWarning):
        assert value(EmbedDimRangeHeuristic(dim_factors=[1, 1.0, 2.5]), APERIODIC) == [50, 50, 125]


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 10), (2.0, 20), (0.25, 2)])
def test_period(factor, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value(PeriodSizeHeuristic(factor)) == expected


@pytest.mark.parametrize("dataset", [APERIODIC, UNKNOWN])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 1),
        ({"fb_value": 7, "factor": 3.0}, 7),
        ({"fb_anomaly_length_agg_type": "max", "factor": 2.0, "fb_value": 7}, 18),
        ({"fb_anomaly_length_agg_type": "nonsense", "fb_value": 7}, 7),
    ],
)
def test_period_is_not_known(dataset, arguments, expected):
    with pytest.warns(HeuristicFallbackWarning, match="not known"):
        assert value(PeriodSizeHeuristic(**arguments), dataset) == expected


def test_relative_size():
    assert value(RelativeDatasetSizeHeuristic()) == 300
    assert value(RelativeDatasetSizeHeuristic(0.33)) == 990


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 10), ({"factor": 2.5}, 25), ({"fn": lambda x: [x, x + 1]}, [10, 11])],
)
def test_dependence(arguments, expected):
    heuristic = ParameterDependenceHeuristic("other", **arguments)
    assert value(heuristic, params={"other": 10}, param_name="p") == expected


def test_dependence_that_cannot_be():
    with pytest.raises(ValueError, match="not both"):
        ParameterDependenceHeuristic("other", fn=abs, factor=1.0)
    with pytest.warns(HeuristicFallbackWarning, match="'other'"):
        assert value(ParameterDependenceHeuristic("other"), params={}, param_name="p") is None


def test_names_and_parameters():
    heuristic = PeriodSizeHeuristic(factor=2.0)
    assert heuristic.name == "PeriodSizeHeuristic"
    assert heuristic.parameters() == {"factor": 2.0, "fb_anomaly_length_agg_type": None, "fb_value": 1}
    assert PeriodSizeHeuristic.get_param_names() == ["factor", "fb_anomaly_length_agg_type", "fb_value"]
    assert ContaminationHeuristic.get_param_names() == []
    assert ContaminationHeuristic().parameters() == {}


def test_arguments_need_names():
    class Nameless(RelativeDatasetSizeHeuristic):
        def __init__(self, *args):
            super().__init__(*args)

    with pytest.raises(RuntimeError, match="names"):
        Nameless.get_param_names()


def test_the_base_is_abstract():
    with pytest.raises(TypeError):
        TimeEvalParameterHeuristic()


@pytest.mark.parametrize(
    ("signature", "kind", "parameters"),
    [
        ("PeriodSizeHeuristic(factor=2.0)", PeriodSizeHeuristic, {"factor": 2.0}),
        ("DatasetIdHeuristic()", DatasetIdHeuristic, {}),
        ("EmbedDimRangeHeuristic(dim_factors=[1, 2])", EmbedDimRangeHeuristic, {"dim_factors": [1, 2]}),
    ],
)
def test_heuristics_from_text(signature, kind, parameters):
    heuristic = TimeEvalHeuristic(signature)
    assert type(heuristic) is kind
    assert parameters.items() <= heuristic.parameters().items()


@pytest.mark.parametrize(
    "signature",
    [
        "Nothing()",
        "PeriodSizeHeuristic",
        "xPeriodSizeHeuristic()",
        "open('x')",
        "",
        "DatasetIdHeuristic(),DatasetIdHeuristic()",
    ],
)
def test_texts_that_are_no_heuristic(signature):
    with pytest.raises(ValueError, match=r"not (a|one) heuristic"):
        TimeEvalHeuristic(signature)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        TimeEvalHeuristic("PeriodSizeHeuristic(nonsense=1)")
    params = FixedParams({"a": "heuristic:PeriodSizeHeuristic(nonsense=1)"})
    with pytest.raises(TypeError, match=r"'algorithm'.*unexpected keyword argument"):
        inject_heuristic_values(params, ALGORITHM, DATASET, Path("nowhere"))


def test_injection(series):
    params = FixedParams(
        {
            "plain": 3,
            "text": "heuristics are fine",
            "after": "heuristic:ParameterDependenceHeuristic(source_parameter='period', fn=lambda x: x * 2)",
            "period": "heuristic: PeriodSizeHeuristic(factor=1.0) ",
            "one": "heuristic:DefaultFactorHeuristic(factor=4)",
            "share": "heuristic:ContaminationHeuristic()",
            "id": "heuristic:DatasetIdHeuristic()",
        }
    )
    before = dict(params)
    injected = inject_heuristic_values(params, ALGORITHM, DATASET, series)
    assert injected == {
        "plain": 3,
        "text": "heuristics are fine",
        "after": 20,
        "period": 10,
        "one": 4,
        "share": 1 / 3600,
        "id": ("collection", "name"),
    }
    assert params == before
    assert injected.uid() != params.uid()


def test_injection_into_a_grids_setting():
    params = FullParameterGrid({"a": ["heuristic:RelativeDatasetSizeHeuristic()"], "b": [[1]]})[0]
    injected = inject_heuristic_values(params, ALGORITHM, DATASET, Path("nowhere"))
    assert injected == {"a": 300, "b": [1]}
    injected["b"].append(2)
    assert params["b"] == [1]


def test_a_value_of_none_leaves_the_parameter_out():
    params = FixedParams({"a": "heuristic:ParameterDependenceHeuristic('nothing')", "b": 1})
    with pytest.warns(HeuristicFallbackWarning):
        assert inject_heuristic_values(params, ALGORITHM, DATASET, Path("nowhere")) == {"b": 1}


def test_settings_without_heuristics_are_returned_as_they_are():
    params = FixedParams({"a": 1})
    assert inject_heuristic_values(params, ALGORITHM, DATASET, Path("nowhere")) is params


def test_failures_are_chained():
    params = FixedParams({"a": "heuristic:DefaultFactorHeuristic()"})
    with pytest.raises(ValueError, match="'algorithm'") as caught:
        inject_heuristic_values(params, ALGORITHM, DATASET, Path("nowhere"))
    assert "default value" in str(caught.value.__cause__)
    with pytest.raises(ValueError, match="not a heuristic"):
        inject_heuristic_values(FixedParams({"a": "heuristic:Nothing()"}), ALGORITHM, DATASET, Path("nowhere"))
