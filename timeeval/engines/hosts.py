"""The driver's side of one guard: what it was told, what it said, and whether it still stands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeeval.errors import EngineError

if TYPE_CHECKING:
    from timeeval.engines.dask_settings import DaskSettings
    from timeeval.engines.launching import Host, Launcher, Process

GUARD = "timeeval.engines.guard"
END_SECONDS = 90.0
CANCEL_SECONDS = 90.0
DONE_SECONDS = 90.0
CLOSE_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a child on a host."""

    host: str
    child: str
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A child on a host ended without being asked to."""

    host: str
    child: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A guard is gone; `clean` when it said before that nothing is left."""

    host: str
    reason: str
    clean: bool


News = Said | Ended | Gone


class GuardedHost:
    """One host of the run.

    Parameters
    ----------
    host : Host
        The machine.
    run_id : str
        The run's id: mark and label of all that runs there.
    settings : DaskSettings
        Lease, beat and limits.
    hear : callable
        Gets what happens later than the start, on the event loop.
    """

    def __init__(self, host: Host, run_id: str, settings: DaskSettings, hear: Callable[[News], None]) -> None:
        self.host = host
        self.address = ""
        self.versions: dict[str, str] = {}
        self._run_id = run_id
        self._settings = settings
        self._hear = hear
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._starting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._ending: dict[str, asyncio.Future[None]] = {}
        self._cancelling: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._done: dict[str, Any] | None = None
        self._ended_because = ""
        self._gone = asyncio.Event()
        self._stop_task: asyncio.Task[str] | None = None

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host.name

    @property
    def gone(self) -> bool:
        """Whether the guard can be reached no more."""
        return self._gone.is_set()

    @property
    def ready(self) -> bool:
        """Whether the guard stands and obeys."""
        return bool(self.address) and not self.gone and self._stop_task is None

    async def start(self, launcher: Launcher) -> None:
        """Start the guard; raises `EngineError` naming host, cause and remedy."""
        args = {
            "run": self._run_id,
            "node": self.name,
            "state": self.host.state,
            "python": self.host.python,
            "addresses": list(self.host.addresses),
            "environment": self._settings.all_environment(),
            "lease": self._settings.lease,
            "grace": self._settings.grace,
        }
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                self._process = await launcher.start(self.host, GUARD, args)
                ready = await self._process.receive()
        except TimeoutError:
            raise EngineError(
                f"its guard did not answer within {self._settings.start_seconds:g} s",
                host=self.name,
                remedy="See whether `ssh` gets there and whether the machine is overloaded.",
            ) from None
        if ready is None:
            raise EngineError(f"its guard did not start: {self._process.last_words()}", host=self.name)
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._read(self._process))]
        if not ready.get("address"):
            raise EngineError(
                f"none of the addresses {', '.join(self.host.addresses) or '(none)'} belongs to it",
                host=self.name,
                remedy=f'Give its own IP address: address = "…" under [host."{self.name}"] in cluster.toml.',
            )
        self.address = ready["address"]
        for run in ready.get("swept", []):
            logger.warning("%s: what the dead run %s had left there was removed", self.name, run)

    async def spawn(self, child: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a child and return its first words; raises `EngineError` with its last ones."""
        future = asyncio.get_running_loop().create_future()
        self._starting[child] = future
        limit = self._settings.start_seconds
        try:
            await self._send({"do": "spawn", "child": child, "spec": {**spec, "start_seconds": limit}})
            return await asyncio.wait_for(future, limit + 5)
        except TimeoutError:
            raise EngineError(f"{self._words(child)} did not come up within {limit:g} s", host=self.name) from None
        finally:
            self._starting.pop(child, None)

    async def tell(self, child: str, message: dict[str, Any]) -> None:
        """Send a message to a child."""
        await self._send({"do": "tell", "child": child, "message": message})

    async def end(self, child: str) -> None:
        """End a child with all below it; returns when it has ended, or is not worth waiting for any longer."""
        future = self._ending.setdefault(child, asyncio.get_running_loop().create_future())
        with contextlib.suppress(EngineError, TimeoutError):
            await self._send({"do": "end", "child": child})
            await asyncio.wait_for(future, END_SECONDS)
        self._ending.pop(child, None)

    async def cancel(self, attempt: str, slot: str, pid: int) -> None:
        """End what an attempt left or has running, its worker included."""
        future = self._cancelling.setdefault(attempt, asyncio.get_running_loop().create_future())
        try:
            await self._send({"do": "cancel", "attempt": attempt, "slot": slot, "pid": pid})
            done = await asyncio.wait_for(future, CANCEL_SECONDS)
            if done.get("problem"):
                logger.warning("%s: containers of attempt %s may be left: %s", self.name, attempt, done["problem"])
        except (EngineError, TimeoutError) as error:
            logger.warning("%s: attempt %s could not be cleaned up: %s", self.name, attempt, error)
        finally:
            self._cancelling.pop(attempt, None)

    async def stop(self) -> str:
        """End everything there; returns what may be left, or nothing; nothing also when asked again."""
        if self._stop_task is not None:
            await asyncio.shield(self._stop_task)
            return ""
        self._stop_task = asyncio.create_task(self._stop())
        return await asyncio.shield(self._stop_task)

    async def _stop(self) -> str:
        if self._process is None:
            return ""
        with contextlib.suppress(EngineError):
            await self._send({"do": "quit"})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), DONE_SECONDS if self._tasks else 0.1)
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._process.close(), CLOSE_SECONDS)
        if self._done is None:
            return f"{self.name}: its guard did not say that it had cleaned up; its lease ends the rest"
        return f"{self.name}: {self._done['problem']}" if self._done.get("problem") else ""

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _send(self, message: dict[str, Any]) -> None:
        if self._process is None or self.gone:
            raise EngineError("its guard is gone", host=self.name)
        try:
            await self._process.send(message)
        except (OSError, EngineError) as error:
            raise EngineError(f"its guard cannot be reached: {error}", host=self.name) from error

    async def _beat(self) -> None:
        with contextlib.suppress(EngineError):  # the reader sees the end and tells it
            while True:
                await asyncio.sleep(self._settings.beat)
                await self._send({"do": "beat"})

    async def _read(self, process: Process) -> None:
        reason = "the connection to its guard ended"
        try:
            while (message := await process.receive()) is not None:
                self._take(message)
        except (OSError, ValueError, EngineError) as error:
            reason = f"the connection to its guard broke: {error}"
        if self._ended_because:
            reason = self._ended_because
        self._gone.set()
        lost = EngineError(f"{reason}; {process.last_words()}", host=self.name)
        for waiting in (*self._starting.values(), *self._cancelling.values()):
            if not waiting.done():
                waiting.set_exception(lost)
        for ending in self._ending.values():
            if not ending.done():
                ending.set_result(None)
        if self._stop_task is None:
            self._hear(Gone(self.name, reason, clean=self._done is not None))

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("is"):
            case "said":
                self._said(message["child"], message["message"])
            case "ended":
                self._child_ended(message["child"], message["status"], message["tail"])
            case "cancelled":
                future = self._cancelling.get(message["attempt"])
                if future is not None and not future.done():
                    future.set_result(message)
            case "ending":
                self._ended_because = message["reason"]
            case "done":
                self._done = message

    def _said(self, child: str, message: dict[str, Any]) -> None:
        starting = self._starting.get(child)
        if starting is not None and not starting.done() and message["event"] in {"up", "failed"}:
            if message["event"] == "up":
                starting.set_result(message)
            else:
                starting.set_exception(EngineError(_explain(self._words(child), message["error"]), host=self.name))
        else:
            self._hear(Said(self.name, child, message))

    def _child_ended(self, child: str, status: int | None, tail: str) -> None:
        text = f"{self._words(child)} ended with status {status}" + (f"; its last lines:\n{tail}" if tail else "")
        starting, ending = self._starting.get(child), self._ending.get(child)
        if starting is not None and not starting.done():
            starting.set_exception(EngineError(_explain(self._words(child), text), host=self.name))
        elif ending is not None:
            if not ending.done():
                ending.set_result(None)
        else:
            self._hear(Ended(self.name, child, text))

    def _words(self, child: str) -> str:
        return f"{child} ({self.host.python} -m timeeval.engines.worker_main)"


def _explain(thing: str, text: str) -> str:
    """Return a message with cause and remedy for what is known to go wrong when a child starts."""
    hints = {
        "No such file or directory": "the environment is missing there; run `timeeval-provision create-envs`",
        "No module named": "the environment lacks a module; run `timeeval-provision create-envs`",
        "Address already in use": "the port is taken there (`ss -ltnp` says by whom); set another under [ports]",
        "Cannot assign requested address": "the address is not the machine's own; set `address` in cluster.toml",
        "No space left on device": "the disk is full there; `timeeval-provision check` says which",
        "TimeoutError": "a firewall between the nodes, or an overloaded machine; see `timeeval-provision check`",
        "Permission denied": "this user may not do that there; see `timeeval-provision check`",
    }
    remedy = next((hint for needle, hint in hints.items() if needle in text), "")
    prefix = "" if text.startswith(thing) else f"{thing} failed: "
    return f"{prefix}{text}" + (f"\n{remedy}" if remedy else "")
