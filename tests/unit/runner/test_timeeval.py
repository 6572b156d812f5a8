"""`TimeEval` as scripts know it: constructor, run, results, files."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_data import algorithm, deviation

from timeeval import (
    DefaultMetrics,
    InputDimensionality,
    RemoteConfiguration,
    ResourceConstraints,
    Status,
    TimeEval,
    TrainingType,
)
from timeeval.adapters import DockerAdapter, MultivarAdapter
from timeeval.durations import Duration
from timeeval.errors import EngineError, TimeEvalError
from timeeval.integration import TimeEvalModule
from timeeval.metrics import RangePrAUC, RangePrecision
from timeeval.params import FixedParameters, FullParameterGrid
from timeeval.utils.hash_dict import hash_dict

ONE = [("small", "one")]


pytestmark = pytest.mark.usefixtures("kept_processes")


@pytest.fixture
def make(datasets, tmp_path):
    def build(algorithms=None, ids=ONE, **options) -> TimeEval:
        options.setdefault("results_path", tmp_path / "results")
        options.setdefault("disable_progress_bar", True)
        return TimeEval(datasets, ids, [algorithm()] if algorithms is None else algorithms, **options)

    return build


# --- the constructor --------------------------------------------------------------------------------------------------


def docker(name: str = "d", **fields):
    made = algorithm(name=name, data_as_file=True, **fields)
    made.main = DockerAdapter("image")
    return made


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"ids": []}, "No datasets given"),
        ({"algorithms": []}, "No algorithms given"),
        ({"repetitions": 0}, "repetitions are not supported"),
        ({"n_jobs": -2}, "n_jobs.*not supported"),
        ({"experiment_combinations_file": Path("nowhere.csv")}, "file not found"),
        ({"remote_config": RemoteConfiguration(worker_hosts=[])}, "at least one worker"),
        ({"ids": [("small", "a"), ("small", "one"), ("b", "c")]}, "could not be found in DatasetManager.*a.*c"),
        (
            {"resource_constraints": ResourceConstraints(task_cpu_limit=0.5)},
            r"\['deviation'\] won't satisfy the specified resource constraints",
        ),
        (
            {"algorithms": [algorithm(training_type=TrainingType.SUPERVISED)]},
            "[nN]o [vV]alid [eE]xperiments",
        ),
    ],
)
def test_misuse_is_an_assertion_error(make, arguments, text):
    with pytest.raises(AssertionError, match=text):
        make(**arguments)


def test_the_first_problem_is_the_one_that_is_said(make):
    with pytest.raises(AssertionError, match="No datasets"):
        make([], [], repetitions=0)


def test_containers_take_all_limits_and_functions_all_but_that_of_cpus(make):
    limits = ResourceConstraints(tasks_per_host=1, task_memory_limit=5, task_cpu_limit=0.5)
    multivar = algorithm(name="m", data_as_file=True)
    multivar.main = MultivarAdapter(DockerAdapter("image"))
    make([docker(), multivar], resource_constraints=limits)
    make(resource_constraints=ResourceConstraints(execute_timeout=Duration("1 minute"), task_memory_limit=5))
    make(resource_constraints=ResourceConstraints(tasks_per_host=2))


def eats(data: np.ndarray, _: dict) -> np.ndarray:
    eaten = np.ones(1 << 27)  # 1 GiB
    time.sleep(30)  # it does not come to its end
    return data[:, 0] * eaten[0]


def test_a_function_that_takes_more_memory_than_it_may_is_oom(make):
    limits = ResourceConstraints(task_memory_limit=700 << 20)
    timeeval = make([algorithm(eats), algorithm()], resource_constraints=limits)
    timeeval.run()
    found = timeeval.results.set_index("algorithm")
    assert found.status.to_dict() == {"eats": Status.OOM, "deviation": Status.OK}
    assert "limit is" in found.error_message["eats"]


def test_local_evaluations_have_one_task_per_host(make, caplog):
    limits = ResourceConstraints(tasks_per_host=2)
    timeeval = make([docker()], resource_constraints=limits)
    assert timeeval.exps.resource_constraints is limits
    assert limits.tasks_per_host == 1
    assert "tasks_per_host" in caplog.text
    assert make([docker()], distributed=True, resource_constraints=ResourceConstraints(tasks_per_host=2)).exps
    assert make([docker()], distributed=True).exps.resource_constraints.tasks_per_host == 1


def test_two_metrics_of_one_name_have_a_column_each(make):
    timeeval = make(metrics=[DefaultMetrics.RANGE_PR_AUC, RangePrAUC(buffer_size=4)])
    timeeval.run()
    assert timeeval.metric_names == ["RANGE_PR_AUC", "RANGE_PR_AUC (RangePrAUC)"]
    assert timeeval.results[timeeval.metric_names].notna().all(axis=None)


def test_combinations_that_fit_to_nothing_are_named(make, tmp_path):
    file = tmp_path / "combinations.csv"
    file.write_text("algorithm,collection,dataset,hyper_params_id\nother,small,one,0\n")
    with pytest.raises(AssertionError, match=r"[nN]o [vV]alid [eE]xperiments.*combinations\.csv"):
        make(experiment_combinations_file=file)


def test_the_folder_is_logged(make, caplog):
    with caplog.at_level("INFO", logger="TimeEval"):
        timeeval = make()
    assert f"Results are recorded in the directory {timeeval.results_path}" in caplog.text


def test_failures_and_undefined_metrics_are_logged_on_the_driver(make, caplog):
    def failing(data, args):
        raise ValueError("no luck")

    timeeval = make([algorithm(failing), algorithm()], metrics=[DefaultMetrics.ROC_AUC, RangePrecision()])
    timeeval.run()
    (failed,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert re.match(r"failing on small/one \(repetition 1, .*\) ended with ERROR: ValueError\('no luck'\)", failed)
    assert "RANGE_PRECISION has no value for 1 of 1 experiments that ended well" in caplog.text
    assert "ROC_AUC has no value" not in caplog.text


def test_attributes_before_run(make, tmp_path):
    timeeval = make()
    assert timeeval.results_path.parent == tmp_path / "results"
    assert re.fullmatch(r"\d{4}(_\d\d){5}(_\d+)?", timeeval.results_path.name)
    assert timeeval.results_path.is_dir()
    assert list(timeeval.results.columns) == [*TimeEval.RESULT_KEYS, "ROC_AUC"]
    assert len(timeeval.results) == 0
    assert timeeval.metric_names == ["ROC_AUC"]
    assert timeeval.log.name == "TimeEval"
    assert Path("results") == TimeEval.DEFAULT_RESULT_PATH
    assert Path(timeeval.remote_config.dask_logging_filename).parent == timeeval.results_path
    assert [a.name for a in timeeval.exps.algorithms] == ["deviation"]
    assert [d.datasetId for d in timeeval.exps.datasets] == ONE


def test_two_evaluations_of_one_second_have_two_folders(make):
    assert len({make().results_path for _ in range(3)}) == 3


def test_the_users_remote_configuration_stays_his(make):
    mine = RemoteConfiguration(worker_hosts=["a"])
    make(remote_config=mine)
    assert mine == RemoteConfiguration(worker_hosts=["a"])


def test_status_values():
    assert [(status.name, status.value) for status in Status] == [("OK", 0), ("ERROR", 1), ("TIMEOUT", 2), ("OOM", 3)]
    assert str(Status.OOM) == "Status.OOM"


# --- a local run ------------------------------------------------------------------------------------------------------


def raises(data, args):
    raise ValueError("always")


def raises_the_third_time(data, args):
    if Path(args["marks"]).is_dir():
        for number in range(1, 100):  # two processes call it at a time: each call takes a number of its own
            try:
                Path(args["marks"], str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            if number == 3:
                raise ValueError("third")
            break
    return deviation(data, args)


def hangs(data, args):
    import time

    time.sleep(100)


def test_run_local(make, capsys, tmp_path):
    """One run with everything in it: a process start is what costs here."""
    marks = tmp_path / "marks"
    marks.mkdir()
    trained = algorithm(name="trained", training_type=TrainingType.SEMI_SUPERVISED)
    timeeval = make(
        [
            algorithm(param_config=FixedParameters({"a": 0})),
            algorithm(raises, param_config=FullParameterGrid({"w": [1, 2]})),
            algorithm(raises_the_third_time, param_config=FixedParameters({"marks": str(marks)})),
            algorithm(hangs),
            trained,
        ],
        [("small", "one"), ("small", "trained")],
        repetitions=2,
        n_jobs=2,
        metrics=[DefaultMetrics.ROC_AUC, DefaultMetrics.PR_AUC],
        resource_constraints=ResourceConstraints(execute_timeout=Duration("2 seconds")),
    )
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    timeeval.run()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    results = timeeval.results
    said = capsys.readouterr().out
    for text in ("Running PREPARE phase", "Running EVALUATION phase", "Running FINALIZE phase", "results.csv"):
        assert text in said

    # rows in the grid's order, whatever order they ended in
    assert list(results["algorithm"]) == [
        *["deviation"] * 4,
        *["raises"] * 8,
        *["raises_the_third_time"] * 4,
        *["hangs"] * 4,
        *["trained"] * 2,
    ]
    assert list(results["repetition"][:4]) == [1, 2, 1, 2]
    assert results["repetition"].dtype == np.int64
    assert list(results.columns[:12]) == [
        "algorithm",
        "collection",
        "dataset",
        "algo_training_type",
        "algo_input_dimensionality",
        "dataset_training_type",
        "dataset_input_dimensionality",
        "status",
        "error_message",
        "repetition",
        "hyper_params_id",
        "hyper_params",
    ]
    assert set(results.columns[12:]) == {
        "execute_main_time",
        "execute_preprocess_time",
        "execute_postprocess_time",
        "ROC_AUC",
        "PR_AUC",
        "train_main_time",
        "train_preprocess_time",
        "train_postprocess_time",
    }
    first = results.iloc[0]
    assert (first["algo_training_type"], first["dataset_training_type"]) == ("UNSUPERVISED", "UNSUPERVISED")
    assert (first["algo_input_dimensionality"], first["dataset_input_dimensionality"]) == ("MULTIVARIATE", "UNIVARIATE")
    assert (first["status"], first["error_message"], first["ROC_AUC"]) == (Status.OK, "", 1.0)
    assert (first["hyper_params"], first["hyper_params_id"]) == ('{"a": 0}', hash_dict({"a": 0}))

    by_algorithm = results.groupby("algorithm")["status"].agg(list)
    assert by_algorithm["raises"] == [Status.ERROR] * 8
    assert by_algorithm["hangs"] == [Status.TIMEOUT] * 4
    assert sorted(status.name for status in by_algorithm["raises_the_third_time"]) == ["ERROR", "OK", "OK", "OK"]
    failed = results[results["algorithm"] == "raises"].iloc[0]
    assert failed["error_message"] == "ValueError('always')"
    assert failed["hyper_params"] == '{"w": 1}'
    assert np.isnan(failed["ROC_AUC"])

    # results.csv
    path = timeeval.results_path
    table = pd.read_csv(path / "results.csv")
    assert list(table.columns) == list(results.columns)
    assert table.loc[0, "status"] == "Status.OK"
    assert table.loc[0, "ROC_AUC"] == 1.0

    # files: only finished names, nothing private left
    folder = path / "deviation" / hash_dict({"a": 0}) / "small" / "one" / "2"
    assert len(list(folder.iterdir())) == 5
    failed_folder = path / "raises" / hash_dict({"w": 1}) / "small" / "one" / "1"
    assert {file.name for file in failed_folder.iterdir()} == {"hyper_params.json", "execution.log"}
    assert not (path / ".timeeval").exists()
    assert {file.name for file in path.iterdir() if file.is_file()} == {
        *("results.csv", "run.json", "journal.sqlite", "journal.sqlite.lock"),
    }
    document = json.loads((path / "run.json").read_text())
    assert document["schema"] == "timeeval.run/1"
    assert document["runs"][0]["needs"]["datasets"][0]["ids"] == [["small", "one"], ["small", "trained"]]
    assert document["runs"][0]["driver"]["cores"] > 0

    # aggregation
    short = timeeval.get_results()
    assert list(short.index.names) == ["algorithm", "collection", "dataset"]
    assert list(short.columns) == [
        "ROC_AUC_mean",
        "PR_AUC_mean",
        "train_main_time_mean",
        "execute_main_time_mean",
        "repetitions",
    ]
    assert sorted(short["repetitions"]) == [1, 2, 2, 2, 2]
    long = timeeval.get_results(short=False)
    assert list(long.index.names) == ["algorithm", "collection", "dataset", "hyper_params_id"]
    assert long.loc[("deviation", "small", "one"), "ROC_AUC_std"].iloc[0] == 0.0
    assert list(long.columns[:2]) == ["ROC_AUC_mean", "PR_AUC_mean"]
    assert long.columns[-1] == "repetitions"
    assert timeeval.get_results(aggregated=False) is timeeval.results

    timeeval.save_results(tmp_path / "elsewhere.csv")
    assert len(pd.read_csv(tmp_path / "elsewhere.csv")) == len(results)


def test_no_metrics_no_columns_and_incompatible_rows(make):
    uni = algorithm(name="uni", input_dimensionality=InputDimensionality.UNIVARIATE)
    semi = algorithm(name="semi", training_type=TrainingType.SEMI_SUPERVISED)
    timeeval = make([uni, semi], [("small", "multi")], metrics=[], skip_invalid_combinations=False, n_jobs=1)
    timeeval.run()
    assert "ROC_AUC" not in timeeval.results
    assert list(timeeval.results["status"]) == [Status.ERROR, Status.ERROR]
    messages = list(timeeval.results["error_message"])
    assert re.search("input dimensionality.*incompatible", messages[0])
    assert re.search("training dataset.*not found", messages[1])


def test_what_cannot_travel_is_a_row_with_the_reason(make):
    import threading

    lock = threading.Lock()

    def locked(data, args):
        with lock:
            return data

    timeeval = make([algorithm(locked)])
    timeeval.run()
    assert list(timeeval.results["status"]) == [Status.ERROR]
    assert "cannot travel" in timeeval.results.loc[0, "error_message"]


def test_prepare_and_finalize_run_here_also_when_the_run_fails(make, monkeypatch):
    calls = []
    made = algorithm()
    monkeypatch.setattr(made.main, "get_prepare_fn", lambda: lambda: calls.append("prepare"), raising=False)
    monkeypatch.setattr(made.main, "get_finalize_fn", lambda: lambda: calls.append("finalize"), raising=False)
    timeeval = make([made])

    def broken(*_: object, **__: object):
        raise RuntimeError("the engine broke")

    monkeypatch.setattr("timeeval.engines.local.LocalEngine.start", broken)
    with pytest.raises(RuntimeError, match="the engine broke"):
        timeeval.run()
    assert calls == ["prepare", "finalize"]
    assert (timeeval.results_path / "results.csv").is_file()


def test_what_a_module_makes_of_the_results_is_saved(make):
    class Marks(TimeEvalModule):
        def post_run(self, timeeval):
            timeeval.results["marked"] = 1

    timeeval = make()
    timeeval.modules["marks"] = Marks()
    timeeval.run()
    assert list(pd.read_csv(timeeval.results_path / "results.csv")["marked"]) == [1]


@pytest.mark.parametrize(("failing", "done"), [("prepare", ["one"]), ("finalize", ["one", "two", "three"])])
def test_a_module_that_fails_keeps_no_other_from_being_finalized(make, failing, done):
    finalized = []

    class Module(TimeEvalModule):
        def __init__(self, name):
            self.name = name

        def prepare(self, timeeval):
            if (self.name, failing) == ("two", "prepare"):
                raise RuntimeError("two fails")

        def finalize(self, timeeval):
            finalized.append(self.name)
            if (self.name, failing) == ("two", "finalize"):
                raise RuntimeError("two fails")

    timeeval = make()
    timeeval.modules.update({name: Module(name) for name in ("one", "two", "three")})
    with pytest.raises(RuntimeError, match="two fails"):
        timeeval.run()
    assert sorted(finalized) == sorted(done)


def test_an_ignored_signal_stays_ignored_and_ends_nothing(make):
    """As under `nohup`, and for background jobs of a shell without job control."""

    def hangs_up(data, args):
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(args["driver"], number)
        return deviation(data, args)

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        timeeval = make([algorithm(hangs_up, param_config=FixedParameters({"driver": os.getpid()}))])
        timeeval.run()
        assert [signal.getsignal(number) for number in before] == [signal.SIG_IGN] * 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert list(timeeval.results["status"]) == [Status.OK]


def test_a_failing_preparation_ends_the_run(make, monkeypatch):
    made = algorithm()

    def fail() -> None:
        raise RuntimeError("no image")

    monkeypatch.setattr(made.main, "get_prepare_fn", lambda: fail, raising=False)
    with pytest.raises(RuntimeError, match="no image"):
        make([made]).run()


def test_two_experiments_of_one_name_are_refused(make):
    with pytest.raises(TimeEvalError, match="called same, small/one"):
        make([algorithm(deviation, "same"), algorithm(raises, "same")]).run()


def test_a_dataset_named_twice_is_computed_once_and_shown_twice(make, tmp_path):
    def counts(data, args):
        with (tmp_path / "count").open("a") as file:
            file.write("x")
        return deviation(data, args)

    timeeval = make([algorithm(counts)], [*ONE, *ONE], n_jobs=1)
    timeeval.run()
    assert list(timeeval.results["status"]) == [Status.OK] * 2
    assert (tmp_path / "count").read_text() == "x"


def test_a_distributed_evaluation_without_a_cluster_names_the_commands(make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timeeval.run.session.nearest_cluster_file", lambda: None)
    timeeval = make(distributed=True)
    with pytest.raises(EngineError, match="timeeval-provision init"):
        timeeval.run()
    assert not timeeval.results_path.exists()


def test_a_folder_in_use_is_refused_and_its_table_left_alone(make):
    from timeeval.errors import JournalError
    from timeeval.run.journal import FILE_NAME, Journal

    timeeval = make()
    (timeeval.results_path / "results.csv").write_text("precious")
    with Journal.open(timeeval.results_path / FILE_NAME), pytest.raises(JournalError, match="is being written by"):
        timeeval.run()
    assert (timeeval.results_path / "results.csv").read_text() == "precious"


def test_runs_within_a_running_event_loop(make):
    import asyncio

    async def notebook() -> TimeEval:
        timeeval = make(n_jobs=1)
        timeeval.run()
        return timeeval

    assert len(asyncio.run(notebook()).results) == 1


def test_the_journal_has_attempts_and_values(make):
    timeeval = make(n_jobs=1)
    timeeval.run()
    with sqlite3.connect(timeeval.results_path / "journal.sqlite") as connection:
        assert connection.execute("SELECT count(*), max(outcome) FROM attempt").fetchone() == (1, "ok")
        assert connection.execute("SELECT name, value FROM metric_value").fetchall() == [("ROC_AUC", 1.0)]
    connection.close()
