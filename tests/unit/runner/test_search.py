"""Evaluations whose parameters are searched: drawn on the driver, told once, resumed without a gap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from click.testing import CliRunner
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from small_data import algorithm, write_datasets

from timeeval import DefaultMetrics, Status, TimeEval
from timeeval.cli import run_command
from timeeval.errors import StudyError
from timeeval.integration.optuna import OptunaConfiguration, OptunaStudyConfiguration
from timeeval.params import BayesianParameterSearch, FullParameterGrid
from timeeval.params.params import SearchedParams
from timeeval.run.packing import Packer, decode
from timeeval.run.search import drawn, with_objectives
from timeeval.run.session import Session, local_place, opened

ONE = [("small", "one")]
SPACE = {"shift": FloatDistribution(-2.0, 2.0), "n": IntDistribution(0, 9)}

pytestmark = pytest.mark.usefixtures("kept_processes")


def shifted(data: np.ndarray, args: dict) -> np.ndarray:
    if args["n"] > 100:
        raise ValueError("too much")
    return np.abs(np.asarray(data, dtype=float)[:, 0] - args["shift"])


def search(trials: int = 4, space: dict = SPACE, **fields) -> BayesianParameterSearch:
    fields.setdefault("metric", DefaultMetrics.ROC_AUC)
    fields.setdefault("sampler", optuna.samplers.TPESampler(seed=1, n_startup_trials=2))
    return BayesianParameterSearch(OptunaStudyConfiguration(n_trials=trials, **fields), space)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def make(datasets, tmp_path):
    def build(config: BayesianParameterSearch, **options) -> TimeEval:
        options = {"results_path": tmp_path / "results", "disable_progress_bar": True, "n_jobs": 1, **options}
        algorithms = [algorithm(shifted, param_config=config), *options.pop("more", [])]
        return TimeEval(datasets, options.pop("ids", ONE), algorithms, **options)

    return build


def journal_of(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna-journal.log")))
    return optuna.load_study(study_name="shifted-one", storage=storage)


def test_each_trial_is_an_experiment_and_its_value_the_metric(make):
    timeeval = make(
        search(), more=[algorithm(shifted, "grid", param_config=FullParameterGrid({"shift": [0], "n": [1]}))]
    )
    timeeval.run()
    table = timeeval.results[timeeval.results["algorithm"] == "shifted"]
    assert list(timeeval.results["status"]) == [Status.OK] * 5
    assert list(table["hyper_params_id"]) == [f"shifted-one-{i}" for i in range(4)]
    trials = {trial.user_attrs["uid"]: trial for trial in journal_of(timeeval.results_path).trials}
    assert [trials[uid].params for uid in table["hyper_params_id"]] == [json.loads(p) for p in table["hyper_params"]]
    assert [trials[uid].value for uid in table["hyper_params_id"]] == list(table["ROC_AUC"])
    for uid, text in zip(table["hyper_params_id"], table["hyper_params"], strict=True):
        folder = timeeval.results_path / "shifted" / uid / "small" / "one" / "1"
        assert (folder / "hyper_params.json").read_text() == text
    (summary,) = timeeval.modules["optuna"].load_studies()
    assert summary.best_trial.value == table["ROC_AUC"].max()


def test_a_seed_makes_the_search_of_one_job_reproducible(make):
    tables = []
    for _ in range(2):
        timeeval = make(search())
        timeeval.run()
        tables.append(timeeval.results[["hyper_params", "ROC_AUC"]])
    pd.testing.assert_frame_equal(*tables)


def test_the_objective_is_computed_also_when_it_is_no_metric_of_the_evaluation(make):
    timeeval = make(search(1, metric=DefaultMetrics.PR_AUC), metrics=[DefaultMetrics.ROC_AUC])
    assert timeeval.metric_names == ["ROC_AUC", "PR_AUC"]
    timeeval.run()
    assert journal_of(timeeval.results_path).best_value == timeeval.results["PR_AUC"][0]
    same = [DefaultMetrics.ROC_AUC, DefaultMetrics.RANGE_PR_AUC]
    assert with_objectives(same, [DefaultMetrics.RANGE_PR_AUC, DefaultMetrics.FIXED_RANGE_PR_AUC] * 2) == [
        *same,
        DefaultMetrics.FIXED_RANGE_PR_AUC,
    ]


def test_repetitions_of_a_search_are_one(make, caplog):
    timeeval = make(search(2), repetitions=3)
    assert len(timeeval.exps) == 2
    assert "repetitions=3 becomes 1" in caplog.text


@pytest.mark.parametrize(("slots", "trials"), [(2, 8), (1, 14)])  # many short ones would go to a slot together
def test_no_more_settings_are_open_than_experiments_run(make, slots, trials):
    class Counting(InMemoryStorage):
        most = 0

        def create_new_trial(self, *args, **options):
            made = super().create_new_trial(*args, **options)
            open_ones = [t for t in self.get_all_trials(0) if t.state is TrialState.RUNNING]
            self.most = max(self.most, len(open_ones))
            return made

    storage = Counting()
    make(search(trials, storage=lambda: storage), n_jobs=slots).run()
    assert storage.most == slots
    assert [trial.state for trial in storage.get_all_trials(0)] == [TrialState.COMPLETE] * trials


def test_what_the_algorithm_did_wrong_is_a_failed_trial(make):
    timeeval = make(search(2, {**SPACE, "n": IntDistribution(200, 300)}))
    timeeval.run()
    assert list(timeeval.results["status"]) == [Status.ERROR] * 2
    assert [trial.state for trial in journal_of(timeeval.results_path).trials] == [TrialState.FAIL] * 2
    assert all(json.loads(text)["n"] >= 200 for text in timeeval.results["hyper_params"])


def test_nodes_see_nothing_of_the_study(make, tmp_path):
    timeeval = make(search(1, storage=InMemoryStorage))
    (experiment,) = timeeval.exps.cells()
    assert isinstance(experiment.params, SearchedParams)
    experiment.params.materialize()
    _, payload = decode(Packer(tmp_path).pack(drawn(experiment)))
    assert b"optuna" not in payload


def test_a_storage_that_fails_ends_the_run_and_resume_goes_on(make, tmp_path):
    class Breaking(InMemoryStorage):
        broken = False

        def set_trial_state_values(self, trial_id, state, values=None):
            if self.broken and trial_id == 2:
                raise OSError("no space left on device")
            return super().set_trial_state_values(trial_id, state, values)

    storage = Breaking()
    storage.broken = True
    timeeval = make(search(storage=lambda: storage))
    with pytest.raises(StudyError, match=r"telling the study 'shifted-one'.*OSError: no space left.*resume"):
        timeeval.run()
    assert list(timeeval.results["status"]) == [Status.OK] * 3

    storage.broken = False
    with opened(Session(local_place, resume=timeeval.results_path)):
        resumed = make(search(storage=lambda: storage))
        resumed.run()
    assert list(resumed.results["status"]) == [Status.OK] * 4
    trials = storage.get_all_trials(0)
    assert [trial.value for trial in trials] == list(resumed.results["ROC_AUC"])


def test_a_search_whose_storage_is_gone_is_resumed_from_the_journal(make):
    first = make(search(storage=InMemoryStorage))
    first.run()
    storage = InMemoryStorage()
    with opened(Session(local_place, resume=first.results_path)):
        more = make(search(5, storage=lambda: storage))
        more.run()
    assert len(more.results) == 5
    assert sorted(t.user_attrs["uid"] for t in storage.get_all_trials(0)) == [f"shifted-one-{i}" for i in range(5)]
    assert [json.loads(text) for text in more.results["hyper_params"]] == [t.params for t in storage.get_all_trials(0)]


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np, optuna
from optuna.distributions import FloatDistribution
from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.integration.optuna import OptunaStudyConfiguration
from timeeval.params import BayesianParameterSearch

folder = Path(sys.argv[1])

def shifted(data, args):
    with (folder / "calls").open("a") as file:
        file.write("x")
    while len((folder / "calls").read_text()) == 3 and (folder / "block").exists():
        time.sleep(0.02)
    return np.abs(np.asarray(data, dtype=float)[:, 0] - args["shift"])

config = OptunaStudyConfiguration(
    n_trials=5, metric=DefaultMetrics.ROC_AUC, sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=2)
)
searched = BayesianParameterSearch(config, {"shift": FloatDistribution(-2.0, 2.0)})
TimeEval(
    DatasetManager(folder / "data", create_if_missing=False), [("small", "one")],
    [Algorithm("shifted", FunctionAdapter(shifted), param_config=searched)],
    results_path=folder / "results", n_jobs=1, disable_progress_bar=True,
).run()
"""


