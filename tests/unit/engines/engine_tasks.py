"""Tasks that the engine's tests run on workers: a job is one word and its argument."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dask

from timeeval.engines import hatch, joined_worker
from timeeval.run import packing, standing


class Trap:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def run(job: bytes, attempt: dict, turn: object = None) -> str:
    word, _, argument = job.decode().partition(" ")
    started, values = time.time(), {"pid": os.getpid()}
    if word == "sleep":
        time.sleep(float(argument))
    elif word == "mark":  # leaves a line for each execution, then takes a while
        path, seconds = argument.split()
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{attempt['id']}\n")
        time.sleep(float(seconds))
    elif word == "die":
        time.sleep(float(argument or 0))  # what was said before is on its way by then
        os.kill(os.getpid(), 9)
    elif word == "raise":
        raise ValueError(argument)
    elif word == "flood":
        sys.stderr.write("x" * 1024 * 1024 * int(argument))
    elif word in TRICKS:
        TRICKS[word](argument)
    elif word == "standing":  # raises where what was proven of the host did not come
        standing.held(attempt["standing"])
    elif word == "part":
        values["size"] = len(turn.part(argument))
    elif word == "garbage":
        return "no report"
    return json.dumps(
        {
            "attempt": attempt["id"],
            "outcome": "ok",
            "host": "elsewhere",
            "started": started,
            "ended": time.time(),
            "error": "",
            "traceback": "",
            "hyper_params": None,
            "values": values,
            "cpu_seconds": None,
            "peak_memory": None,
        }
    )


def sizes(job: bytes, attempt: dict, turn: object = None) -> str:
    """Report the size of a job's part; one attempt lets the worker be as if it had been started anew."""
    (name,) = packing.parts_of(job)
    report = run(f"part {name}".encode(), attempt, turn)
    if attempt["id"] == "forget":
        joined_worker._parts.clear()
    return report


def _spawn(argument):
    """Leave grandchildren of all kinds, and take a while."""
    script = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(600)"
    subprocess.run([sys.executable, "-c", script], check=True)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(float(argument))


def _learn_to_lie(argument):
    hatch.carry.__code__ = _lie.__code__
    hatch.__dict__.update(Trap=Trap, target=argument)


def _tell(argument):
    """Write down what this worker's Dask is told, and its environment."""
    Path(argument).write_text(json.dumps([dask.config.config, dict(os.environ)], default=repr))


TRICKS = {"spawn": _spawn, "lie": _learn_to_lie, "tell": _tell}


def _lie(task, jobs, attempts):
    if globals()["target"] == "raise":
        raise ValueError(globals()["Trap"]("/nowhere/trap"))
    return globals()["Trap"](globals()["target"])
