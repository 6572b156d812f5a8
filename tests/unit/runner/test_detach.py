"""Driver and terminal are two things: `timeeval-run --detach`, `timeeval-results watch` and `stop`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_data import write_datasets

from timeeval.errors import TimeEvalError
from timeeval.run import driver as drivers
from timeeval.run.driver import FILE_NAME, STOP_NAME, Driver

SCRIPT = """
import sys, time
from pathlib import Path
from timeeval import Algorithm, DatasetManager, TimeEval
from timeeval.adapters import FunctionAdapter

SECONDS, REPETITIONS = float(sys.argv[1]), int(sys.argv[2])

def slow(data, args):
    time.sleep(SECONDS)
    return data[:, 0].astype(float)

datasets = DatasetManager("data", create_if_missing=False)
print("hello from the script")
TimeEval(
    datasets, datasets.select(collection="small", dataset="one"), [Algorithm("slow", FunctionAdapter(slow))],
    repetitions=REPETITIONS, n_jobs=1,
).run()
print("goodbye")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a script and its data; drivers of it that are left are killed."""
    write_datasets(tmp_path / "data")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    yield tmp_path
    for file in tmp_path.glob(f"results/*/{FILE_NAME}"):
        driver = Driver.of(file.parent)
        if driver.exit_code is None and driver.lives:
            os.kill(driver.pid, signal.SIGKILL)


def command(name: str, *args: object) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), *map(str, args)]


def run(folder: Path, name: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *args), cwd=folder, capture_output=True, text=True, timeout=50, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def detached(folder: Path, seconds: float, repetitions: int) -> Path:
    done = run(
        folder, "timeeval-run", "script.py", "--detach", "--json", "--results", "results", "--", seconds, repetitions
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "timeeval.detached/1"
    return Path(answer["results"])


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_detached_run_belongs_to_no_terminal_and_is_watched_to_its_end(folder: Path) -> None:
    results = detached(folder, 0.3, 4)
    driver = Driver.of(results)
    fields = Path(f"/proc/{driver.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert fields[4] == "0", "it has no terminal"
    assert int(fields[2]) not in {os.getpgid(0), driver.pid}, "and cannot get one"

    watching = run(folder, "timeeval-results", "watch", results, "--json")

    lines = [json.loads(line) for line in watching.stdout.splitlines()]
    assert watching.returncode == 0, watching.stderr
    assert sorted(line["repetition"] for line in lines[:-1]) == [1, 2, 3, 4]
    assert lines[-1] == {"schema": "timeeval.run-end/1", "outcomes": {"ok": 4}, "exit_code": 0}
    log = results / "driver.log"
    assert log.stat().st_mode & 0o777 == 0o600
    text = log.read_text(encoding="utf-8")
    assert text.index("hello from the script") < text.index("goodbye")
    assert Driver.of(results).exit_code == 0


def test_all_evaluations_of_a_script_are_watched(folder: Path) -> None:
    body = SCRIPT[SCRIPT.index("TimeEval(\n") : SCRIPT.index('print("goodbye")')]
    second = body.replace('"slow"', '"second"')
    (folder / "script.py").write_text(SCRIPT + second, encoding="utf-8")
    results = detached(folder, 0.5, 3)

    watching = run(folder, "timeeval-results", "watch", results, "--json")

    lines = [json.loads(line) for line in watching.stdout.splitlines()]
    assert watching.returncode == 0, watching.stderr
    assert [line["algorithm"] for line in lines[:-1]] == ["slow"] * 3 + ["second"] * 3
    assert lines[-1]["outcomes"] == {"ok": 6}
    assert results.with_name(f"{results.name}-2").is_dir()


def test_a_start_that_fails_is_told_with_its_exit_code(folder: Path) -> None:
    done = run(folder, "timeeval-run", "script.py", "--detach", "--results", "results")

    assert done.returncode == 1
    assert "hello" not in done.stderr
    assert "IndexError" in done.stderr


def test_a_run_with_nothing_to_do_is_over_before_it_is_up(folder: Path) -> None:
    results = detached(folder, 0, 1)
    until(lambda: Driver.of(results).exit_code == 0)

    again = run(folder, "timeeval-run", "script.py", "--detach", "--resume", results, "--", "0", "1")

    assert again.returncode == 0, again.stderr
    assert "goodbye" in again.stdout


@pytest.mark.parametrize("how", [[], ["--now"]])
def test_stop_ends_a_detached_run_resumably(folder: Path, how: list[str]) -> None:
    results = detached(folder, 600 if how else 1, 50)
    if not how:
        until(lambda: '"outcome": "ok"' in run(folder, "timeeval-results", "show", results, "--json").stdout)

    stopped = run(folder, "timeeval-results", "stop", results, *how)

    assert stopped.returncode == 0, stopped.stderr
    assert "--resume" in stopped.stdout
    assert Driver.of(results).exit_code == 143
    watching = run(folder, "timeeval-results", "watch", results)
    assert watching.returncode == 143
    again = run(folder, "timeeval-results", "stop", results)
    assert again.returncode == 2
    assert "has ended already, with exit code 143" in again.stderr


def test_a_killed_driver_is_told_as_gone(folder: Path) -> None:
    results = detached(folder, 600, 2)
    os.kill(Driver.of(results).pid, signal.SIGKILL)
    until(lambda: not Driver.of(results).lives)

    watching = run(folder, "timeeval-results", "watch", results)
    stopped = run(folder, "timeeval-results", "stop", results)

    assert watching.returncode == 4
    assert "--resume" in watching.stderr
    assert stopped.returncode == 2
    assert "is gone" in stopped.stderr
    assert "--resume" in stopped.stderr


def written(folder: Path, **changes: object) -> Path:
    this = Driver.this()
    raw = {"host": this.host, "boot": this.boot, "pid": this.pid, "started": this.started, "exit_code": None}
    (folder / FILE_NAME).write_text(json.dumps({**raw, **changes}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("now", [False, True])
def test_a_driver_on_another_machine_is_stopped_by_what_both_see(
    folder: Path, monkeypatch: pytest.MonkeyPatch, now: bool
) -> None:
    results = detached(folder, 600 if now else 1, 50)
    if not now:
        until(lambda: '"outcome": "ok"' in run(folder, "timeeval-results", "show", results, "--json").stdout)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")  # here; the driver is where it was
    assert drivers.stop(results, now=now).exit_code == 143
    assert not (results / STOP_NAME).exists()


@pytest.mark.parametrize(
    "request_of",
    [
        lambda me: {"driver": [*me.name[:3], me.started + 1], "now": True},
        lambda me: {"driver": me.name},
        lambda _: ["stop"],
    ],
)
def test_what_asks_another_driver_to_stop_or_makes_no_sense_stops_nothing(
    tmp_path: Path, request_of: Callable[[Driver], object]
) -> None:
    me = Driver.this()
    (tmp_path / STOP_NAME).write_text(json.dumps({"driver": me.name, "now": False}), encoding="utf-8")
    assert drivers._asked_to_stop(tmp_path, me) == 1
    (tmp_path / STOP_NAME).write_text(json.dumps(request_of(me)), encoding="utf-8")
    assert drivers._asked_to_stop(tmp_path, me) == 0
    (tmp_path / STOP_NAME).unlink()
    (tmp_path / "real").write_text(json.dumps({"driver": me.name, "now": False}), encoding="utf-8")
    (tmp_path / STOP_NAME).symlink_to("real")
    assert drivers._asked_to_stop(tmp_path, me) == 0


def test_a_driver_elsewhere_that_does_not_answer_is_told_with_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "SILENT_SECONDS", -1.0)
    with pytest.raises(TimeEvalError, match=r"gives no sign of life(.|\n)*ssh elsewhere timeeval-results stop"):
        drivers.stop(written(tmp_path, host="elsewhere"), now=True)
    assert not (tmp_path / STOP_NAME).exists()


@pytest.mark.parametrize("changes", [{"started": 1}, {"boot": "another"}, {"pid": 2**22 + 1}])
def test_another_process_with_the_pid_of_the_driver_is_not_stopped(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(TimeEvalError, match="is gone"):
        drivers.stop(written(tmp_path, **changes), now=True)


def test_a_driver_elsewhere_goes_on_while_its_pulse_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, host="elsewhere")
    monkeypatch.setattr(drivers, "SILENT_SECONDS", -1.0)
    watched = drivers.Watched(tmp_path)

    with pytest.raises(TimeEvalError, match="no sign of life"):
        watched.ended()
    monkeypatch.setattr(drivers, "SILENT_SECONDS", 60.0)
    os.utime(tmp_path / FILE_NAME, (1.0, 2.0))
    assert watched.ended() is None
    written(tmp_path, host="elsewhere", exit_code=0)
    ended = watched.ended()
    assert ended is not None
    assert ended.exit_code == 0


def test_a_folder_without_a_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TimeEvalError, match="does not say who drives"):
        Driver.of(tmp_path)
    assert Driver.this().host == socket.gethostname()
