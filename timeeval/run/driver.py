"""Who drives a run: the process and its machine, in the results folder, so that others can watch it and stop it.

The file ``driver.json`` is written when a run takes its results folder and again when the driver ends; its time of
change is the driver's pulse, for those on other machines that cannot see the process itself. They ask it to stop by a
file of their own, ``stop.json``, for which it looks at every beat.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from timeeval.errors import TimeEvalError

FILE_NAME = "driver.json"
SCHEMA = "timeeval.driver/1"
STOP_NAME = "stop.json"
STOP_SCHEMA = "timeeval.stop/1"
LOOK_SECONDS = 1.0
PULSE_SECONDS = 5.0
SILENT_SECONDS = 60.0
AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that drives runs.

    Attributes
    ----------
    host, boot : str
        Its machine, and which boot of it.
    pid, started : int
        The process, and its start in clock ticks since the boot: so a pid is not taken for its next owner's.
    exit_code : int or None
        How it ended; None while it has not said so.
    """

    host: str
    boot: str
    pid: int
    started: int
    exit_code: int | None = None

    @classmethod
    def this(cls) -> Self:
        """Return the driver that this process is."""
        return cls(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read who drives, or drove, the run of a results folder.

        Raises
        ------
        TimeEvalError
            If no command of ours has driven it.
        """
        try:
            raw = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            return cls(raw["host"], raw["boot"], int(raw["pid"]), int(raw["started"]), raw["exit_code"])
        except FileNotFoundError:
            raise TimeEvalError(
                f"{folder} does not say who drives its run",
                remedy="Only runs of timeeval-run can be watched or stopped",
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise TimeEvalError(f"{folder / FILE_NAME} cannot be read: {error!r}") from error

    def write(self, folder: Path) -> None:
        """Say it in a results folder; a reader sees the old or the new text, never a part."""
        _write(folder / FILE_NAME, {"schema": SCHEMA, **asdict(self)})

    @property
    def name(self) -> list[str | int]:
        """What no other process has, on any machine."""
        return [self.host, self.boot, self.pid, self.started]

    @property
    def is_near(self) -> bool:
        """Whether it ran on this machine, so that its process can be looked for."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether its process is there; only asked where it is near."""
        return self.boot == _boot() and _started(self.pid) == self.started


class Claims:
    """The results folders that this process drives; their pulse goes on until `end`."""

    def __init__(self) -> None:
        self._driver = Driver.this()
        self._folders: list[Path] = []
        self._over = threading.Event()
        self._stops = 0  # how often it was told to stop by a file
        self._pulse = threading.Thread(target=self._beat, name="timeeval-pulse", daemon=True)

    def add(self, folder: Path) -> None:
        """Claim a folder whose journal this process has locked."""
        self._driver.write(folder)
        if folder not in self._folders:
            self._folders.append(folder)
        if not self._pulse.is_alive():
            self._pulse.start()

    def end(self, exit_code: int) -> None:
        """Say in all folders how this process ends."""
        self._over.set()
        for folder in self._folders:
            with contextlib.suppress(OSError):  # what counts is in the journal
                replace(self._driver, exit_code=int(exit_code)).write(folder)
                (folder / STOP_NAME).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(PULSE_SECONDS):
            for folder in list(self._folders):
                with contextlib.suppress(OSError):
                    os.utime(folder / FILE_NAME)
                if self._stops < _asked_to_stop(folder, self._driver):
                    self._stops += 1
                    os.kill(os.getpid(), signal.SIGTERM)  # as somebody on this machine would; twice is at once


class Watched:
    """A driver seen from anywhere: whether it still drives.

    Parameters
    ----------
    folder : Path
        Results folder of its run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pulse = 0.0
        self._felt = time.monotonic()

    def ended(self) -> Driver | None:
        """Return the driver when it has ended, with its exit code if it said one; None while it goes on.

        Raises
        ------
        TimeEvalError
            If nothing says whether it goes on.
        """
        driver = Driver.of(self._folder)
        if driver.exit_code is not None:
            return driver
        if driver.is_near:
            # it may have said its last word between the two looks
            return None if driver.lives else Driver.of(self._folder)
        pulse = (self._folder / FILE_NAME).stat().st_mtime
        if pulse != self._pulse:
            self._pulse, self._felt = pulse, time.monotonic()
        if time.monotonic() - self._felt > SILENT_SECONDS:
            raise TimeEvalError(
                f"its driver (process {driver.pid} of {driver.host}) gives no sign of life",
                remedy=f"Look for it there; `timeeval-run … --resume {self._folder}` computes what is missing",
            )
        return None


def stop(folder: Path, *, now: bool) -> Driver:
    """Ask the driver of a run to end, and wait until it has.

    Parameters
    ----------
    folder : Path
        Results folder of the run; its driver may be on another machine that sees it too.
    now : bool
        Running experiments are stopped at once, rather than given time to end.

    Returns
    -------
    Driver
        How it ended.

    Raises
    ------
    TimeEvalError
        If there is no driver any more or none that answers, with cause and remedy.
    """
    driver = Driver.of(folder)
    if driver.exit_code is not None:
        raise TimeEvalError(f"the run of {folder} has ended already, with exit code {driver.exit_code}")
    if not driver.is_near:
        return _stop_far(folder, driver, now=now)
    gone = TimeEvalError(
        f"the driver of {folder} (process {driver.pid}) is gone; its nodes clean up by themselves",
        remedy=f"`timeeval-run … --resume {folder}` computes what is missing",
    )
    try:
        process = os.pidfd_open(driver.pid)
    except ProcessLookupError:
        raise gone from None
    try:
        if not driver.lives:  # asked once the process is held: another one cannot take its pid any more
            raise gone
        _end(driver, process, now=now)
    finally:
        os.close(process)
    return Driver.of(folder)


def _stop_far(folder: Path, driver: Driver, *, now: bool) -> Driver:
    """Ask a driver on another machine by a file; it looks for it when its pulse beats."""
    request = folder / STOP_NAME
    _write(request, {"schema": STOP_SCHEMA, "driver": driver.name, "now": now})
    watched = Watched(folder)
    try:
        while (ended := watched.ended()) is None:
            time.sleep(LOOK_SECONDS)
    except TimeEvalError as error:
        request.unlink(missing_ok=True)
        raise TimeEvalError(
            f"the driver of {folder} (process {driver.pid} of {driver.host}) gives no sign of life",
            remedy=f"Run the same command there: `ssh {driver.host} timeeval-results stop {folder}`; if it is gone, "
            f"`timeeval-run … --resume {folder}` computes what is missing",
        ) from error
    return ended


def _asked_to_stop(folder: Path, driver: Driver) -> int:
    """Return how many signals to stop a file asks for: none, if it is another user's or means another driver."""
    request = folder / STOP_NAME
    try:
        found = request.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return 0
        raw = json.loads(request.read_text(encoding="utf-8"))
        return 0 if raw["driver"] != driver.name else 2 if raw["now"] is True else 1
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _write(path: Path, document: dict[str, object]) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(document) + "\n", encoding="utf-8")
    partial.replace(path)


def _end(driver: Driver, process: int, *, now: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGTERM)
        waited = 0.0
        while driver.lives:
            time.sleep(0.2)
            waited += 0.2
            if now and waited >= AGAIN_SECONDS:  # the second signal is what ends it at once
                signal.pidfd_send_signal(process, signal.SIGTERM)
                waited = 0.0


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> int | None:
    """Return when a process started; None where there is none, or only its dead body."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