@pytest.fixture
def run_here(monkeypatch):
    def run(folder: Path, *options: str) -> Path:
        monkeypatch.setattr(sys, "argv", [])
        monkeypatch.setattr(sys, "path", list(sys.path))
        arguments = [str(folder / "script.py"), *options, "--", str(folder)]
        done = CliRunner().invoke(run_command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        (results,) = (folder / "results").iterdir()
        return results

    return run


def kill_in_the_third_experiment(folder: Path) -> Path:
    """Run the script until its third setting is being tried; return the results folder that is left."""
    (folder / "block").touch()
    command = [sys.executable, "-c", "from timeeval.cli import run_main; run_main()", str(folder / "script.py"), "--"]
    with subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, cwd=folder) as process:
        while not (folder / "calls").exists() or len((folder / "calls").read_text()) < 3:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    (folder / "block").unlink()
    (results,) = (folder / "results").iterdir()
    return results


@pytest.mark.timeout(180)  # three drivers start one after the other
def test_kill_9_of_the_driver_tells_no_trial_twice_and_changes_no_draw(tmp_path, run_here):
    found = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        write_datasets(folder / "data")
        (folder / "script.py").write_text(SCRIPT)
        options = ("--resume", str(kill_in_the_third_experiment(folder))) if name == "killed" else ()
        results = run_here(folder, *options)
        found.append(pd.read_csv(results / "results.csv")[["hyper_params_id", "hyper_params", "status", "ROC_AUC"]])
        trials = journal_of(results).trials
        assert [trial.user_attrs["uid"] for trial in trials] == [f"shifted-one-{i}" for i in range(5)]
        assert [trial.value for trial in trials] == list(found[-1]["ROC_AUC"])
    pd.testing.assert_frame_equal(*found)


def test_draws_do_not_run_on_the_event_loop(make):
    threads = set()

    class Watched(optuna.samplers.RandomSampler):
        def sample_independent(self, *args, **options):
            threads.add(threading.current_thread().name)
            return super().sample_independent(*args, **options)

    make(search(2, sampler=Watched(seed=1)), module_configs={"optuna": OptunaConfiguration(InMemoryStorage)}).run()
    assert all(name.startswith("timeeval-journal") for name in threads)
    assert threads
