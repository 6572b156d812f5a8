"""The command lines: what they take, print and exit with."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_data import write_datasets

from timeeval import TimeEval
from timeeval.cli import results_command, run_command
from timeeval.errors import TimeEvalError
from timeeval.experiment_file import ExperimentFileError, read
from timeeval.run import session as sessions
from timeeval.run.journal import FILE_NAME
from timeeval.run.session import Session, local_place

SCRIPT = """
import sys
from timeeval import Algorithm, DatasetManager, TimeEval
from timeeval.adapters import FunctionAdapter
from my_algorithms import first_channel

datasets = DatasetManager("data", create_if_missing=False)
print("arguments:", sys.argv[1:])
for repetitions in map(int, sys.argv[1:]):
    timeeval = TimeEval(
        datasets, datasets.select(collection="small", dataset="one"),
        [Algorithm("first", FunctionAdapter(first_channel))], repetitions=repetitions, n_jobs=1,
        disable_progress_bar=True,
    )
    timeeval.run()
    print(timeeval.results_path.name, len(timeeval.results))
"""
ALGORITHMS = """
import numpy as np
import yaml
from timeeval import Algorithm
from timeeval.adapters import FunctionAdapter

def first_channel(data, args):
    yaml.safe_load("[1]")
    return np.abs(np.asarray(data, dtype=float)[:, 0])

def doubled(scores, args):
    return scores * 2

def made():
    return Algorithm("made", FunctionAdapter(first_channel))
"""
TOML = """
[experiment]
datasets = "data"
repetitions = 2
metrics = ["ROC_AUC", "timeeval.metrics:PrAUC"]
distributed = false

[[select]]
dataset = "one"
[[select]]
dataset = "two"

[[algorithm]]
name = "first"
function = "my_algorithms:first_channel"
postprocess = "my_algorithms:doubled"
parameters = { w = [1, 2], fixed = 3 }

[[algorithm]]
object = "my_algorithms:made"

