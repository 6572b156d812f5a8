"""Running experiments against TimeEval 1.5.0: `python -m benchmarks.runner [--json] [--experiments N] [--local N]`.

All experiments are trivial: what is measured is the runner. Both sides evaluate the same function on the same files and
write the same ones; CPU is that of whole processes, imports included.

* Local: CPU of all processes per experiment.
* Distributed: one host with two slots, this machine. The other side starts Dask by its `SSHCluster` through an sshd of
  the benchmark's own on the loopback interface. Ours starts the same guard, scheduler, client and workers that it
  starts on a cluster's nodes, TLS included, but as local processes: an SSH connection, some tenths of a second, is not
  in its start. Its Dask client is a process beside the scheduler, as on a cluster, and not in the driver's CPU.
"""

from __future__ import annotations

import argparse
import getpass
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._peer import UPSTREAM, need, python_with
from benchmarks._report import Row, show
from benchmarks.capacity import write_datasets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXPERIMENTS = 1000
LOCAL = 2000
DATASETS = 20
POINTS = 1000
SLOTS = 2
TRIES = 3
"""Of seven runs of the other side, one lost everything: its directories are made before its workers are there."""
SCRIPT = Path(__file__).with_name("_runner_worker.py")


def write_series(folder: Path) -> None:
    """Write the datasets that both sides read."""
    write_datasets(folder, DATASETS)
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("series*.csv")):
        values = rng.normal(size=POINTS).tolist()
        rows = (f"{n},{value!r},{int(500 <= n < 510)}" for n, value in enumerate(values))
        path.write_text("timestamp,value,is_anomaly\n" + "\n".join(rows) + "\n", encoding="utf-8")


@contextmanager
def sshd(folder: Path) -> Iterator[dict[str, Any]]:
    """Run an SSH server on the loopback interface that knows one new key; yield how asyncssh connects to it."""
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    host_key = (folder / "host.pub").read_text(encoding="utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}", encoding="utf-8")
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    file = folder / "sshd_config"
    file.write_text("".join(f"{key} {value}\n" for key, value in settings.items()), encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(file)], stderr=subprocess.DEVNULL)
    # the other side also calls `ssh` itself, which must find this server
    client = {"Port": port, "IdentityFile": folder / "user", "UserKnownHostsFile": folder / "known_hosts"}
    (folder / "ssh_config").write_text("".join(f"{key} {value}\n" for key, value in client.items()), encoding="utf-8")
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n', encoding="utf-8")
    wrapper.chmod(0o700)
    try:
        yield {
            "port": port,
            "username": getpass.getuser(),
            "client_keys": [str(folder / "user")],
            "known_hosts": str(folder / "known_hosts"),
        }
    finally:
        server.terminate()
        server.wait()


def run(
    command: Sequence[str], folder: Path, experiments: int, *options: str, programs: Path | None = None
) -> dict[str, Any]:
    """Run the worker script to its end and return its answer; `programs` hide those of the machine."""
    path = os.environ["PATH"] if programs is None else f"{programs}:{os.environ['PATH']}"
    for attempt in range(TRIES):
        results = folder / f"results{time.time_ns()}"
        results.mkdir()
        arguments = [str(folder / "data"), str(results), str(experiments), *options]
        process = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**_environment(), "PATH": path, "BENCHMARK_BEGAN": str(time.time()), "PYTHONWARNINGS": "ignore"},
        )
        found = [line for line in process.stdout.splitlines() if line.startswith("ANSWER ")]
        if not found:
            raise RuntimeError(f"The benchmark's worker ended with {process.returncode}: {process.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(found[0].removeprefix("ANSWER "))
        if answer["ok"] == experiments:
            return answer
        sys.stderr.write(
            f"{answer['ok']} of {experiments} ended well, try {attempt + 1} of {TRIES}: {answer['errors']}\n"
        )
    raise RuntimeError(f"{' '.join(command)} did not complete a run in {TRIES} tries")


def _environment() -> dict[str, str]:
    """Return this environment without what would have both sides compile their packages anew in each process."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Comparison:
    """Both sides in one folder; each has run once before, so that its byte code is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # -P: the script's folder holds modules that must not hide the peer's.
        self._peer = [str(python_with(UPSTREAM)), "-P", str(SCRIPT)]
        start = "import sys; from timeeval.cli import run_main; run_main()"
        self._ours = [sys.executable, "-P", "-c", start, "--local", str(SCRIPT), "--"]
        for side in (self._ours, self._peer):
            run(side, folder, DATASETS)

    def local(self, experiments: int) -> Iterator[Row]:
        """Yield what a local evaluation costs."""
        ours = run(self._ours, self._folder, experiments)
        peer = run(self._peer, self._folder, experiments)
        total = [(side["driver"] + side["children"]) / experiments * 1e3 for side in (ours, peer)]
        yield Row(f"{experiments} local, CPU per experiment", *total, "ms CPU", 4, same=_same(ours, peer))
        wall = [side["rest"] / experiments * 1e3 for side in (ours, peer)]
        yield Row(f"{experiments} local, time per experiment", *wall, "ms")

    def distributed(self, experiments: int) -> Iterator[Row]:
        """Yield what a distributed evaluation costs."""
        slots = ("--slots", str(SLOTS))
        ours = run(self._ours, self._folder, experiments, *slots)
        with sshd(self._folder / "sshd") as connection:
            options = (*slots, "--ssh", json.dumps(connection))
            peer = run(self._peer, self._folder, experiments, *options, programs=self._folder / "sshd" / "bin")
        label = f"{experiments} distributed"
        yield Row(f"{label}, start to first result", ours["first"], peer["first"], "s", 2)
        driver = [side["driver"] / experiments * 1e3 for side in (ours, peer)]
        yield Row(f"{label}, driver CPU per experiment", *driver, "ms CPU", 4, same=_same(ours, peer))
        wall = [side["rest"] / experiments * 1e3 for side in (ours, peer)]
        yield Row(f"{label}, time per experiment", *wall, "ms", 3)


def _same(ours: dict[str, Any], peer: dict[str, Any]) -> bool:
    return math.isclose(ours["roc_auc"], peer["roc_auc"], abs_tol=1e-9) and ours["files"] == peer["files"]


def main() -> None:
    """Measure and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of a table")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help="distributed ones; 0: none")
    parser.add_argument("--local", type=int, default=LOCAL, help="local ones; 0: none")
    arguments = parser.parse_args()
    if arguments.experiments:
        need("ssh-keygen", "/usr/sbin/sshd")
    missed = False

    def watched(folder: Path) -> Iterator[Row]:
        nonlocal missed
        comparison = Comparison(folder)
        rows = [
            *([comparison.distributed(arguments.experiments)] if arguments.experiments else []),
            *([comparison.local(arguments.local)] if arguments.local else []),
        ]
        for part in rows:
            for row in part:
                missed = missed or row.met is False
                yield row

    with tempfile.TemporaryDirectory(prefix="timeeval-benchmark-") as folder:
        write_series(Path(folder) / "data")
        show(watched(Path(folder)), as_json=arguments.json)
    sys.exit(missed)


if __name__ == "__main__":
    main()
