"""Studies and the settings they draw: reproducible, told once, found again."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from timeeval import Algorithm, TrainingType
from timeeval.adapters import FunctionAdapter
from timeeval.datasets import Dataset
from timeeval.errors import StudyError
from timeeval.integration.optuna import OptunaConfiguration, OptunaLazyParams, OptunaStudyConfiguration
from timeeval.integration.optuna.module import _journal
from timeeval.integration.optuna.study import RUN, Study
from timeeval.metrics import DefaultMetrics
from timeeval.params import BayesianParameterSearch

SPACE = {
    "a": IntDistribution(0, 1000),
    "b": FloatDistribution(0.0, 1.0),
    "c": CategoricalDistribution([None, True, "x"]),
}
LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def storage():
    return functools.cache(optuna.storages.InMemoryStorage)


def config(storage, **fields) -> OptunaStudyConfiguration:
    fields.setdefault("sampler", optuna.samplers.RandomSampler(seed=3))
    return OptunaStudyConfiguration(n_trials=4, metric=DefaultMetrics.ROC_AUC, storage=storage, **fields)


def values(study: Study, count: int, start: int = 0) -> list[dict]:
    return [study.draw(f"s-{i}", i).params for i in range(start, start + count)]


def dataset(name: str = "data", collection: str = "c") -> Dataset:
    return Dataset((collection, name), "synthetic", TrainingType.UNSUPERVISED, 10, 1, 0.1, 1, 1, 1)


def algorithm(**fields) -> Algorithm:
    return Algorithm("alg", FunctionAdapter.identity(), **fields)


SAMPLERS = {
    "random": lambda: optuna.samplers.RandomSampler(seed=3),
    "tpe": lambda: optuna.samplers.TPESampler(seed=3, n_startup_trials=2),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=3, population_size=2),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_draws_the_same_values_again(name, storage):
    drawn = []
    for _ in range(2):
        study = Study("s", SPACE, config(functools.cache(optuna.storages.InMemoryStorage), sampler=SAMPLERS[name]()))
        drawn.append([])
        for i in range(6):
            trial = study.draw(f"s-{i}", i)
            drawn[-1].append(trial.params)
            study.tell(f"s-{i}", trial.params["b"])
    assert drawn[0] == drawn[1]
    assert len({json.dumps(params) for params in drawn[0]}) == 6


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(name, storage, tmp_path):
    def search(path, parts):
        found = []
        for number, indices in enumerate(parts):
            study = Study("s", SPACE, config(functools.partial(_journal, path), sampler=SAMPLERS[name]()))
            study.attach([f"r{i}" for i in range(number + 1)])
            for i in indices:
                found.append(study.draw(f"s-{i}", i).params)
                study.tell(f"s-{i}", found[-1]["b"])
        return found

    whole = search(tmp_path / "whole", [range(6)])
    assert search(tmp_path / "parts", [range(4), range(3, 6)]) == [*whole[:4], *whole[3:]]


def test_studies_that_share_a_sampler_do_not_share_its_numbers(storage):
    sampler = optuna.samplers.RandomSampler(seed=3)
    first, second = (Study(name, SPACE, config(storage, sampler=sampler)) for name in ("s", "t"))
    alone = values(Study("s", SPACE, config(functools.cache(optuna.storages.InMemoryStorage), sampler=sampler)), 2)
    mixed = [first.draw("s-0", 0).params, second.draw("t-0", 0).params, first.draw("s-1", 1).params]
    assert [mixed[0], mixed[2]] == alone
    assert mixed[0] != mixed[1]


def test_without_a_seed_values_differ(storage):
    drawn = [
        values(Study("s", SPACE, config(functools.cache(optuna.storages.InMemoryStorage), sampler=None)), 1)
        for _ in range(2)
    ]
    assert drawn[0] != drawn[1]


# --- telling ----------------------------------------------------------------------------------------------------------


def test_a_trial_is_told_once(storage):
    study = Study("s", SPACE, config(storage))
    study.draw("s-0", 0)
    study.tell("s-0", 0.7, node="node1")
    study.tell("s-0", 0.1, node="node2")
    study.tell("s-0", None)
    (trial,) = study.study.trials
    assert (trial.value, trial.state) == (0.7, TrialState.COMPLETE)
    assert trial.user_attrs["node"] == "node1"
    assert trial.user_attrs["uid"] == "s-0"


@pytest.mark.parametrize("value", [None, float("nan")])
def test_without_a_value_the_trial_failed(storage, value):
    study = Study("s", SPACE, config(storage))
    study.draw("s-0", 0)
    study.tell("s-0", value)
    assert [trial.state for trial in study.study.trials] == [TrialState.FAIL]


def test_a_setting_that_did_better_when_it_was_tried_again_is_told_as_a_trial_of_its_own(storage):
    study = Study("s", SPACE, config(storage))
    drawn = study.draw("s-0", 0).params
    study.tell("s-0", None)
    assert study.draw("s-0", 0).params == drawn
    study.tell("s-0", 0.5)
    study.tell("s-0", 0.6)
    assert [(t.state, t.params) for t in study.study.trials] == [
        (TrialState.FAIL, drawn),
        (TrialState.COMPLETE, drawn),
    ]
    assert study.study.best_value == 0.5


def test_a_killed_drivers_open_trial_keeps_its_values(storage):
    before = Study("s", SPACE, config(storage))
    before.attach(["r1"])
    drawn = before.draw("s-0", 0).params
    after = Study("s", SPACE, config(storage))
    after.attach(["r1", "r2"])
    assert after.draw("s-0", 0).params == drawn
    after.tell("s-0", 0.5)
    assert [trial.state for trial in after.study.trials] == [TrialState.COMPLETE]


def test_a_lost_study_is_made_again_from_what_the_journal_holds(storage):
    study = Study("s", SPACE, config(storage))
    study.attach(["r1", "r2"])
    known = {"a": 7, "b": 0.25, "c": None}
    study.tell("s-0", 0.9, node="n", hyper_params=json.dumps(known))
    study.tell("s-0", 0.9, node="n", hyper_params=json.dumps(known))
    study.tell("s-1", None, node="n", hyper_params=json.dumps({**known, "c": True}))
    study.tell("s-2", 0.1, node="n")
    assert [(t.params, t.value) for t in study.study.trials] == [(known, 0.9), ({**known, "c": True}, None)]
    assert study.draw("s-1", 1).params["c"] is True


# --- whose study it is ------------------------------------------------------------------------------------------------


def test_a_study_of_another_run_is_not_touched_unless_it_is_to_be_continued(storage):
    first = Study("s", SPACE, config(storage), {"algorithm": "alg"})
    first.attach(["r1"])
    first.draw("s-0", 0)
    first.tell("s-0", 0.5)
    second = Study("s", SPACE, config(storage))
    second.attach(["r2"])
    with pytest.raises(StudyError, match=r"holds a study 's' already.*continue_existing_study"):
        second.draw("s-0", 0)
    third = Study("s", SPACE, config(storage, continue_existing_study=True))
    third.attach(["r3"])
    third.draw("s-0", 0)
    third.tell("s-0", 0.75)
    trials = third.study.trials
    assert [(t.value, t.user_attrs[RUN]) for t in trials] == [(0.5, "r1"), (0.75, "r3")]
    assert third.study.user_attrs == {"algorithm": "alg", RUN: "r1"}


def test_a_study_in_which_nothing_was_drawn_is_taken_over(storage):
    optuna.create_study(study_name="s", storage=storage(), direction="maximize")
    study = Study("s", SPACE, config(storage))
    study.attach(["r1"])
    assert set(study.draw("s-0", 0).params) == set(SPACE)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_setting_knows_its_names_first_and_its_values_later(storage):
    params = OptunaLazyParams("s", 2, SPACE, config(storage))
    assert params.uid() == "s-2"
    assert list(params) == list(SPACE)
    assert len(params) == 3
    assert dict(params.items()) == dict.fromkeys(SPACE, "s-2")
    with pytest.raises(ValueError, match="not drawn yet"):
        params["a"]
    assert params.materialize() is params
    assert params.to_dict() == dict(params.items()) == {name: params[name] for name in SPACE}
    assert params.assess(LABELS, SCORES) == 0.75
    params.fail()
    assert [(t.value, t.state) for t in params._study.trials] == [(0.75, TrialState.COMPLETE)]


def test_a_setting_without_storage_cannot_be_drawn():
    with pytest.raises(ValueError, match="has no storage"):
        OptunaLazyParams("s", 0, SPACE, config(None)).materialize()


def test_settings_of_a_search_share_a_study_named_after_algorithm_and_dataset(storage):
    search = BayesianParameterSearch(config(None, direction="minimize"), SPACE)
    search.update_config(OptunaConfiguration(storage))
    settings = list(search.iter(algorithm(), dataset()))
    assert [params.uid() for params in settings] == [f"alg-data-{i}" for i in range(4)]
    assert len(search) == 4
    for params in settings:
        params.materialize()
        params.fail()
    (study,) = optuna.get_all_study_summaries(storage())
    assert study.user_attrs == {
        "algorithm": "alg",
        "dataset": "data",
        "metric": "ROC_AUC",
        "direction": "minimize",
        "includes_default_params": False,
    }
    assert study.n_trials == 4


def test_datasets_of_one_name_in_two_collections_have_studies_of_their_own(storage):
    search = BayesianParameterSearch(config(storage), SPACE)
    uids = [next(search.iter(algorithm(), dataset(collection=c))).uid() for c in ("one", "two", "one")]
    assert uids == ["alg-data-0", "alg-two-data-0", "alg-data-0"]


def test_the_algorithms_defaults_are_tried_first(storage):
    schema = {
        "a": {"name": "a", "type": "int", "defaultValue": 5, "description": ""},
        "b": {"name": "b", "type": "float", "defaultValue": 7.0, "description": "outside of the space"},
        "c": {"name": "c", "type": "boolean", "defaultValue": "True", "description": ""},
    }
    search = BayesianParameterSearch(config(storage), SPACE, include_default_params=True)
    settings = list(search.iter(algorithm(param_schema=schema), dataset()))
    assert len(search) == len(settings) == 5
    drawn = [params.materialize().to_dict() for params in settings]
    assert drawn[0]["a"] == 5
    assert drawn[0]["c"] is True
    assert 0 <= drawn[0]["b"] <= 1
    assert drawn[1]["a"] != 5


@pytest.mark.parametrize(
    ("space", "text"), [([SPACE], "not a dict of distributions"), ({"a": 3}, "'a'.*no distribution")]
)
def test_a_search_space_is_a_dict_of_distributions(space, text):
    with pytest.raises(TypeError, match=text):
        BayesianParameterSearch(config(None), space)


def test_what_a_setting_is_drawn_from_is_part_of_its_identity(storage):
    plain = OptunaLazyParams("s", 0, SPACE, config(storage)).description()
    json.dumps(plain)
    assert plain == OptunaLazyParams("s", 0, SPACE, config(None)).description()
    others = [
        OptunaLazyParams("s", 1, SPACE, config(storage)),
        OptunaLazyParams("s", 0, {**SPACE, "a": IntDistribution(0, 2)}, config(storage)),
        OptunaLazyParams("s", 0, SPACE, config(storage, direction="minimize")),
        OptunaLazyParams("s", 0, SPACE, replace(config(storage), metric=DefaultMetrics.PR_AUC)),
    ]
    assert all(params.description() != plain for params in others)
