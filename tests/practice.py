"""What the tests on the practice cluster share; a folder of them takes its fixtures in its own conftest.

Every test here runs against real nodes. A cluster that cannot start fails each test; none is ever skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioning.errors import UsageError
from provisioning.sandbox.cluster import Sandbox
from provisioning.sandbox.lifecycle import up
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import Outcome

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".sandbox"
EXPERIMENTS = Path(__file__).parent / "sandbox" / "experiments"
IMAGES = Path(__file__).parent / "sandbox" / "images"
SECONDS = 300
NODES = ("node1", "node2", "node3")


def mark(items: list[pytest.Item], folder: Path) -> None:
    """Mark the tests of a folder as ones that need the practice cluster, each with its time."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker("sandbox")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS))


def _consent(count: int) -> None:
    if os.geteuid() != 0:
        raise UsageError(f"{count} node(s) are to be started first", remedy="`timeeval-provision sandbox up` asks you")


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other test sessions off the nodes: one would mend what another has harmed on purpose."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "tests.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The practice cluster of this clone, started when it is not."""
    with _alone():
        up(FOLDER, nodes=None, consent=_consent, say=lambda line: print(line, file=sys.stderr))
    return Sandbox.load(FOLDER)


@pytest.fixture(scope="session")
def cluster_file(sandbox: Sandbox) -> Path:
    """The cluster file that the sandbox wrote."""
    return sandbox.cluster_file


@pytest.fixture
def cluster_variant(cluster_file: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Path]]:
    """Give a function that writes a changed copy beside the cluster file, so that its relative paths still hold.

    ``cluster_variant({"old text": "new text"}, append="…")``; an old text that is not in the file fails the test.
    """
    made: list[Path] = []

    def write(replace: dict[str, str] | None = None, append: str = "") -> Path:
        text = cluster_file.read_text(encoding="utf-8")
        for old, new in (replace or {}).items():
            assert old in text, f"{old!r} is not in {cluster_file}"
            text = text.replace(old, new)
        path = cluster_file.with_name(f"test-{os.getpid()}-{len(made)}.toml")
        path.write_text(text + append, encoding="utf-8")
        made.append(path)
        return path

    yield write
    for path in made:
        path.unlink()


@dataclass
class Commands:
    """The project's commands as processes of their own, each with a time budget.

    Parameters
    ----------
    folder : Path
        Where they are run.
    """

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @staticmethod
    def argv(command: str, *args: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name(command)), *map(str, args)]

    def run(self, command: str, *args: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; a test judges its exit status."""
        return subprocess.run(
            self.argv(command, *args),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(self, command: str, *args: str | Path, output: Path | None = None) -> subprocess.Popen[str]:
        """Start a command in a session of its own, as a terminal would.

        Its output is read from ``stdout``, or goes to a file that can be read while it runs.
        """
        with contextlib.nullcontext() if output is None else output.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                self.argv(command, *args),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    @staticmethod
    def interrupt(process: subprocess.Popen[str], seconds: float = 60) -> int:
        """Press Ctrl-C: the whole foreground group gets it. Gives the exit status."""
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=seconds)
        return process.returncode

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """End the one process without a chance to clean up."""
        process.kill()
        process.communicate(timeout=30)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=30)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def commands(sandbox: Sandbox) -> Iterator[Commands]:
    """Run ``timeeval-provision``, ``timeeval-run`` and ``timeeval-results`` in this clone."""
    running = Commands(ROOT)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def nodes_left_well(sandbox: Sandbox) -> Iterator[None]:
    """Fail a test that leaves a node harmed, and mend the node for the next one."""
    with _alone():
        yield
        left = sandbox.ailments()
        if left:
            sandbox.heal()
            pytest.fail(f"the test left nodes harmed: {left}")


@pytest.fixture(scope="module")
def provisioned(sandbox: Sandbox) -> Path:
    """Bring the practice cluster to what the demo needs, verified."""
    path = sandbox.cluster_file
    done = subprocess.run(
        [Path(sys.executable).with_name("timeeval-provision"), "up", "--cluster", path],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def folder_of(results: Path) -> Path:
    (folder,) = results.iterdir()
    return folder


def rows(commands: Commands, folder: Path) -> list[dict[str, Any]]:
    done = commands.run("timeeval-results", "show", folder, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def left_on_nodes(sandbox: Sandbox) -> dict[str, str]:
    """Processes of runs and containers with a run's label that are on the nodes."""
    return {name: left for name in NODES if (left := left_on(sandbox, name))}


def left_on(sandbox: Sandbox, name: str) -> str:
    """Processes of runs, their run folders and containers with a run's label that are on a node."""
    script = (
        "grep -lzs '^TIMEEVAL_RUN=' /proc/[0-9]*/environ; "
        "ps -eo pid,args | grep -E 'timeeval[.]|[.]engines' | grep -v grep; "
        "ls -d /srv/timeeval/state/runs/* 2>/dev/null; "
        "docker ps -aq --filter label=timeeval.run; true"
    )
    return sandbox.node(name).exec(["sh", "-c", script]).stdout.strip()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.25)


def finished_in(results: Path) -> int:
    journals = list(results.glob(f"*/{FILE_NAME}"))
    if not journals:
        return 0
    with Journal.read(journals[0]) as journal:
        return sum(row.outcome is Outcome.OK for row in journal.rows())


def unpacked(package: str, folder: Path) -> Path:
    """Fetch a package of this machine's Debian and return the folder of its files, which are installed nowhere."""
    folder.chmod(0o777)  # apt fetches as another user
    fetch = ["apt-get", "download", "-q", package]
    if subprocess.run(fetch, cwd=folder, check=False, capture_output=True).returncode != 0:
        # where nothing had to be installed, apt has not asked lately what there is, or never
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(fetch, cwd=folder, check=True, capture_output=True)
    (file,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", file, folder / "files"], check=True)
    return folder / "files"
