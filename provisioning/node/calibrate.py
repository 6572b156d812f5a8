"""Measure how fast this machine computes, alone and with all slots at work, unless that is known (Python >= 3.8)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from provisioning.node import tree, workload
from provisioning.node.observe_host import processor

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

SCHEMA = "timeeval.calibration/1"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
START_SECONDS = 60


class CalibrationError(Exception):
    """The environment's Python does not do the work."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer for ``{"prefix", "slots", "path", "seconds", "anew": bool}`` with the document that lies at ``path`` then.

    It is measured when there is none, one of another machine, start, kernel, processor, number of slots or workload, or
    on demand; ``fresh`` says whether it was. ``seconds`` is the time for each part.
    """
    path = Path(args["path"])
    identity = identify(args["slots"])
    known = tree.read_json(str(path))
    if not args["anew"] and isinstance(known, dict) and all(known.get(key) == value for key, value in identity.items()):
        return {"document": known, "fresh": False}
    single = _run(args, 1, channel, "alone")
    together = _run(args, args["slots"], channel, "with all slots") if args["slots"] > 1 else single
    document = {
        "schema": SCHEMA,
        **identity,
        "time": time.time(),
        "numpy": single[0]["numpy"],
        "single": _mean(single),
        "together": _mean(together),
    }
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    tree.write_json(str(path), document)
    return {"document": document, "fresh": True}


def identify(slots: int) -> Dict[str, Any]:
    """Return what a measurement is good for."""
    return {
        "machine_id": _read("/etc/machine-id"),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "kernel": platform.release(),
        "cpu": processor()["model"],
        "slots": slots,
        "workload": workload.VERSION,
    }


def _run(args: Dict[str, Any], count: int, channel: Channel, how: str) -> List[Dict[str, Any]]:
    """Let so many processes work at the same time; return what they say."""
    channel.event({"title": "calibrate " + how})
    python = str(Path(args["prefix"]) / "bin" / "python")
    command = [python, "-I", "-c", _source(), str(args["seconds"])]
    env = {**os.environ, **dict.fromkeys(THREADS, "1")}
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        for _ in range(count)
    ]
    try:
        for worker in workers:
            if worker.stdout is None or worker.stdout.readline() != b"ready\n":
                raise _failed(worker, python)
        for worker in workers:
            if worker.stdin is not None:
                worker.stdin.write(b"go\n")
                worker.stdin.flush()
        answers = []
        for worker in workers:
            said, _ = worker.communicate(timeout=START_SECONDS + 10 * args["seconds"])
            try:
                answers.append(json.loads(said))
            except ValueError:
                raise _failed(worker, python) from None
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout, worker.stderr):
                if pipe is not None:
                    pipe.close()
    return answers


def _failed(worker: Any, python: str) -> CalibrationError:  # noqa: ANN401 - a process
    worker.kill()
    said = worker.stderr.read().decode("utf-8", "replace").strip().splitlines() if not worker.stderr.closed else []
    return CalibrationError(
        "%s cannot do the work: %s" % (python, said[-1] if said else "it ended early"),
        "see whether the environment holds numpy and the machine is overloaded",
    )


def _source() -> str:
    loader = workload.__loader__
    return str(loader.get_source(workload.__name__))  # type: ignore[union-attr]


def _mean(answers: List[Dict[str, Any]]) -> Dict[str, float]:
    names = answers[0]["rates"]
    return {name: sum(float(answer["rates"][name]) for answer in answers) / len(answers) for name in names}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
