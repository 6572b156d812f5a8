"""The driver's connection to a guard: finds it, or leaves one behind first, and carries messages both ways.

A program of the launcher (standard library only, Python 3.8 or newer) that knows nothing of what it carries. When the
way to the driver ends, so does this process, and the guard is none the worse for it; when the guard dies, this one
cleans up after it and says so.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from timeeval.engines import children, guard, sockets, sweeping

MINDS_DRIVER = True  # for the launcher: the guard answers the end of the driver
FLUSH_SECONDS = 5.0
DYING_SECONDS = 3.0


class Channel(Protocol):
    """The launcher's line to the driver."""

    def receive(self) -> dict[str, Any] | None:
        """Return the next message of the driver, None when there will be none."""
        ...

    def event(self, message: dict[str, Any]) -> None:
        """Send a message to the driver."""
        ...


class _Pump:
    def __init__(self, lines: sockets.Lines, channel: Channel) -> None:
        self.lines = lines
        self.channel = channel
        self.over = threading.Event()
        self.done = False
        self.spoke = False
        self.driver_gone = False

    def run(self) -> None:
        """Carry messages until either side ends."""
        inward = threading.Thread(target=self._inward, daemon=True)
        outward = threading.Thread(target=self._outward, daemon=True)
        inward.start()
        outward.start()
        self.over.wait()
        if self.driver_gone:
            self.lines.close()
        outward.join(FLUSH_SECONDS)
        if outward.is_alive():  # nobody reads any more, and nothing that is said would get through
            os._exit(1)

    def _inward(self) -> None:
        while not self.driver_gone:
            try:
                message = self.channel.receive()
            except (OSError, ValueError):
                message = None
            if message is None:
                self.driver_gone = True
                break
            try:
                self.lines.send(message)
            except OSError:
                break
        self.over.set()

    def _outward(self) -> None:
        try:
            while True:
                message = self.lines.receive()
                if message is None:
                    break
                self.spoke = True
                self.done = self.done or message["is"] == "done"
                self.channel.event(message)
        except (OSError, ValueError):
            self.driver_gone = True
        self.over.set()


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Run as a program of the launcher.

    Parameters
    ----------
    args : dict
        ``state``, ``run``, ``node`` and ``hello``; with ``guard`` (its arguments) a new one is left behind first, with
        ``boot`` the one of that boot of the machine is looked for.
    channel : Channel
        The line to the driver.
    """
    folder = sweeping.run_folder(args["state"], args["run"], args["node"])
    swept = guard.begin({**args, **args["guard"]}) if args.get("guard") else []
    try:
        lines = sockets.Lines(sockets.connect(folder))
    except OSError as error:
        return _nobody(args, channel, folder, str(error))
    lines.send({**args["hello"], "swept": swept})
    pump = _Pump(lines, channel)
    pump.run()
    if pump.done or pump.driver_gone:
        return {}
    if not pump.spoke:
        words = children.tail(folder / guard.LOG).splitlines()[-1:]
        sweeping.sweep(args["run"], folder)
        raise OSError(f"the guard ended at once{': ' + words[0] if words else ''}")
    return _nobody(args, channel, folder, "its guard was killed")


def _nobody(args: dict[str, Any], channel: Channel, folder: Path, reason: str) -> dict[str, Any]:
    """Say that there is no guard any more, once nothing is left of what it guarded."""
    deadline = time.monotonic() + DYING_SECONDS
    while sweeping.is_guarded(folder) and time.monotonic() < deadline:
        time.sleep(0.05)  # a killed process hangs up before it is gone
    if sweeping.is_guarded(folder):
        raise OSError(f"the guard does not answer: {reason}")
    if args.get("boot") not in (None, sweeping.boot_id()):
        reason = "it was started anew, and with it ended what ran there"
    elif not folder.exists():
        reason = "its guard had ended what ran there"
    left = sweeping.sweep(args["run"], folder)
    channel.event({"is": "done", "reason": reason, "n": None, **left})
    return {}


class LineChannel:
    """The channel where no launcher is between: JSON lines on stdin and stdout, unbuffered.

    A thread may still wait for stdin when the program ends, so there is no buffer that ending would have to lock.
    """

    def __init__(self) -> None:
        self.rest = b""

    def receive(self) -> dict[str, Any] | None:
        """Return the next message, None at the end."""
        while b"\n" not in self.rest:
            more = os.read(0, 1 << 16)
            if not more:
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def event(self, message: dict[str, Any]) -> None:
        """Send a message."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    lines = LineChannel()
    try:
        main(lines.receive() or {}, lines)
    except OSError as failure:
        sys.exit(str(failure))
