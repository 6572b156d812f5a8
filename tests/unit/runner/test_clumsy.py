"""What people and machines do to a run that nobody plans: each is answered once, in words, with the right exit code."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from small_data import write_datasets

from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import Outcome

SCRIPT = """
import sys
import time
import numpy as np
from timeeval import Algorithm, DatasetManager, TimeEval
from timeeval.adapters import FunctionAdapter

def constant(data, args):
    return np.ones(len(data))

def slow(data, args):
    time.sleep(60)

names = sys.argv[1:] or ["constant"]
datasets = DatasetManager("data", create_if_missing=False)
timeeval = TimeEval(
    datasets, datasets.select(collection="small", dataset="one"),
    [Algorithm(name, FunctionAdapter(globals()[name.split("-")[0]])) for name in names], n_jobs=1,
)
timeeval.run()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_datasets(tmp_path / "data")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def command(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def run(folder: Path, *arguments: str, name: str = "timeeval-run", **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [command(name), *arguments], cwd=folder, capture_output=True, text=True, timeout=100, check=False, **options
    )


def results_of(folder: Path) -> Path:
    [path] = (folder / "results").iterdir()
    return path


def words(done: subprocess.CompletedProcess) -> str:
    """Return the one line in which a command says what is wrong."""
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("timeeval-run: ", "timeeval-results: "))]
    assert len(said) == 1, done.stderr
    return said[0]


@pytest.mark.parametrize("content", [b"x = [", b"\xff\xfe", b"[cluster]\nname = 3\n", b""])
def test_a_cluster_file_that_is_none_is_an_error_that_names_it(folder: Path, content: bytes) -> None:
    (folder / "cluster.toml").write_bytes(content)
    done = run(folder, "script.py", "--cluster", "cluster.toml")
    assert done.returncode == 2
    assert "cluster.toml" in words(done)
    assert not (folder / "results").exists()


def test_an_experiment_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "experiment.toml").write_bytes(b"\xff\xfe")
    done = run(folder, "experiment.toml")
    assert (done.returncode, "experiment.toml is not TOML" in words(done)) == (2, True)


def test_a_results_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    done = run(folder, "script.py", "--local", "--results", "/proc/results")
    assert done.returncode == 4
    assert "no results folder can be made in /proc/results: " in words(done)
    assert "--results" in words(done)


@pytest.mark.parametrize("body", ["import nowhere", "def (", "1 / 0"])
def test_a_scripts_traceback_is_its_own_part(folder: Path, body: str) -> None:
    (folder / "broken.py").write_text(f"{body}\n")
    done = run(folder, "broken.py")
    assert done.returncode == 1
    assert "broken.py" in done.stderr
    assert "Error" in done.stderr.splitlines()[-1]
    for ours in ("runpy", "timeeval"):
        assert ours not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_streams_that_are_not_there_or_full_stop_no_run(folder: Path, closed: str) -> None:
    line = f"exec {command('timeeval-run')} script.py --local {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(results_of(folder) / "results.csv")) == 1


