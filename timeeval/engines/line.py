"""The driver's line to one guard, which outlives the connections that carry it.

Messages are numbered on both sides and kept until the other side has them: when a connection breaks, the next one goes
on where it ended, and nothing is lost or taken twice. A line is over when the guard says so, when a new connection
finds none, or when the guard's lease is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from timeeval.errors import EngineError

if TYPE_CHECKING:
    from timeeval.engines.dask_settings import DaskSettings
    from timeeval.engines.launching import Host, Launcher, Process

ATTACH = "timeeval.engines.attach"
SILENCE_SECONDS = 20.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
CLOSE_SECONDS = 10.0


def clock() -> float:
    """Return seconds that go on while this machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Ear(Protocol):
    """Who is told what comes over a line."""

    def take(self, message: dict[str, Any]) -> None:
        """Take the guard's next message."""

    def cut(self, reason: str, seconds: float) -> None:
        """Hear that the connection broke; the guard goes on for so many seconds."""

    def back(self) -> None:
        """Hear that there is a connection again."""

    def over(self, reason: str) -> None:
        """Hear that the line has ended for good."""


class Line:
    """A line to the guard of a host.

    Parameters
    ----------
    host : Host
        The machine.
    run_id : str
        The run whose guard it is.
    settings : DaskSettings
        Beat, lease and limits.
    launcher : Launcher
        How programs get there.
    ear : Ear
        Told what comes, on the event loop.
    """

    def __init__(self, host: Host, run_id: str, settings: DaskSettings, launcher: Launcher, ear: Ear) -> None:
        self._host = host
        self._run_id = run_id
        self._settings = settings
        self._launcher = launcher
        self._ear = ear
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._boot = ""
        self._kept: deque[dict[str, Any]] = deque()  # what the guard has not said it has
        self._number = 0
        self._sent = 0  # the last of them that this connection was given
        self._taken = 0
        self._more = asyncio.Event()
        # A break is to be noticed while the lease still leaves time for another connection.
        self._silence = max(3 * settings.beat, min(SILENCE_SECONDS, settings.lease / 2))
        self._answered = self._beaten = clock()  # when the last beat was sent that was answered; that was sent at all
        self.connected = False
        self.done = False
        """Whether the guard said its last word."""

    @property
    def lease_left(self) -> float:
        """Seconds until the guard has ended what runs there, if no beat reaches it any more."""
        return max(0.0, self._beaten + self._settings.lease - clock())

    def last_words(self) -> str:
        """Return what the last connection's program wrote to stderr."""
        return self._process.last_words() if self._process is not None else ""

    async def open(self, guard: dict[str, Any]) -> dict[str, Any]:
        """Start the guard; returns what it says of itself.

        Raises
        ------
        EngineError
            If it does not stand in time, with cause and remedy.
        """
        limit = self._settings.start_seconds
        try:
            async with asyncio.timeout(limit):
                ready = await self._connect({"guard": guard})
        except TimeoutError:
            raise EngineError(
                f"its guard did not answer within {limit:g} s",
                host=self._host.name,
                remedy="See whether `ssh` gets there and whether the machine is overloaded.",
            ) from None
        except ValueError as error:
            raise EngineError(str(error), host=self._host.name, remedy="See who answers there.") from error
        if ready is None:
            raise EngineError(f"its guard did not start: {self.last_words()}", host=self._host.name)
        self._keeper = asyncio.create_task(self._keep())
        return ready

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, over this connection or a later one."""
        self._number += 1
        self._kept.append({**message, "n": self._number})
        self._more.set()

    async def close(self) -> None:
        """Let go of the line; a guard that was not told to end waits for another one."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._drop()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # --- one connection -------------------------------------------------------------------------------------------

    async def _connect(self, how: dict[str, Any]) -> dict[str, Any] | None:
        """Make a connection; returns the guard's greeting, None when there is none (any more)."""
        args = {
            "state": self._host.state,
            "run": self._run_id,
            "node": self._host.name,
            "hello": {"do": "attach", "at": clock(), "ack": self._taken},
            **how,
        }
        self._process = None
        self._process = await self._launcher.start(self._host, ATTACH, args)
        ready = await self._process.receive()
        with _understood():
            if ready is None or ready["is"] != "ready":
                if ready is not None:
                    self._take(ready)
                return None
            self._acknowledged(ready["ack"])
            self._sent = int(ready["ack"])
            self._boot = self._boot or str(ready["boot"])
        self._answered = self._beaten = args["hello"]["at"]
        self.connected = True
        return ready

    def _drop(self) -> None:
        """Let go of a connection without waiting for it."""
        self.connected = False
        if self._process is not None:
            task = asyncio.create_task(_close(self._process))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _plain(self, error: Exception) -> str:
        """Return what happened, without what a person could do where nothing would go on by itself."""
        text = str(error).removeprefix(f"{self._host.name}: ")
        remedy = getattr(error, "remedy", None)
        return text.removesuffix(remedy).rstrip(" .") if remedy else text

    def _acknowledged(self, number: int) -> None:
        while self._kept and self._kept[0]["n"] <= number:
            self._kept.popleft()

    async def _speak(self, process: Process) -> None:
        while True:
            self._more.clear()
            for message in [message for message in self._kept if message["n"] > self._sent]:
                self._sent = message["n"]
                await self._give(process, message)
            await self._give(process, {"do": "beat"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), self._settings.beat)

    async def _give(self, process: Process, message: dict[str, Any]) -> None:
        self._beaten = clock()  # before it is sent: it may arrive although this call fails
        await process.send({**message, "at": self._beaten, "ack": self._taken})

    async def _hear(self, process: Process) -> str:
        """Take what comes over a connection; returns how it ended."""
        try:
            while True:
                async with asyncio.timeout(self._silence):
                    message = await process.receive()
                if message is None:
                    return "its program there ended"
                with _understood():
                    self._take(message)
        except TimeoutError:
            return f"nothing was heard for {self._silence:g} s"
        except (OSError, ValueError, EngineError) as error:
            return self._plain(error)

    def _take(self, message: dict[str, Any]) -> None:
        if message["is"] == "beat":
            # no guard has heard a beat that was not sent: what it says may not prolong its own lease
            self._answered = max(self._answered, min(float(message["at"]), self._beaten))
            self._acknowledged(message["ack"])
        elif message["n"] is None or message["n"] > self._taken:
            self._taken = message["n"] or self._taken
            self.done = message["is"] == "done"
            self._ear.take(message)

    # --- one connection after the other ---------------------------------------------------------------------------

    async def _keep(self) -> None:
        while self._process is not None:
            speaking = asyncio.create_task(self._speak(self._process))
            reason = await self._hear(self._process)
            speaking.cancel()  # or it has met the end as well; the hearer knows more of it
            await asyncio.gather(speaking, return_exceptions=True)
            if self.done:
                self.connected = False
                self._ear.over(reason)
                return
            self._drop()
            if not await self._again(reason):
                return

    async def _again(self, reason: str) -> bool:
        """Connect anew while the guard's lease goes on; returns whether there is a connection."""
        until = self._answered + self._settings.lease
        self._ear.cut(reason, until - clock())
        pause = FIRST_PAUSE
        while (left := until - clock()) > 0:
            try:
                async with asyncio.timeout(min(left, self._settings.start_seconds)):
                    if await self._connect({"boot": self._boot}) is not None:
                        self._ear.back()
                        return True
                if self.done:
                    self._ear.over(reason)
                    return False
                reason = self.last_words()
            except (TimeoutError, OSError, ValueError, EngineError) as error:
                reason = self._plain(error) or reason
            self._drop()
            await asyncio.sleep(min(pause, max(0.0, until - clock())))
            pause = min(2 * pause, LONGEST_PAUSE)
        self._ear.over(f"it could not be reached while its lease of {self._settings.lease:g} s went on: {reason}")
        return False


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Raise ValueError for what a guard would not say: whatever a node sends ends a connection at most."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"what it sent is no message of a guard: {error!r}") from error


async def _close(process: Process) -> None:
    with contextlib.suppress(TimeoutError, OSError, EngineError):
        await asyncio.wait_for(process.close(), CLOSE_SECONDS)
