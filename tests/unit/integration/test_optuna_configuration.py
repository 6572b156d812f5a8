"""What a user says of parameter searches, and the module that passes it on."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from types import SimpleNamespace

import optuna
import pytest

from timeeval.errors import MissingExtraError, StudyError
from timeeval.integration import TimeEvalModule
from timeeval.integration.optuna import OptunaConfiguration, OptunaModule, OptunaStudyConfiguration
from timeeval.integration.optuna.postgres import PostgresServer
from timeeval.integration.optuna.storage import guarded, open_storage, secrets_of
from timeeval.metrics import DefaultMetrics
from timeeval.params import BayesianParameterSearch

URL = "postgresql://me:s3cr%21t@db.example:5432/studies"


@pytest.fixture(autouse=True)
def optuna_logging():
    yield
    optuna.logging.enable_default_handler()
    optuna.logging.disable_propagation()
    optuna.logging.set_verbosity(optuna.logging.INFO)


def study_config(**fields) -> OptunaStudyConfiguration:
    return OptunaStudyConfiguration(n_trials=2, metric=DefaultMetrics.ROC_AUC, **fields)


def test_a_searchs_own_options_win_and_flags_are_joined():
    sampler, pruner = optuna.samplers.RandomSampler(1), optuna.pruners.NopPruner()
    general = OptunaConfiguration("sqlite://", sampler, pruner, continue_existing_studies=True)
    own = optuna.samplers.RandomSampler(2)
    updated = study_config(sampler=own, direction="minimize").update_unset_options(general)
    assert updated.storage == "sqlite://"
    assert updated.sampler is own
    assert updated.pruner is pruner
    assert updated.continue_existing_study
    assert updated.direction == "minimize"
    assert updated.copy(n_trials=7) == study_config(
        sampler=own, pruner=pruner, storage="sqlite://", continue_existing_study=True, direction="minimize"
    ).copy(n_trials=7)


def test_a_search_used_in_two_evaluations_takes_the_settings_of_each():
    search = BayesianParameterSearch(study_config(), {"a": optuna.distributions.IntDistribution(0, 3)})
    search.update_config(OptunaConfiguration("sqlite:///first"))
    search.update_config(OptunaConfiguration("sqlite:///second"))
    assert search.config.storage == "sqlite:///second"


@pytest.mark.parametrize("level", ["debug", "WARNING", logging.ERROR])
def test_log_level_takes_effect_at_once_and_later(level):
    number = level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]
    config = OptunaConfiguration("sqlite://", log_level=level)
    assert optuna.logging.get_verbosity() == number
    config.log_level = logging.CRITICAL
    assert optuna.logging.get_verbosity() == logging.CRITICAL
    with pytest.raises(ValueError, match="log_level='loud' is unknown"):
        config.log_level = "loud"


def test_optunas_messages_go_the_way_of_all_others_unless_its_handler_is_wanted():
    root = logging.getLogger("optuna")
    config = OptunaConfiguration("sqlite://")
    assert root.propagate
    own = type(optuna.logging._default_handler)
    assert not any(type(handler) is own for handler in root.handlers)
    config.use_default_logging = True
    assert not root.propagate
    assert any(type(handler) is own for handler in root.handlers)


@pytest.mark.parametrize("distributed", [True, False])
def test_no_database_is_the_default(distributed):
    assert OptunaConfiguration.default(distributed).default_storage == "journal-file"


def test_no_storage_at_all_is_refused():
    with pytest.raises(ValueError, match="default_storage is None"):
        OptunaModule(OptunaConfiguration(None))


@pytest.mark.parametrize(
    ("missing", "config", "remedy"),
    [
        ("optuna_dashboard", OptunaConfiguration("journal-file", dashboard=True), "pip install optuna-dashboard"),
        ("psycopg", OptunaConfiguration("postgresql"), r"pip install 'timeeval-cluster\[postgresql\]'"),
    ],
)
def test_what_is_not_installed_is_named_before_anything_is_started(missing, config, remedy, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingExtraError, match=remedy):
        OptunaModule(config).prepare(SimpleNamespace(results_path=tmp_path, run_id="r1"))
    assert list(tmp_path.iterdir()) == []


def test_an_engine_of_another_machine_gets_no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere.example:2376")
    with pytest.raises(StudyError, match="DOCKER_HOST names the engine of another machine"):
        PostgresServer("r1", tmp_path / "private").start()
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_a_module_and_leaves_the_users_configuration_alone():
    config = OptunaConfiguration(URL)
    module = OptunaModule(config)
    assert isinstance(module, TimeEvalModule)
    assert module.storage_url == URL
    assert module.config is not config
    assert OptunaModule(OptunaConfiguration("journal-file")).storage_url is None


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "secrets"),
    [
        (URL, ["s3cr%21t", "s3cr!t"]),
        ("mysql://u:p@ss@host/db", ["p@ss"]),
        ("mysql://u@host/db?ssl_password=key", ["key"]),
        ("sqlite:///file.db", []),
        (lambda: None, []),
    ],
)
def test_secrets_of_a_storage_are_known(storage, secrets):
    assert secrets_of(storage) == secrets


def test_no_error_and_no_representation_shows_a_password():
    with pytest.raises(StudyError) as caught, guarded(URL, "asking"):
        raise RuntimeError(f"cannot reach {URL}: password s3cr!t refused")
    assert "s3cr" not in str(caught.value)
    assert "***@db.example" in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cr" not in repr(OptunaConfiguration(URL))
    assert "s3cr" not in repr(study_config(storage=URL))


def test_a_storage_that_does_not_answer_is_one_error_with_a_remedy():
    with pytest.raises(StudyError, match=r"opening the storage of the parameter search failed.*resume the run"):
        open_storage("nodatabase://me:s3cret@host/db")


@pytest.mark.parametrize("word", ["journal-file", "postgresql"])
def test_words_for_the_default_storage_are_none_for_a_study(word):
    with pytest.raises(ValueError, match="unknown for a single study"):
        open_storage(word)


# --- Optuna is an extra -----------------------------------------------------------------------------------------------


def test_optuna_is_imported_when_a_search_is_made_and_missed_by_name():
    script = (
        "import sys\nsys.modules['optuna'] = None\n"
        "import timeeval.params, timeeval.integration.optuna, timeeval.timeeval\n"
        "from timeeval.params import BayesianParameterSearch\n"
        "from timeeval.integration.optuna import OptunaStudyConfiguration\n"
        "from timeeval.errors import MissingExtraError\n"
        "try:\n    BayesianParameterSearch(OptunaStudyConfiguration(1, None), {})\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "pip install 'timeeval-cluster[optuna]'" in done.stdout
