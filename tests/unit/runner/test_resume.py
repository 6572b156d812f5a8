"""Runs that are killed, interrupted and resumed; what is killed is the real command."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from small_data import write_datasets

from timeeval.cli import run_command
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import Outcome

SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from helper import middle
from timeeval import Algorithm, DatasetManager, TimeEval, InputDimensionality
from timeeval.adapters import FunctionAdapter
from timeeval.params import FullParameterGrid

def marked(data, args):
    here = Path(args["marks"])
    with (here / f"started-{args['n']}").open("a") as file:
        file.write("x")
    while args["n"] in (2, 3) and (here / "block").exists():
        time.sleep(0.02)
    if args["n"] == 0 and (here / "fail").exists():
        raise ValueError("failed")
    return middle(data)

folder = Path(sys.argv[1])
datasets = DatasetManager(folder / "data", create_if_missing=False)
grid = FullParameterGrid({"n": list(range(int(sys.argv[2]))), "marks": [str(folder)]})
timeeval = TimeEval(
    datasets, [("small", "one")],
    [Algorithm("marked", FunctionAdapter(marked), param_config=grid)],
    results_path=folder / "results", n_jobs=1, disable_progress_bar=True,
)
timeeval.run()
print("after the run:", len(timeeval.results))
"""
HELPER = "import numpy as np\ndef middle(data):\n    return np.abs(np.asarray(data, dtype=float)[:, 0])\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_datasets(tmp_path / "data")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(SCRIPT)
    (tmp_path / "script" / "helper.py").write_text(HELPER)
    return tmp_path


def command(folder: Path, *options: str, size: int = 4) -> list[str]:
    start = [sys.executable, "-c", "from timeeval.cli import run_main; run_main()"]
    return [*start, str(folder / "script" / "script.py"), *options, "--", str(folder), str(size)]


_started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _ended():
    """End what a failed test has left running: its pipe would be a warning in whichever test comes later."""
    yield
    while _started:
        process = _started.pop()
        with process:
            process.kill()


def start(folder: Path, *options: str, size: int = 4) -> subprocess.Popen:
    process = subprocess.Popen(
        command(folder, *options, size=size),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=True,
    )
    _started.append(process)
    return process


def has_handled(process: subprocess.Popen) -> str:
    """Wait until a signal has been answered: two at once are one to a process that has not seen the first yet."""
    said = ""
    for line in process.stdout:
        said += line
        if "once more stops them" in line:
            return said
    raise AssertionError(said)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def results(folder: Path) -> Path:
    (found,) = (folder / "results").iterdir()
    return found


def outcomes(folder: Path) -> list[Outcome | None]:
    with Journal.read(results(folder) / FILE_NAME) as journal:
        return [row.outcome for row in journal.rows()]


def starts(folder: Path) -> list[int]:
    return [len((folder / f"started-{n}").read_text()) for n in range(4)]