[limits]
execute = "1 minute"
"""


pytestmark = pytest.mark.usefixtures("kept_processes")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_datasets(tmp_path / "data")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "my_algorithms.py").write_text(ALGORITHMS)
    (tmp_path / "experiment.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_algorithms", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_algorithms", None)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(run_command, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Missing argument"),
        (["nowhere.py"], "does not exist"),
        (["script.py", "--cluster", "nowhere.toml"], "does not exist"),
        (["script.py", "--cluster", "experiment.toml", "--local"], "exclude each other"),
        (["script.py", "--local", "--limit", "a"], "with --local there are none"),
        (["script.py", "--retry-failed", "ERROR"], "needs --resume"),
        (["script.py", "--resume", "data", "--retry-failed", "WRONG"], "knows ERROR, TIMEOUT, OOM, INFRA and ALL"),
        (["script.py", "--min-workers", "0"], "min-workers"),
        (["script.py", "--unknown"], "No such option"),
    ],
)
def test_usage_errors_exit_with_2(folder, arguments, text):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr


def test_the_nth_evaluation_has_the_nth_folder_also_when_resumed(folder):
    result = invoke("script.py", "--results", "out", "--json", "--", "1", "2")
    assert result.exit_code == 0, result.output
    summaries = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(s["number"], s["outcomes"], s["complete"]) for s in summaries] == [
        (1, {"ok": 1}, True),
        (2, {"ok": 2}, True),
    ]
    first, second = (Path(s["results"]) for s in summaries)
    assert first.parent == folder / "out"
    assert second.name == f"{first.name}-2"
    assert "arguments: ['1', '2']" in result.stderr

    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("metrics.csv")}
    again = invoke("script.py", "--resume", str(first), "--json", "--", "1", "2", "1")
    assert [Path(json.loads(line)["results"]).name for line in again.stdout.splitlines()] == [
        first.name,
        f"{first.name}-2",
        f"{first.name}-3",
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_resuming_what_is_no_results_folder(folder):
    result = invoke("script.py", "--resume", "data", "--", "1")
    assert result.exit_code == 2
    assert FILE_NAME in result.stderr


def test_needs_print_one_document_and_run_nothing(folder):
    result = invoke("script.py", "--needs", "--", "1", "2")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "timeeval.needs/1"
    assert document["datasets"] == [
        {"path": str(folder / "data"), "ids": [["small", "one"]], "files": ["one.test.csv"]}
    ]
    assert document["modules"] == ["yaml"]
    assert not (folder / "results").exists()


def test_script_errors(folder):
    (folder / "broken.py").write_text("raise RuntimeError('mine')")
    result = invoke("broken.py")
    assert result.exit_code == 1
    assert "RuntimeError: mine" in result.stderr
    (folder / "exits.py").write_text("import sys; sys.exit(7)")
    assert invoke("exits.py").exit_code == 7
    (folder / "interrupted.py").write_text("raise KeyboardInterrupt")
    assert invoke("interrupted.py").exit_code == 130
    (folder / "ours.py").write_text("from timeeval.errors import EngineError\nraise EngineError('gone', host='h')")
    result = invoke("ours.py")
    assert result.exit_code == 8
    assert "timeeval-run: h: gone" in result.stderr
    assert "Traceback" not in result.stderr


def test_experiment_file(folder):
    result = invoke("experiment.toml", "--local", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["outcomes"] == {"ok": 2 * 2 * 2 + 2 * 2}
    results = Path(summary["results"])
    assert results.parent == folder / "results"

    shown = CliRunner().invoke(results_command, ["show", str(results), "--json"])
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(rows) == 12
    assert {row["schema"] for row in rows} == {"timeeval.result/1"}
    assert all(row["host"] and row["status"] == "Status.OK" and row["attempts"] == 1 for row in rows)
    assert set(rows[0]["metrics"]) == {"ROC_AUC", "PR_AUC"}
    assert json.loads(rows[0]["hyper_params"]) == {"fixed": 3, "w": 1}

    for named in (results, results.parent):  # the folder of runs shows its latest
        table = CliRunner().invoke(results_command, ["show", str(named)])
        assert "12 ok; 1 hosts" in table.stdout


def test_experiment_file_with_containers(folder):
    (folder / "docker.toml").write_text(
        '[experiment]\ndatasets = ["data"]\n[[algorithm]]\nname = "d"\nimage = "registry:5000/team/image:2"\n'
        'training = "semi-supervised"\n[limits]\nmemory = 1000\ncpus = 0.5\n'
    )
    timeeval = read(folder / "docker.toml")
    assert isinstance(timeeval, TimeEval)
    (made,) = timeeval.exps.algorithms
    assert made.main.get_images() == ("registry:5000/team/image:2",)
    assert made.data_as_file
    assert timeeval.exps.resource_constraints.task_memory_limit == 1000
    assert timeeval.distributed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[experiment", "broken.toml"),
        ("[experiment]\ndatasets = 'data'\nunknown = 1\n[[algorithm]]\nname='a'\nfunction='m:f'", "experiment.unknown"),
        ("[experiment]\ndatasets = 'data'", "algorithm: Field required"),
        ("[experiment]\ndatasets = 'data'\n[[algorithm]]\nname='a'", "exactly one of function, image and object"),
        ("[experiment]\ndatasets = 'data'\n[[algorithm]]\nfunction='m:f'", "give it a name"),
        ("[experiment]\ndatasets = 'data'\n[[algorithm]]\nname='a'\nfunction='no_module:f'", "'no_module:f' cannot be"),
        ("[experiment]\ndatasets = 'data'\n[[algorithm]]\nobject='json:JSONDecoder'", "no Algorithm"),
        (
            "[experiment]\ndatasets = 'data'\nmetrics=['NOPE']\n[[algorithm]]\nobject='my_algorithms:made'",
            "metric 'NOPE' is unknown.*ROC_AUC",
        ),
        (
            "[experiment]\ndatasets = 'data'\n[limits]\ntrain='soon'\n[[algorithm]]\nobject='my_algorithms:made'",
            "limits: ",
        ),
    ],
)
def test_malformed_experiment_files(folder, text, message, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    (folder / "broken.toml").write_text(text)
    with pytest.raises(ExperimentFileError, match=message):
        read(folder / "broken.toml")


def test_showing_what_is_no_results_folder(folder):
    result = CliRunner().invoke(results_command, ["show", str(folder)])
    assert result.exit_code == 2
    assert "there is no run in" in result.stderr


def test_session_is_the_current_one_only_inside():
    session = Session(local_place)
    assert sessions.current() is None
    with sessions.opened(session):
        assert sessions.current() is session
    assert sessions.current() is None


def test_nearest_cluster_file(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "a" / "s.py"), raising=False)
    (tmp_path / "cluster.toml").touch()
    assert sessions.nearest_cluster_file() == tmp_path / "cluster.toml"
    (tmp_path / "a" / "b" / "cluster.toml").touch()
    assert sessions.nearest_cluster_file() == tmp_path / "cluster.toml"
    (tmp_path / "a" / "cluster.toml").touch()
    assert sessions.nearest_cluster_file() == tmp_path / "a" / "cluster.toml"


def test_a_folder_full_of_the_same_second(tmp_path, monkeypatch):
    from datetime import datetime as real

    class Frozen:
        @staticmethod
        def now() -> real:
            return real(2021, 1, 1)  # noqa: DTZ001

    monkeypatch.setattr(sessions, "datetime", Frozen)
    assert sessions.new_folder(tmp_path).name == "2021_01_01_00_00_00"
    assert sessions.new_folder(tmp_path).name == "2021_01_01_00_00_00_2"
    (tmp_path / "file").touch()
    with pytest.raises((TimeEvalError, OSError)):
        sessions.new_folder(tmp_path / "file")


def test_help_loads_nothing_heavy():
    code = (
        "import sys, timeeval.cli\n"
        "try:\n    timeeval.cli.run_command(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('pandas', 'numpy', 'distributed', 'docker', 'sklearn', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
