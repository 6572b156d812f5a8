"""The process in which experiments run: kept between them, replaced after a kill, a crash or a leak.

It is started by `timeeval.run.slot`, reads requests from a socket and answers with JSON lines, so whatever an
algorithm prints, closes or floods reaches a log file and never the protocol.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import pickle
import random
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.constants import EXECUTION_LOG
from timeeval.errors import InfrastructureError
from timeeval.plain import plain
from timeeval.run import local_code
from timeeval.run.model import Outcome

if TYPE_CHECKING:
    from timeeval.experiment import Experiment

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_HOST_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV}
_TRACEBACK_LIMIT = 64 * 1024
_streams: list[Any] = []  # our own stdout and stderr; an algorithm may put others in their place, or close them
_ERROR_LIMIT = 16 * 1024


def main(descriptor: int, parent: int) -> None:
    """Serve requests on the socket `descriptor` until it is closed; end when the process `parent` does."""
    bind_to(parent)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as requests:
        while (request := _read(requests)) is not None:
            header, payload = request
            _serve(connection, header, payload)


def bind_to(parent: int) -> None:
    """End with the process `parent`, and keep what is detached below this process where it can be found."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before we were bound to it
    try:
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")  # before the worker and its neighbours
    except OSError:
        return  # not ours to say here; the kernel chooses by itself then


def _read(stream: Any) -> tuple[dict[str, Any], bytes] | None:  # noqa: ANN401 - a buffered socket file
    head = stream.read(12)
    if len(head) < 12:
        return None
    header_size, payload_size = struct.unpack(">IQ", head)
    header = json.loads(stream.read(header_size))
    return header, stream.read(payload_size)


def _serve(connection: socket.socket, header: dict[str, Any], payload: bytes) -> None:
    if header["kind"] == "settings":
        sys.path[:] = header["path"]
        os.environ.clear()
        os.environ.update(header["environment"])
        os.chdir(header["directory"])
        return
    directory, environment, threads = os.getcwd(), _environment(), threading.active_count()  # noqa: PTH109
    _redirect(f"{header['work_dir']}/{EXECUTION_LOG}")
    _fresh_chance(header.get("name", ""))
    meter = _Meter()
    answer: dict[str, Any] = {"outcome": Outcome.OK.value, "error": "", "traceback": ""}
    values: dict[str, Any] = {}

    def on_phase(phase: str, so_far: Mapping[str, float], **limits: float | None) -> None:
        _send(connection, {"phase": phase, "values": _numbers(so_far), **limits})

    try:
        if header.get("code"):
            local_code.install(header["code"])
        if header["kind"] == "call":
            for function in pickle.loads(payload):  # noqa: S301 - comes from the driver over an authenticated channel
                function()
        elif header["kind"] == "score":
            from timeeval.rescoring import rescore

            labels, metrics = pickle.loads(payload)  # noqa: S301 - likewise
            on_phase("score", {})
            values.update(rescore(Path(header["work_dir"]), labels, metrics))
        else:
            _evaluate(header, payload, values, on_phase, answer)
    except BaseException as error:  # noqa: BLE001 - whatever ends an experiment is its outcome
        answer["outcome"] = _outcome(error).value
        answer["error"] = _one_line(error)
        if isinstance(error, ModuleNotFoundError) and header.get("remote"):
            answer["error"] += f"; {_missing_module(error, header['host'])}"
        text = "".join(traceback.format_exception(error))
        answer["traceback"] = plain(text[-_TRACEBACK_LIMIT:])
        _log(text)
    answer["values"] = _numbers(values)
    answer.update(_container_usage() if header.get("containers") else meter.read())
    os.chdir(directory)
    if _environment() != environment:
        os.environb.clear()
        os.environb.update(environment)
    answer["tired"] = threading.active_count() > threads or _has_children()
    _redirect(os.devnull)
    _send(connection, answer)


def _environment() -> dict[bytes, bytes]:
    # the texts themselves: going through `os.environb` makes each of them anew, twice per experiment
    return dict(os.environb._data)  # type: ignore[attr-defined]  # noqa: SLF001