def processes_below(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.joinpath("cwd").readlink() == folder:
                    found.append(entry.name)
            except OSError:
                continue
    return found


def assert_nothing_runs_in(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while processes_below(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_below(folder) == []


def test_kill_9_of_the_driver_loses_nothing_and_resume_runs_the_rest(folder, run_here):
    (folder / "block").touch()
    first = start(folder)
    wait_for(folder / "started-2", first)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert_nothing_runs_in(folder)
    assert outcomes(folder) == [Outcome.OK, Outcome.OK, None, None]
    assert not (results(folder) / "results.csv").exists()

    (folder / "block").unlink()
    second = run_here("--resume", str(results(folder)))
    assert second.exit_code == 0, second.output
    assert "after the run: 4" in second.output
    assert starts(folder) == [1, 1, 2, 1]
    assert outcomes(folder) == [Outcome.OK] * 4
    table = pd.read_csv(results(folder) / "results.csv")
    assert list(table["status"]) == ["Status.OK"] * 4
    assert not (results(folder) / ".timeeval").exists()
    assert len(list(results(folder).glob("marked/*/small/one/1/metrics.csv"))) == 4


def test_an_outcome_that_was_kept_but_not_recorded_is_taken_in(folder, run_here):
    (folder / "block").touch()
    first = start(folder)
    wait_for(folder / "started-2", first)
    with Journal.read(results(folder) / FILE_NAME) as journal:
        ((attempt, _),) = journal.open_attempts()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    kept = results(folder) / ".timeeval" / "outcomes" / f"{attempt}.json"
    kept.parent.mkdir(exist_ok=True)
    report = {"attempt": attempt, "outcome": "ok", "host": "h", "started": 1.0, "ended": 2.0, "error": ""}
    rest = {"traceback": "", "hyper_params": "{}", "values": {"ROC_AUC": 0.25}, "cpu_seconds": None}
    kept.write_text(json.dumps({**report, **rest, "peak_memory": None}))
    (folder / "block").unlink()
    assert run_here("--resume", str(results(folder))).exit_code == 0
    assert starts(folder) == [1, 1, 1, 1]
    assert list(pd.read_csv(results(folder) / "results.csv")["ROC_AUC"])[2] == 0.25


def test_a_second_signal_stops_at_once_and_everything_finished_is_saved(folder, run_here):
    (folder / "block").touch()
    process = start(folder)
    wait_for(folder / "started-2", process)
    process.send_signal(signal.SIGINT)
    said = has_handled(process)
    assert process.poll() is None  # it drains
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=30)[0]
    assert process.returncode == 130, said
    assert f"--resume {results(folder)}" in said
    assert_nothing_runs_in(folder)
    assert outcomes(folder) == [Outcome.OK, Outcome.OK, Outcome.CANCELLED, None]
    table = pd.read_csv(results(folder) / "results.csv")
    assert list(table["status"]) == ["Status.OK", "Status.OK", "Status.ERROR"]
    assert table["error_message"][2].startswith("cancelled")

    (folder / "block").unlink()
    assert run_here("--resume", str(results(folder))).exit_code == 0
    assert outcomes(folder) == [Outcome.OK] * 4


def test_one_signal_lets_running_experiments_end(folder):
    (folder / "block").touch()
    process = start(folder)
    wait_for(folder / "started-2", process)
    process.send_signal(signal.SIGTERM)
    has_handled(process)
    (folder / "block").unlink()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert outcomes(folder) == [Outcome.OK, Outcome.OK, Outcome.OK, None]
    assert not (folder / "started-3").exists()


@pytest.fixture
def run_here(folder, monkeypatch, kept_processes):
    """The command within this process: for what needs no process of its own to be shown."""

    def run(*options: str, size: int = 4):
        monkeypatch.setattr(sys, "argv", [])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delitem(sys.modules, "helper", raising=False)
        importlib.invalidate_caches()
        arguments = [str(folder / "script" / "script.py"), *options, "--", str(folder), str(size)]
        return CliRunner().invoke(run_command, arguments, catch_exceptions=False)

    yield run
    sys.modules.pop("helper", None)


def test_failed_ones_are_tried_again_only_on_demand(folder, run_here):
    (folder / "fail").touch()
    assert run_here("--fail-on-error").exit_code == 64
    (folder / "fail").unlink()
    again = ("--resume", str(results(folder)))
    assert run_here(*again, "--fail-on-error").exit_code == 64
    assert starts(folder) == [1, 1, 1, 1]
    assert run_here(*again, "--retry-failed", "TIMEOUT").exit_code == 0
    assert starts(folder) == [1, 1, 1, 1]
    assert run_here(*again, "--retry-failed", "ERROR,OOM", "--fail-on-error").exit_code == 0
    assert starts(folder) == [2, 1, 1, 1]
    assert outcomes(folder) == [Outcome.OK] * 4


def test_a_grown_grid_computes_only_the_new_cells(folder, run_here):
    assert run_here(size=3).exit_code == 0
    grown = run_here("--resume", str(results(folder)), size=4)
    assert "after the run: 4" in grown.output
    assert starts(folder) == [1, 1, 1, 1]


def test_another_code_of_the_algorithm_is_another_execution(folder, run_here):
    assert run_here(size=1).exit_code == 0
    script = folder / "script" / "helper.py"
    script.write_text(script.read_text() + "\n# a comment changes nothing\n")
    run_here("--resume", str(results(folder)), size=1)
    assert (folder / "started-0").read_text() == "x"
    script.write_text(HELPER.replace("[:, 0]", "[:, 0] + 1"))
    run_here("--resume", str(results(folder)), size=1)
    assert (folder / "started-0").read_text() == "xx"
