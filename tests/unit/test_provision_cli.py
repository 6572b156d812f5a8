"""The command line: light to start, and every error in one line with its own exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "pandas",
    "numpy",
    "distributed",
    "dask",
    "docker",
    "sklearn",
    "asyncssh",
    "paramiko",
    "fabric",
    "tqdm",
    "pydantic",
}


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", "from provisioning.cli import main; main()", *args]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from provisioning.cli import group\n"
        "group.main(['--help'], standalone_mode=False)\n"
        "group.main(['up', '--help'], standalone_mode=False)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "sync-datasets" in done.stdout
    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert not HEAVY & loaded


def test_no_cluster_file_is_a_usage_error_with_its_remedy(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: there is no cluster.toml here or above; name one with --cluster, "
        "or write one with `timeeval-provision init HOST...`\n"
    )


def test_programs_are_told_of_errors_in_json_as_well(tmp_path: Path) -> None:
    done = run("check", "--json", cwd=tmp_path)
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert (told["schema"], told["kind"], told["exit_code"]) == ("timeeval.error/1", "UsageError", 2)
    assert "--cluster" in told["remedy"]


def test_an_unknown_host_is_a_usage_error(tmp_path: Path) -> None:
    run("init", "node[1-3].lab", "--name", "lab", cwd=tmp_path)
    (tmp_path / "cluster.toml").write_text(
        '[cluster]\nname = "x"\nhosts = ["node[1-3].lab"]\nresults = "/srv/results"\nknown_hosts = "known_hosts"\n'
    )
    done = run("sync-datasets", "--limit", "node9.lab", cwd=tmp_path)
    assert done.returncode == 2
    assert "node[1-3].lab" in done.stderr
    done = run("sync-datasets", cwd=tmp_path)
    assert done.returncode == 2
    assert "says nothing about datasets" in done.stderr


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    assert run("init", "node[1-3].lab", cwd=tmp_path).returncode == 0
    before = (tmp_path / "cluster.toml").read_text()
    assert "node[1-3].lab" in before
    again = run("init", "other", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert (tmp_path / "cluster.toml").read_text() == before
    assert "other" in run("init", "other", "-o", "-", cwd=tmp_path).stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_exit_codes_of_their_own(number: signal.Signals, code: int) -> None:
    program = (
        "import os, threading, provisioning.commands as commands, provisioning.cli as cli\n"
        # another thread may take the signal; the main one hears of it a moment later
        f"commands.carry_out = lambda *_: (os.kill(os.getpid(), {int(number)}), threading.Event().wait(60))\n"
        "import sys; sys.argv = ['timeeval-provision', 'check']; cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr


def test_an_experiment_that_fails_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(
        '[cluster]\nname = "x"\nhosts = ["a"]\nresults = "/srv/results"\nknown_hosts = "known_hosts"\n'
    )
    done = run("up", "--for", "nothing.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no experiment nothing.py" in done.stderr