def test_a_reader_that_goes_away_stops_no_run(folder: Path) -> None:
    with subprocess.Popen(
        [command("timeeval-run"), "script.py", "--local"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == 0, said
    assert b"Exception ignored" not in said
    assert (results_of(folder) / "results.csv").is_file()


def test_a_table_that_cannot_be_printed_is_said_in_one_line(folder: Path) -> None:
    run(folder, "script.py", "--local")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [command("timeeval-results"), "show", results_of(folder)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == "timeeval-results: its output could not be written: No space left on device\n"


@pytest.mark.parametrize("harm", [lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"x" * 9000)])
def test_resuming_a_journal_that_is_none_names_it_and_leaves_it(folder: Path, harm) -> None:
    run(folder, "script.py", "--local")
    path = results_of(folder)
    harm(path / FILE_NAME)
    before = (path / FILE_NAME).read_bytes()
    for done in (
        run(folder, "script.py", "--local", "--resume", str(path)),
        run(path, "show", ".", name="timeeval-results"),
    ):
        assert done.returncode == 2
        assert FILE_NAME in words(done)
        assert "journal" in words(done)
    assert (path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("name", ["../../../escaped", "/tmp/escaped", "..", ".", ".timeeval/attempts"])
def test_a_name_that_leads_out_of_the_results_folder_is_refused(folder: Path, name: str) -> None:
    index = folder / "data" / "datasets.csv"
    index.write_text(index.read_text().replace(",one,", f",{name},", 1))
    script = folder / "script.py"
    script.write_text(script.read_text().replace('dataset="one"', f"dataset={name!r}"))
    done = run(folder, "script.py", "--local")
    assert done.returncode == 2
    assert repr(name) in words(done)
    assert not list(folder.rglob("*escaped*"))


def test_names_may_be_any_text(folder: Path) -> None:
    name = "größe \x1b[2J/数据 'one\""
    index = folder / "data" / "datasets.csv"
    index.write_text(index.read_text().replace(",one,", ',"größe \x1b[2J/数据 \'one""",', 1))
    script = folder / "script.py"
    script.write_text(script.read_text().replace('dataset="one"', f"dataset={name!r}"))
    done = run(folder, "script.py", "--local")
    assert done.returncode == 0, done.stderr
    shown = run(folder, "show", "results", name="timeeval-results")
    assert "数据" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert pd.read_csv(results_of(folder) / "results.csv")["dataset"].tolist() == [name]


def test_two_runs_on_one_folder_do_not_meet(folder: Path) -> None:
    first = subprocess.Popen(
        [command("timeeval-run"), "script.py", "--local", "--", "constant", "slow"],
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_outcomes(folder, 1)
        second = run(folder, "script.py", "--local", "--resume", str(results_of(folder)), "--", "constant", "slow")
        assert second.returncode == 32
        assert f"is being written by process {first.pid} on " in words(second)
        assert "timeeval-results stop" in words(second)
    finally:
        first.kill()
        first.wait()


def test_what_a_killed_driver_recorded_is_exported_without_its_script(folder: Path) -> None:
    driver = subprocess.Popen(
        [command("timeeval-run"), "script.py", "--local", "--", "constant", "constant-2", "slow"],
        cwd=folder, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_outcomes(folder, 2)
    finally:
        driver.kill()
        driver.wait()
    assert not (results_of(folder) / "results.csv").exists()
    done = run(folder, "export", "results", name="timeeval-results")
    assert done.returncode == 0, done.stderr
    exported = pd.read_csv(results_of(folder) / "results.csv")

    resumed = run(folder, "script.py", "--local", "--resume", str(results_of(folder)), "--", "constant", "constant-2")
    assert resumed.returncode == 0, resumed.stderr
    pd.testing.assert_frame_equal(pd.read_csv(results_of(folder) / "results.csv"), exported)
    nowhere = run(folder, "export", "results", "-o", "/proc/table.csv", name="timeeval-results")
    assert nowhere.returncode == 4
    assert "/proc/table.csv could not be written" in words(nowhere)


def test_a_disk_that_fills_during_a_run_ends_it_in_one_line_and_resume_goes_on(folder: Path) -> None:
    def no_more_than() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (160_000, resource.RLIM_INFINITY))

    names = [f"constant-{number}" for number in range(60)]
    done = run(folder, "script.py", "--local", "--", *names, preexec_fn=no_more_than)
    assert done.returncode == 4
    assert f"{FILE_NAME} could not be written: " in words(done)
    assert "--resume" in words(done)
    resumed = run(folder, "script.py", "--local", "--resume", str(results_of(folder)), "--", *names)
    assert resumed.returncode == 0, resumed.stderr
    assert len(pd.read_csv(results_of(folder) / "results.csv")) == 60


def wait_for_outcomes(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        journals = list((folder / "results").glob(f"*/{FILE_NAME}")) if (folder / "results").exists() else []
        if journals:
            with Journal.read(journals[0]) as journal:
                if sum(row.outcome is Outcome.OK for row in journal.rows()) >= count:
                    return
        assert time.monotonic() < deadline
        time.sleep(0.1)