def _has_children() -> bool:
    """Tell whether anything runs below this process: it is where what is orphaned below it comes to."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _evaluate(
    header: dict[str, Any],
    payload: bytes,
    values: dict[str, Any],
    on_phase: Any,  # noqa: ANN401 - the closure above
    answer: dict[str, Any],
) -> None:
    from timeeval.experiment import params_text
    from timeeval.run.packing import unpack_experiment

    try:
        experiment = unpack_experiment(header, payload)
    except ImportError as error:
        raise _missing_module(error, header["host"]) from error
    answer["hyper_params"] = params_text(experiment)
    experiment.check_compatible()
    experiment = experiment.with_heuristics()
    answer["hyper_params"] = params_text(experiment)
    limits = _limits(experiment)
    experiment.evaluate(
        extra_args=header["args"],
        on_phase=lambda phase, so_far: on_phase(phase, so_far, **limits.get(phase, {})),
        result=values,
        logged=True,
    )
    answer["hyper_params"] = values["hyper_params"]


def _missing_module(error: ImportError, host: str) -> InfrastructureError:
    return InfrastructureError(
        f"the module {error.name or '?'} cannot be imported here: {error}",
        host=host,
        remedy="Name what provides it in [environment] requirements of cluster.toml and run `timeeval-provision "
        "create-envs`",
    )


def _limits(experiment: Experiment) -> dict[str, dict[str, float | None]]:
    """Return the limits to watch per phase; a container engine watches those of its containers itself."""
    if experiment.algorithm.main.get_images():
        return {}
    constraints = experiment.resource_constraints
    memory, _ = constraints.get_compute_resource_limits()
    return {
        "train": {"seconds": constraints.get_train_timeout().to_seconds(), "memory": memory},
        "execute": {"seconds": constraints.get_execute_timeout().to_seconds(), "memory": memory},
    }


def _outcome(error: BaseException) -> Outcome:
    from timeeval.errors import AlgorithmTimeoutError

    if isinstance(error, AlgorithmTimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, MemoryError):
        return Outcome.OOM
    if isinstance(error, InfrastructureError) or (isinstance(error, OSError) and error.errno in _HOST_TROUBLE):
        return Outcome.INFRA
    return Outcome.ERROR


def _one_line(error: BaseException) -> str:
    try:
        return plain(repr(error), _ERROR_LIMIT)
    except Exception as second:  # noqa: BLE001 - a user's exception class may be broken as well
        return f"{type(error).__name__}(<its repr raised {type(second).__name__}>)"


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    from timeeval.experiment import json_values

    return json_values(values)


def _fresh_chance(name: str) -> None:
    """Seed the global generators by the name of the experiment.

    So none depends on what ran before it in this process, each repetition draws its own numbers, and these are the same
    wherever and whenever it runs.
    """
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


def _redirect(path: str) -> None:
    """Send everything this process prints, from C as well, to the end of a file."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # full disk; or closed by the algorithm
            stream.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if [sys.stdout, sys.stderr] != _streams or any(stream.closed for stream in _streams):
        _streams[:] = (
            open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            for number in (1, 2)
        )
        sys.stdout, sys.stderr = _streams


def _log(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the disk is full or the algorithm closed its stderr; the report carries the text as well


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _container_usage() -> dict[str, float | int | None]:
    """Return what the containers of an experiment consumed; this process only waited for them."""
    from timeeval.adapters.docker.usage import Usage, taken

    usage = taken() or Usage()
    return {"cpu_seconds": usage.cpu_seconds, "peak_memory": usage.peak_memory}


class _Meter:
    """CPU time and peak memory of this process and its ended children from now on."""

    def __init__(self) -> None:
        self._cpu = _cpu_seconds()
        try:
            with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123 - twice as fast, like below
                file.write(b"5")  # forget the earlier peak
            self._has_peak = True
        except OSError:
            self._has_peak = False

    def read(self) -> dict[str, float | int | None]:
        return {"cpu_seconds": _cpu_seconds() - self._cpu, "peak_memory": _peak_memory() if self._has_peak else None}


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory() -> int | None:
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
            status = file.read()
    except OSError:
        return None
    _, found, rest = status.partition(b"\nVmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else None
