"""Run other programs on a node: with an environment of our own, signs of life, and their last words in the error."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from typing import Any, Callable

BEAT = 10.0
_TAIL = 15

Beat = Callable[[], Any]


class RefusedError(Exception):
    """Something on this node has to be mended by a person; `remedy` says how."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class MissingError(RefusedError):
    """The program is not installed."""


def run(command: list[str], beat: Beat | None = None, timeout: float | None = None) -> str:
    """Run a program and return what it prints.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    beat : callable, optional
        Called every ten seconds while it runs, so that nobody takes the silence for death.
    timeout : float, optional
        Seconds after which it is ended; None for ever.

    Raises
    ------
    RefusedError
        When it does not start, fails, or takes too long.
    """
    name = " ".join(command[:3])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except FileNotFoundError as error:
            raise MissingError("%s is not installed" % command[0], "install %s" % command[0]) from error
        try:
            _wait(process, name, beat, timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode == 0:
            return out.read().decode("utf-8", "replace")
        text = "\n".join(err.read().decode("utf-8", "replace").strip().splitlines()[-_TAIL:])
    raise RefusedError("%s ended with status %d: %s" % (name, process.returncode, text), remedy_for(text))


def meanwhile(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin some work in a thread; what is returned waits for its end, and returns or raises what it did."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - it belongs to who asks for the result
            failure.append(error)

    def result() -> Any:  # noqa: ANN401 - what the work returns
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return result


def environment() -> dict[str, str]:
    """Return the environment of every program that we run: nothing of the caller's but where things are."""
    fixed = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "UV_PYTHON_DOWNLOADS": "never"}
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR") if key in os.environ}
    return {**fixed, **kept}


def _wait(process: subprocess.Popen[bytes], name: str, beat: Beat | None, timeout: float | None) -> None:
    waited = 0.0
    while True:
        try:
            process.wait(BEAT if timeout is None else min(BEAT, timeout - waited))
        except subprocess.TimeoutExpired:
            waited += BEAT
            if timeout is not None and waited >= timeout:
                raise RefusedError("%s took longer than %g s" % (name, timeout), "see what it waits for") from None
            if beat is not None:
                beat()
        else:
            return


def remedy_for(text: str) -> str:
    """Return what mends the cause that a program's last words name."""
    if "No space left" in text:
        return "free some space and run it again"
    if "docker.sock" in text and "permission denied" in text.lower():
        return "add this user to the group docker and log in anew"
    if "docker daemon running" in text or "Cannot connect to the Docker daemon" in text:
        return "start the Docker engine"
    if "Permission denied" in text:
        return "mount the file system without noexec, or choose another folder"
    return "mend what the message names and run it again"
