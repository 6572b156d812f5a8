"""The driver's side of one guard: what it was told, what it said, and whether it still stands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from timeeval.engines.line import Line
from timeeval.errors import EngineError
from timeeval.plain import plain

if TYPE_CHECKING:
    from timeeval.engines.dask_settings import DaskSettings
    from timeeval.engines.launching import Host, Launcher

END_SECONDS = 90.0
CANCEL_SECONDS = 90.0
DONE_SECONDS = 90.0
UNREACHED_SECONDS = 10.0
SETTLE_SECONDS = 20.0
LAST_WORDS = 8192

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
class Cut:
    """A guard cannot be reached; what it guards goes on, but has ended `fenced_after` seconds from now."""

    host: str
    reason: str
    fenced_after: float


@dataclass(frozen=True, slots=True)
class Back:
    """A guard that could not be reached is there again, and nothing was lost."""

    host: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A guard is gone; `clean` when it is known that nothing is left."""

    host: str
    reason: str
    clean: bool
    fenced_after: float


News = Said | Ended | Cut | Back | Gone


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
        self.cuts = 0
        """How often its connection was lost."""
        self._run_id = run_id
        self._settings = settings
        self._hear = hear
        self._line: Line | None = None
        self._starting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._failed: set[str] = set()  # children that did not come up, which was told; their end is no news
        self._ending: dict[str, asyncio.Future[None]] = {}
        self._cancelling: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._stands = False
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

    @property
    def reached(self) -> bool:
        """Whether there is a connection to the guard right now."""
        return self._line is not None and self._line.connected

    def fence(self) -> float:
        """Return in how many seconds nothing runs there any more for sure, if it is not reached again."""
        left = self._line.lease_left if self._line is not None else 0.0
        return left + self._settings.grace + SETTLE_SECONDS

    async def start(self, launcher: Launcher) -> None:
        """Start the guard; raises `EngineError` naming host, cause and remedy."""
        self._line = Line(self.host, self._run_id, self._settings, launcher, self)
        ready = await self._line.open(
            {
                "python": self.host.python,
                "addresses": list(self.host.addresses),
                "environment": self._settings.all_environment(),
                "lease": self._settings.lease,
                "linger": self._settings.linger,
                "beat": self._settings.beat,
                "grace": self._settings.grace,
            }
        )
        self._stands = True
        if not ready.get("address"):
            raise EngineError(
                f"none of the addresses {', '.join(self.host.addresses) or '(none)'} belongs to it",
                host=self.name,
                remedy=f'Give its own IP address: address = "…" under [host."{self.name}"] in cluster.toml.',
            )
        self.address = ready["address"]
        for run in ready.get("swept", []):
            logger.warning("%s: what the dead run %s had left there was removed", self.name, plain(str(run)))
        if isinstance(lost := ready.get("logout"), dict):
            said = (self.name, plain(str(lost.get("message"))), plain(str(lost.get("remedy"))))
            logger.warning("%s: %s, so a cut of the network ends what runs there whatever the lease; %s", *said)

    async def spawn(self, child: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a child and return its first words; raises `EngineError` with its last ones."""
        future = asyncio.get_running_loop().create_future()
        self._starting[child] = future
        self._failed.discard(child)
        limit = self._settings.start_seconds
        try:
            self._send({"do": "spawn", "child": child, "spec": {**spec, "start_seconds": limit}})
            return await asyncio.wait_for(future, limit + 5)
        except TimeoutError:
            self._failed.add(child)
            raise EngineError(f"{self._words(child)} did not come up within {limit:g} s", host=self.name) from None
        finally:
            self._starting.pop(child, None)

    def tell(self, child: str, message: dict[str, Any]) -> None:
        """Send a message to a child; it waits while the guard cannot be reached."""
        self._send({"do": "tell", "child": child, "message": message})

    async def end(self, child: str) -> None:
        """End a child with all below it; returns when it has ended, or is not worth waiting for any longer."""
        future = self._ending.setdefault(child, asyncio.get_running_loop().create_future())
        with contextlib.suppress(EngineError, TimeoutError):
            self._send({"do": "end", "child": child})
            await asyncio.wait_for(future, END_SECONDS)
        self._ending.pop(child, None)

    async def cancel(self, attempt: str, slot: str, pid: int) -> None:
        """End what an attempt left or has running, its worker included."""
        future = self._cancelling.setdefault(attempt, asyncio.get_running_loop().create_future())
        try:
            self._send({"do": "cancel", "attempt": attempt, "slot": slot, "pid": pid})
            done = await self._patiently(future)
            if done.get("problem"):
                problem = plain(str(done["problem"]))
                logger.warning("%s: containers of attempt %s may be left: %s", self.name, attempt, problem)
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
        if self._line is None:
            return ""
        with contextlib.suppress(EngineError):
            self._send({"do": "quit"})
        if self._stands and not await self._has_gone(UNREACHED_SECONDS) and self.reached:
            await self._has_gone(DONE_SECONDS)
        until = _time_of_day(self._line.lease_left + self._settings.grace)
        await self._line.close()
        if self._done is None and self._stands:
            return f"{self.name}: its guard did not say that it had cleaned up; its lease ends the rest by {until}"
        return plain(f"{self.name}: {self._done['problem']}") if self._done and self._done.get("problem") else ""

    async def _has_gone(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), seconds)
        return self.gone

    # --- what comes over the line ---------------------------------------------------------------------------------

    def cut(self, reason: str, seconds: float) -> None:
        """See `timeeval.engines.line.Ear`."""
        if self._stop_task is not None:
            return
        self.cuts += 1
        logger.warning(
            "%s: connection lost (%s); trying again, its experiments go on until %s",
            self.name,
            plain(reason),
            _time_of_day(seconds),
        )
        self._hear(Cut(self.name, reason, self.fence()))

    def back(self) -> None:
        """See `timeeval.engines.line.Ear`."""
        if self._stop_task is None:
            logger.warning("%s: connected again, nothing was lost", self.name)
            self._hear(Back(self.name))

    def over(self, reason: str) -> None:
        """See `timeeval.engines.line.Ear`."""
        reason = plain(str(self._ended_because or (self._done or {}).get("reason") or reason))
        self._gone.set()
        words = plain(self._line.last_words()) if self._line is not None else ""
        lost = EngineError(f"{reason}; {words}" if words else reason, host=self.name)
        for waiting in (*self._starting.values(), *self._cancelling.values()):
            if not waiting.done():
                waiting.set_exception(lost)
        for ending in self._ending.values():
            if not ending.done():
                ending.set_result(None)
        if self._stop_task is None:
            clean = self._done is not None
            self._hear(Gone(self.name, reason, clean=clean, fenced_after=0.0 if clean else self.fence()))

    def take(self, message: dict[str, Any]) -> None:
        """See `timeeval.engines.line.Ear`."""
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

    # --- inside ---------------------------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        if self._line is None or self.gone:
            raise EngineError("its guard is gone", host=self.name)
        self._line.send(message)

    async def _patiently(self, future: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for an answer; a guard that cannot be reached is waited for as long as its lease goes on."""
        while True:
            try:
                return await asyncio.wait_for(asyncio.shield(future), CANCEL_SECONDS)
            except TimeoutError:
                if self.reached or self.gone:
                    raise

    def _said(self, child: str, message: dict[str, Any]) -> None:
        starting = self._starting.get(child)
        if starting is not None and not starting.done() and message["event"] in {"up", "failed"}:
            if message["event"] == "up":
                starting.set_result(message)
            else:
                self._failed.add(child)
                starting.set_exception(EngineError(_explain(self._words(child), message["error"]), host=self.name))
        else:
            self._hear(Said(self.name, child, message))

    def _child_ended(self, child: str, status: int | None, tail: str) -> None:
        last = f"; its last lines:\n{plain(tail, LAST_WORDS)}" if tail else ""
        text = f"{self._words(child)} ended with status {status}{last}"
        starting, ending = self._starting.get(child), self._ending.get(child)
        if starting is not None and not starting.done():
            starting.set_exception(EngineError(_explain(self._words(child), text), host=self.name))
        elif ending is not None:
            if not ending.done():
                ending.set_result(None)
        elif child not in self._failed:
            self._hear(Ended(self.name, child, text))

    def _words(self, child: str) -> str:
        return f"{child} ({self.host.python} -m timeeval.engines.worker_main)"


def _explain(thing: str, text: str) -> str:
    """Return a message with cause and remedy for what is known to go wrong when a child starts."""
    wall = "a firewall between the nodes, or an overloaded machine; see `timeeval-provision check`"
    hints = {
        "No such file or directory": "the environment is missing there; run `timeeval-provision create-envs`",
        "No module named": "the environment lacks a module; run `timeeval-provision create-envs`",
        "Address already in use": "a port is taken there; end who holds it, or set another under [ports]",
        "Cannot assign requested address": "the address is not the machine's own; set `address` in cluster.toml",
        "No space left on device": "the disk is full there; `timeeval-provision check` says which",
        "Timed out trying to connect": wall,
        "Nanny failed to start": "its worker ended while it was being started: killed by hand, or for want of memory?",
        "TimeoutError": wall,
        "Permission denied": "this user may not do that there; see `timeeval-provision check`",
    }
    remedy = next((hint for needle, hint in hints.items() if needle in text), "")
    prefix = "" if text.startswith(thing) else f"{thing} failed: "
    return f"{prefix}{text}" + (f"\n{remedy}" if remedy else "")


def _time_of_day(seconds: float) -> str:
    return (datetime.now() + timedelta(seconds=seconds)).strftime("%H:%M:%S")  # noqa: DTZ005 - for a person's watch
