"""Settings from the JSON file that TimeEval's experiment scripts use; what is expected is what TimeEval 1.5 makes."""

import json

import pytest

from timeeval import Algorithm
from timeeval.adapters import FunctionAdapter
from timeeval.params import FixedParameters, FullParameterGrid, IndependentParameterGrid
from timeeval_experiments.algorithm_configurator import AlgorithmConfigurator

EMPTY = {
    "fixed_params": {},
    "shared_params": {},
    "dependent_params": {},
    "optimized_params": {},
    "__heuristic_function_mapping": {"H": "DatasetIdHeuristic()"},
    "__algorithm_overwrites": {},
}
SHARED = {"shared_params": {"w": {"algorithms": ["B"], "search_space": [1, 2], "value": 5}}}
ALL = {
    "__algorithm_overwrites": {"A": {"w": 99}},
    "fixed_params": {"w": 1, "seed": 2},
    "shared_params": {
        "seed": {"algorithms": ["A"], "value": 3, "search_space": [4]},
        "f": {"algorithms": ["A"], "value": 3, "search_space": [4, 5]},
    },
    "optimized_params": {"f": {"A": [6, 7]}, "opt": [8, 9]},
    "dependent_params": {"opt": "H", "dep": "H"},
}
HEURISTIC = "heuristic:DatasetIdHeuristic()"


def algorithm(name="A", parameters=("w", "f", "seed", "opt", "dep"), **fields):
    schema = {key: {"name": key, "type": "int", "defaultValue": 1, "description": ""} for key in parameters}
    return Algorithm(name, FunctionAdapter.identity(), param_schema=schema, **fields)


@pytest.fixture
def configurator(tmp_path):
    def make(config, **options):
        path = tmp_path / "param-config.json"
        path.write_text(json.dumps({**EMPTY, **config}))
        return AlgorithmConfigurator(path, **options)

    return make


@pytest.mark.filterwarnings("ignore:A. nothing is configured")
@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({}, {}, [{}]),
        ({"fixed_params": {"seed": 7, "other": 1}}, {}, [{"seed": 7}]),
        ({"fixed_params": {"seed": 7}}, {"ignore_fixed": True}, [{}]),
        ({"fixed_params": {"seed": "default"}}, {}, [{}]),
        ({"fixed_params": {"seed": [1, 2]}}, {}, [{"seed": [1, 2]}]),
        ({"fixed_params": {"w": "H"}}, {}, [{"w": "H"}]),
        (SHARED, {}, [{"w": 5}]),
        (SHARED, {"ignore_shared": True}, [{"w": 1}, {"w": 2}]),
        (SHARED, {"ignore_shared": True, "perform_search": False}, [{}]),
        ({"shared_params": {"w": {"value": "default"}}}, {}, [{}]),
        ({"optimized_params": {"opt": {"A": [0.1, 0.2]}}}, {}, [{"opt": 0.1}, {"opt": 0.2}]),
        ({"optimized_params": {"opt": [0.1, 0.2]}}, {"perform_search": False}, [{}]),
        ({"optimized_params": {"opt": [0.1, 0.2]}}, {"ignore_optimized": True}, [{}]),
        ({"optimized_params": {"opt": "default"}}, {}, [{}]),
        ({"optimized_params": {"w": ["H", 3]}}, {}, [{"w": HEURISTIC}, {"w": 3}]),
        ({"optimized_params": {"w": [[1, 2], [3]]}}, {}, [{"w": [1, 2]}, {"w": [3]}]),
        (
            {"optimized_params": {"opt": [1, 2], "w": [3, 4]}},
            {},
            [{"opt": 1, "w": 3}, {"opt": 1, "w": 4}, {"opt": 2, "w": 3}, {"opt": 2, "w": 4}],
        ),
        ({"dependent_params": {"dep": "H"}}, {}, [{"dep": HEURISTIC}]),
        ({"dependent_params": {"dep": "H"}}, {"ignore_dependent": True}, [{}]),
        ({"__algorithm_overwrites": {"A": {"w": "H", "f": [1, 2], "seed": "default"}}, "fixed_params": {"seed": 1}}, {},
         [{"w": HEURISTIC, "f": [1, 2]}]),
        ({"__algorithm_overwrites": {"A": {"w": 99, "z": 1}}}, {}, [{"w": 99}]),
        ({"__algorithm_overwrites": {"A": {"w": 99}, "B": {"f": 1}}}, {"ignore_overwrites": True}, [{}]),
        ({"__algorithm_overwrites": {"A": {"w": None}}}, {}, [{"w": None}]),
        (ALL, {}, [{"dep": HEURISTIC, "f": 3, "opt": opt, "seed": 2, "w": 99} for opt in (8, 9)]),
        (ALL, {"perform_search": False}, [{"dep": HEURISTIC, "f": 3, "opt": HEURISTIC, "seed": 2, "w": 99}]),
        (ALL, {"ignore_shared": True},
         [{"dep": HEURISTIC, "f": f, "opt": opt, "seed": 2, "w": 99} for f in (4, 5) for opt in (8, 9)]),
    ],
)  # fmt: skip
def test_settings(configurator, config, options, expected):
    made = algorithm()
    configurator(config).configure([made], **options)
    assert type(made.param_config) is FullParameterGrid
    assert list(made.param_config) == expected


