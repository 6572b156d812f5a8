"""Attempts on slots: what waits for one, what was sent there, what came back of it.

A parcel goes out through Dask, pinned to the worker of a slot. Its reports come over the host's own line, so they need
neither Dask nor the host of its scheduler.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from timeeval.engines.dask_settings import room_for_more
from timeeval.engines.hosts import SETTLE_SECONDS
from timeeval.errors import EngineError
from timeeval.plain import plain
from timeeval.run.model import Event, Interrupted, Report, Reported

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel
    from timeeval.engines.chores import Chores
    from timeeval.engines.dask_settings import DaskSettings
    from timeeval.engines.hosts import Said
    from timeeval.engines.members import Member, Slot

Tell = Callable[[dict[str, Any]], None]

logger = logging.getLogger(__name__)

ENDED_SECONDS = 3.0
"""How long what a worker reported before it ended may take from its node."""


class Dispatch:
    """The way of attempts to the slots of their hosts and back.

    Parameters
    ----------
    task : str
        ``module:function`` that workers run.
    details : mapping
        What every task is told besides its attempt; JSON.
    settings : DaskSettings
        How long a worker may take to come back.
    chores : Chores
        Where things are done that nobody waits for.
    post : callable
        Gets the events.
    give_up : callable
        Told of a member whose worker does not come back, and why.
    """

    def __init__(
        self,
        task: str,
        details: Mapping[str, Any],
        settings: DaskSettings,
        chores: Chores,
        *,
        post: Callable[[Event], None],
        give_up: Callable[[Member, str], None],
    ) -> None:
        self._task = task
        self._details = details
        self._settings = settings
        self._chores = chores
        self._post = post
        self._give_up = give_up
        self._running: dict[str, Member] = {}
        self._sent: dict[str, tuple[Member, Slot]] = {}  # where each parcel is that Dask has, by its key
        self._parts: Mapping[str, bytes] = {}
        self.client: Tell | None = None
        """Speaks to the Dask client; None while there is none, and what comes then waits."""

    # --- out ------------------------------------------------------------------------------------------------------

    def submit(self, member: Member, parcel: Parcel) -> None:
        """Let a parcel wait for a slot of its host."""
        self._parts = parcel.parts or self._parts
        self._running.update(dict.fromkeys((attempt.id for attempt in parcel.attempts), member))
        member.waiting.append(parcel)
        self.pump(member)

    def pump(self, member: Member) -> None:
        """Give waiting parcels to free slots."""
        while self.client is not None and (start := member.next_start()) is not None:
            slot, parcel = start
            self._sent[slot.key] = member, slot
            common = {"slot": slot.name, **self._details}
            if member.standing:
                common["standing"] = member.standing
            message = {
                "key": slot.key,
                "task": self._task,
                "jobs": [base64.b64encode(job).decode() for job in parcel.jobs],
                "details": [json.dumps({**attempt.fields(), **common}) for attempt in parcel.attempts],
                "worker": slot.address,
            }
            with contextlib.suppress(EngineError):  # then the guard is gone, and that is news of its own
                self.client(message)

    def cancel(self, attempt_id: str) -> None:
        """End an attempt with its worker; a new worker takes its place. Many can be ended at the same time."""
        member = self._running.pop(attempt_id, None)
        if member is not None:
            self._run(member, self._cancel(member, attempt_id))

    def _run(self, member: Member, work: Coroutine[Any, Any, None]) -> None:
        """Do something for a member, which is given up when that cannot be done."""
        self._chores.run(work, lambda words: self._give_up(member, words))

    async def _cancel(self, member: Member, attempt_id: str) -> None:
        if not member.withdraw(attempt_id):
            if member.guarded.reached:
                await self._clean(member, attempt_id)
            else:  # it is told when it is reached; until then its slot is taken, and its lease ends what runs there
                self._run(member, self._clean(member, attempt_id))
        self._post(Interrupted(attempt_id, "cancelled", cancelled=True))
        self.freed(member)

    # --- back -----------------------------------------------------------------------------------------------------

    def said(self, news: Said, member: Member | None, offices: Collection[str]) -> None:
        """Take a message of a child; `offices` are those of the Dask that there is now, if they are on its host."""
        child, message = news.child, news.message
        match message["event"]:
            case "slot" if member is not None:
                self.slot(member, child, message)
            case "report":
                self.report(news.host, message["attempt"], message["text"])
            case "want" if member is not None:
                self.bring(member, child, message["part"])
            case "retired" if member is not None:
                self.retired(member, child, message["begun"])
            case "refused":
                self.refused(news.host, message["key"])
            case "done":
                self.done(message["attempt"])
            case "interrupted" if child in offices:
                self.failed(message["attempt"], message["reason"])
            case "failed":
                logger.warning("%s: %s failed: %s", news.host, child, plain(str(message["error"])))

    def report(self, host: str, attempt_id: str, text: str) -> None:
        """Take what a host reports of one of its attempts, which need not be waited for any more."""
        member = self._running.get(attempt_id)
        if member is not None and member.name != host:
            logger.warning("%s reported %s, which is not its own", host, attempt_id)
            return
        try:
            report = Report.from_json(text)
            problem = "" if report.attempt == attempt_id else f"the worker reported another attempt, {report.attempt}"
        except ValueError as error:
            problem = f"what the worker sent is no report: {error}"
        if problem:
            if member is not None and (slot := member.slot_of(attempt_id)) is not None:
                self._run(member, self._failed(member, slot, slot.key, problem))
            return
        self._post(Reported(report))
        if member is None:
            return
        del self._running[attempt_id]
        slot = member.slot_of(attempt_id)
        if slot is not None:
            del slot.open[attempt_id]
        if slot is None or not slot.open:  # while a bundle goes on, nothing else can start there
            self.freed(member)

    def bring(self, member: Member, child: str, digest: str) -> None:
        """Send a host what jobs have in common; one that asks for anything else gets nothing, and says so in time."""
        part = self._parts.get(digest)
        if part is not None:
            with contextlib.suppress(EngineError):
                member.guarded.tell(child, {"part": digest, "data": base64.b64encode(part).decode()})

    def done(self, key: str) -> None:
        """Take in that Dask ended a parcel: its reports come another way, and may still come."""
        if key in self._sent:
            self._chores.later(SETTLE_SECONDS, self._expect_reports, key)

    def _expect_reports(self, key: str) -> None:
        member, _ = self._sent.get(key, (None, None))
        if member is not None and not member.guarded.reached:
            self._chores.later(SETTLE_SECONDS, self._expect_reports, key)
        else:
            self.failed(key, "its worker did not report it")

    def failed(self, key: str, reason: str) -> None:
        """Take in that Dask could not carry a parcel to its end."""
        member, slot = self._sent.get(key, (None, None))
        if member is not None and slot is not None:
            self._run(member, self._failed(member, slot, key, reason))

    async def _failed(self, member: Member, slot: Slot, key: str, reason: str) -> None:
        """Clean up after an attempt that came back without a report, then say so of all that went with it."""
        if slot.key != key:
            return
        lost = [open_id for open_id in slot.open if self._running.pop(open_id, None) is not None]
        # all at once: one after the other, the later ones would end the worker that took the place of the lost one
        await asyncio.gather(*(self._clean(member, open_id) for open_id in lost))
        for open_id in lost:
            self._post(Interrupted(open_id, f"{member.name}: {reason}"))
        self.freed(member)

    # --- slots ----------------------------------------------------------------------------------------------------

    def slot(self, member: Member, child: str, message: Mapping[str, Any]) -> None:
        """Take in which process a slot's worker is now, or that it has none."""
        slot = member.slots[message["slot"]]
        address, pid = message["address"], message["pid"]
        if child == member.child:
            slot.address, slot.pid = address, pid or slot.pid
            if slot.address is None:
                self._await_worker(member, slot)
            else:
                self.pump(member)
        if slot.open and slot.sent_in == child and (address is None or pid != slot.sent_to):
            # its worker is another one now, or none: Dask says so, unless that was on its way to it
            self._chores.later(ENDED_SECONDS, self._expect_word, slot.key)

    def _expect_word(self, key: str) -> None:
        if self.client is None:  # its Dask has ended: what did not begin is told by the host, and is nobody's fault
            self._chores.later(ENDED_SECONDS, self._expect_word, key)
        else:
            self.failed(key, "its Dask worker ended")

    def _await_worker(self, member: Member, slot: Slot) -> None:
        self._chores.later(self._settings.back_seconds, self._expect_back, member, slot, member.child, slot.pid)

    def _expect_back(self, member: Member, slot: Slot, child: str, pid: int) -> None:
        if slot.address is not None or slot.pid != pid or member.child != child or self.client is None:
            return
        if not member.guarded.reached:  # it may be back, but cannot say so
            self._await_worker(member, slot)
            return
        seconds = self._settings.back_seconds
        self._give_up(member, f"the Dask worker {slot.name} ended and did not come back within {seconds:g} s")

    def freed(self, member: Member) -> None:
        """Use what slots are free, and end earlier workers that have nothing more to do."""
        for slot in member.slots.values():
            if not slot.open and slot.key:
                self._sent.pop(slot.key, None)
                slot.key = ""
                if slot.sent_in != member.child and not member.busy_in(slot.sent_in):
                    self.retire(member, slot.sent_in)
        self.pump(member)

    async def _clean(self, member: Member, attempt_id: str) -> None:
        """End the worker of an attempt with all it started, and free its slot when that is done."""
        slot = member.slot_of(attempt_id)
        if slot is None:
            return
        if slot.sent_to == slot.pid and slot.sent_in == member.child:
            slot.address = None
            self._await_worker(member, slot)
        await member.guarded.cancel(attempt_id, f"{slot.sent_in}/{slot.name}", slot.sent_to)
        slot.open.pop(attempt_id, None)

    # --- hosts ----------------------------------------------------------------------------------------------------

    def interrupt(self, member: Member, child: str, reason: str) -> None:
        """Let nobody wait for what was sent to a child's workers, which ended, and blame nobody for it."""
        for slot in member.busy_in(child):
            for attempt_id in slot.open:  # its workers are gone, but containers of theirs may not be
                self._chores.run(member.guarded.cancel(attempt_id, f"{child}/{slot.name}", 0))
            self._withdraw(slot, reason)
        self.freed(member)

    async def make_room(self, member: Member) -> None:
        """End a host's workers where there are no ports for others beside them."""
        if member.child and not room_for_more(self._settings, len(member.slots)):
            await member.guarded.end(member.child)
            self.interrupt(member, member.child, "its ports are needed for another Dask worker")

    def retire(self, member: Member, child: str) -> None:
        """Let earlier workers begin nothing more, and end as soon as they have ended what they run."""
        if child in {"", member.child}:
            return
        if member.busy_in(child):
            with contextlib.suppress(EngineError):
                member.guarded.tell(child, {"retire": ""})
        else:
            self._chores.run(member.guarded.end(child))

    def retired(self, member: Member, child: str, begun: Collection[str]) -> None:
        """Let nobody wait for what was on its way to earlier workers when Dask was started anew."""
        for slot in member.busy_in(child):
            if slot.key not in begun:
                self._withdraw(slot, "Dask was started anew before it got there")
        self.freed(member)

    def refused(self, host: str, key: str) -> None:
        """Take in that an earlier worker did not begin a parcel any more."""
        member, slot = self._sent.get(key, (None, None))
        if member is not None and slot is not None and slot.key == key and member.name == host:
            self._withdraw(slot, "Dask was started anew before it began")
            self.freed(member)

    def _withdraw(self, slot: Slot, reason: str) -> None:
        interrupted, slot.open = slot.open, {}
        for attempt_id in interrupted:
            if self._running.pop(attempt_id, None) is not None:
                self._post(Interrupted(attempt_id, reason, cancelled=True))

    def forget(self, member: Member) -> None:
        """Let nobody wait for a host that is lost: what becomes of its attempts is the machine's to decide."""
        for attempt_id in [key for key, value in self._running.items() if value is member]:
            del self._running[attempt_id]
