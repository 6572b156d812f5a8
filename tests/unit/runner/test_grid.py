"""The grid: its order, its filters, its ids."""

from __future__ import annotations

import pytest
from small_data import algorithm

from timeeval import InputDimensionality, TrainingType
from timeeval.experiments import Experiments
from timeeval.params import FixedParameters, FullParameterGrid, IndependentParameterGrid
from timeeval.utils.hash_dict import hash_dict


@pytest.fixture
def grid_of(datasets, tmp_path):
    def make(algorithms, names=("one", "two", "multi", "trained"), **options):
        details = [datasets.get("small", name) for name in names]
        return Experiments(datasets, details, algorithms, tmp_path / "results", **options)

    return make


def cells(grid):
    return [(e.algorithm.name, e.dataset_name, e.params.to_dict(), e.repetition) for e in grid]


def test_order_is_algorithm_dataset_parameters_repetition(grid_of):
    a = algorithm(name="a", param_config=FullParameterGrid({"w": [1, 2]}))
    grid = grid_of([a, algorithm(name="b")], ("one", "two"), repetitions=2)
    assert cells(grid) == [
        *[("a", name, {"w": w}, n) for name in ("one", "two") for w in (1, 2) for n in (1, 2)],
        *[("b", name, {}, n) for name in ("one", "two") for n in (1, 2)],
    ]
    assert len(grid) == len(list(grid)) == 12
    assert len({e.name for e in grid}) == 12


UNI = algorithm(name="uni", input_dimensionality=InputDimensionality.UNIVARIATE)
MULTI = algorithm(name="multi")
SEMI = algorithm(name="semi", training_type=TrainingType.SEMI_SUPERVISED)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 12),
        ({"skip_invalid_combinations": True}, 3 + 4 + 1),
        ({"force_training_type_match": True}, 2 + 3 + 1),
        ({"force_dimensionality_match": True}, 3 + 1 + 0),
    ],
)
def test_filters(grid_of, options, expected):
    grid = grid_of([UNI, MULTI, SEMI], **options)
    assert len(grid) == len(list(grid.cells())) == expected


def test_training_files_are_found_only_where_they_are_used(grid_of):
    paths = {
        (e.algorithm.name, e.dataset_name): e.resolved_train_dataset_path and e.resolved_train_dataset_path.name
        for e in grid_of([UNI, SEMI], ("one", "trained")).cells()
    }
    assert paths == {
        ("uni", "one"): None,
        ("uni", "trained"): None,
        ("semi", "one"): None,
        ("semi", "trained"): "trained.train.csv",
    }


def test_ids_are_those_of_the_parameters_as_written(grid_of):
    written = {"w": "heuristic:PeriodSizeHeuristic(factor=1.0, fb_value=100)"}
    grid = grid_of([algorithm(name="a", param_config=FixedParameters(written))], ("one", "two"))
    with pytest.warns(UserWarning, match="period"):
        values = [(e.dataset_name, e.params.to_dict()) for e in grid]
    assert values == [("one", {"w": 12}), ("two", {"w": 100})]
    assert {e.params_id for e in grid.cells()} == {hash_dict(written)}
    assert [e.params.to_dict() for e in grid.cells()] == [written, written]


@pytest.mark.parametrize(
    ("text", "error"),
    [("Nothing()", ValueError), ("PeriodSizeHeuristic(x=1)", TypeError), ("PeriodSizeHeuristic(", ValueError)],
)
@pytest.mark.parametrize("kind", ["fixed", "full", "independent", "default"])
def test_heuristics_that_are_written_wrongly_are_refused_before_anything_is_read(grid_of, kind, text, error):
    value = f"heuristic:{text}"
    config = {
        "fixed": lambda: FixedParameters({"w": value}),
        "full": lambda: FullParameterGrid({"w": [1, value]}),
        "independent": lambda: IndependentParameterGrid({"w": [1, value]}),
        "default": lambda: IndependentParameterGrid({"w": [1, 2]}, {"v": value}),
    }[kind]()
    with pytest.raises(error, match=r"'heuristic:.* among the parameters of 'a' is wrong: "):
        grid_of([algorithm(name="a", param_config=config)])


def test_combinations_file(grid_of, tmp_path):
    file = tmp_path / "combinations.csv"
    file.write_text(
        "dataset,algorithm,collection,hyper_params_id,more\n"
        f"two,a,small,{hash_dict({'w': 2})},x\ntwo,a,other,{hash_dict({'w': 2})},x\n"
    )
    a = algorithm(name="a", param_config=FullParameterGrid({"w": [1, 2]}))
    grid = grid_of([a, algorithm(name="b")], experiment_combinations_file=file, repetitions=2)
    assert len(grid) == 2
    assert cells(grid) == [("a", "two", {"w": 2}, 1), ("a", "two", {"w": 2}, 2)]


def test_combinations_file_without_a_column_says_which(grid_of, tmp_path):
    file = tmp_path / "combinations.csv"
    file.write_text("algorithm,collection\n")
    with pytest.raises(ValueError, match="no column dataset, hyper_params_id"):
        len(grid_of([MULTI], experiment_combinations_file=file))


def test_counting_reads_no_dataset(grid_of, data):
    written = FixedParameters({"w": "heuristic:ContaminationHeuristic()"})
    grid = grid_of([algorithm(name="a", param_config=written)], ("one",))
    (data / "one.test.csv").unlink()
    assert len(grid) == 1
    with pytest.raises(ValueError, match="heuristic"):
        list(grid)