@pytest.mark.filterwarnings("ignore:A. nothing is configured")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"optimized_params": {"opt": [0.1, 0.2], "w": [1, 2]}}, [{"w": 1}, {"w": 2}, {"opt": 0.1}, {"opt": 0.2}]),
        ({"optimized_params": {"opt": [5], "w": [1, 2]}, "fixed_params": {"seed": [3]}},
         [{"opt": 5, "seed": (3,), "w": 1}, {"opt": 5, "seed": (3,), "w": 2}]),
        ({}, [{}]),
    ],
)  # fmt: skip
def test_independent_parameters(configurator, config, expected):
    made = algorithm()
    configurator(config).configure([made], assume_parameter_independence=True)
    assert type(made.param_config) is IndependentParameterGrid
    assert list(made.param_config) == expected


def test_what_is_not_configured_is_said(configurator):
    made, without = algorithm(parameters=("w", "seed")), algorithm("B", parameters=())
    with pytest.warns(UserWarning, match="default holds|left as it is") as caught:
        configurator({"fixed_params": {"seed": 7}}).configure([made, without])
    assert [str(one.message).split(":")[0] for one in caught] == ["A", "B"]
    assert "'w'" in str(caught[0].message)
    assert list(without.param_config) == [{}]


def test_defaults_leave_everything_as_it_is(configurator):
    before = FixedParameters({"w": 1})
    made = algorithm(param_config=before)
    configurator(ALL).configure([made], use_defaults=True)
    assert made.param_config is before


def test_one_algorithm_needs_no_list(configurator):
    made = algorithm(parameters=("w",))
    configurator(SHARED).configure(made)
    assert list(made.param_config) == [{"w": 5}]


@pytest.mark.parametrize(
    ("config", "options", "error", "text"),
    [
        ({"shared_params": {"w": {"value": [1]}}}, {}, ValueError, "Wrong format: 'value' of parameter 'w'"),
        ({"shared_params": {"w": {"value": 1, "search_space": "1-9"}}}, {"ignore_shared": True}, ValueError,
         "Wrong format: 'search_space' of parameter 'w'.*list"),
        ({"shared_params": {"w": {}}}, {}, KeyError, "value"),
        ({"optimized_params": {"w": 5}}, {}, ValueError, "Wrong format: 'A' of parameter 'w'.*list"),
        ({"optimized_params": {"w": {"B": [1]}}}, {}, KeyError, "no values for"),
        ({"dependent_params": {"w": "G"}}, {}, ValueError, "'G' is not a valid heuristic"),
        ({"dependent_params": {"w": ["H", 3]}}, {}, ValueError, "3 is not a valid heuristic"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_form(configurator, config, options, error, text):
    with pytest.raises(error, match=text):
        configurator(config).configure([algorithm(parameters=("w",))], **options)


@pytest.mark.parametrize("signature", ["Nothing()", "PeriodSizeHeuristic(nonsense=1)"])
def test_heuristics_are_checked(configurator, signature):
    config = {"__heuristic_function_mapping": {"bad": signature}}
    with pytest.raises(SyntaxError, match=r"invalid entries: bad: "):
        configurator(config)
    assert configurator(config, check=False).config_path.name == "param-config.json"


@pytest.mark.parametrize("key", EMPTY)
def test_all_keys_are_needed(tmp_path, key):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: value for name, value in EMPTY.items() if name != key}))
    with pytest.raises(KeyError, match=key):
        AlgorithmConfigurator(path)
    path.write_text(json.dumps({**EMPTY, key: []}))
    with pytest.raises(ValueError, match="must be an object"):
        AlgorithmConfigurator(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="no JSON object"):
        AlgorithmConfigurator(path)
