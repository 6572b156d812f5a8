"""The run's logic as a pure state machine: events in, commands and journal rows out, the clock passed in.

Nothing here does I/O, waits or reads a clock. Rows returned by `Machine.handle` must be durable before its commands are
carried out; then a crash at any point loses at most work in progress, never a finished result:

* execution is at-least-once: an attempt that the machinery ended is tried again elsewhere, a bounded number of times;
* the record is exactly-once: the first outcome of an attempt counts, a second or late one is kept as superseded;
* what the algorithm did wrong (error, timeout, out of memory) is its result and is never tried again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    AttemptSuperseded,
    Cancel,
    Command,
    Event,
    Execution,
    Finish,
    HostLost,
    HostSetAside,
    HostUp,
    Interrupted,
    Outcome,
    Report,
    Reported,
    Row,
    SetAside,
    Start,
    StopRequested,
    Tick,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the machine does when the machinery fails.

    Attributes
    ----------
    infra_retries : int
        How often an execution is tried again after an infrastructure error.
    host_failures : int
        After so many executions in a row that ended as infrastructure errors on one host, the host is set aside; what
        the loss of a host ended counts as one.
    patience : float
        Seconds to wait for a host to come (back) while none is usable, before the run gives up.
    """

    infra_retries: int = 2
    host_failures: int = 3
    patience: float = 30.0


@dataclass(slots=True)
class _Work:
    execution: Execution
    attempts: int
    interruptions: int = 0
    avoid: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Running:
    attempt: Attempt
    cancelled: bool = False
    given_up_at: float | None = None  # its host is lost; a report is still welcome until then


@dataclass(slots=True)
class _Host:
    name: str
    slots: int
    up: bool = True
    aside: bool = False
    busy: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # failures since the last success: an execution, or a whole loss

    @property
    def usable(self) -> bool:
        return self.up and not self.aside

    @property
    def free(self) -> int:
        return self.slots - len(self.busy) if self.usable else 0


class Machine:
    """Decide what runs where, and what becomes the record.

    Parameters
    ----------
    executions : iterable of Execution
        What is due; keys must be unique. The longest expected ones start first.
    run_id : str
        Prefix of the attempt ids.
    prior_attempts : mapping of str to int, optional
        How many attempts each execution had in earlier runs of this journal.
    policy : Policy, optional
        Bounds for retries.

    Raises
    ------
    ValueError
        If two executions have the same key.
    """

    def __init__(
        self,
        executions: Iterable[Execution],
        run_id: str,
        prior_attempts: Mapping[str, int] | None = None,
        policy: Policy | None = None,
    ) -> None:
        prior = prior_attempts or {}
        self._policy = policy or Policy()
        self._run_id = run_id
        self._work: dict[str, _Work] = {}
        self._queue: list[tuple[float, int, str]] = []
        for position, execution in enumerate(executions):
            if execution.key in self._work:
                raise ValueError(f"two executions have the key {execution.key}")
            self._work[execution.key] = _Work(execution, attempts=prior.get(execution.key, 0))
            self._queue.append((-execution.expected_seconds, position, execution.key))
        heapq.heapify(self._queue)
        self._positions = len(self._queue)
        self._issued = 0
        self._ended: set[str] = set()
        self._running: dict[str, _Running] = {}
        self._hosts: dict[str, _Host] = {}
        self._draining = False
        self._finished = False
        self._nobody_since: float | None = None

    @property
    def finished(self) -> bool:
        """Whether `Finish` was issued."""
        return self._finished

    @property
    def running(self) -> tuple[Attempt, ...]:
        """Attempts that are out."""
        return tuple(running.attempt for running in self._running.values())

    @property
    def remaining(self) -> int:
        """Number of executions without a final outcome, running ones included."""
        return len(self._work)

    def handle(self, event: Event, now: float) -> tuple[list[Command], list[Row]]:
        """Take in one event.

        Parameters
        ----------
        event : Event
            What happened.
        now : float
            Seconds on any clock that never goes back.

        Returns
        -------
        commands : list of Command
            To be carried out after `rows` are durable.
        rows : list of Row
            To be written in one transaction.
        """
        commands: list[Command] = []
        rows: list[Row] = []
        match event:
            case HostUp():
                self._host_up(event)
            case HostLost():
                self._host_lost(event, now)
            case Reported(report):
                self._reported(report, now, commands, rows)
            case Interrupted():
                self._interrupted(event, now, commands, rows)
            case StopRequested(stop_now):
                self._stop(stop_now, commands)
            case Tick():
                pass
        self._give_up(now, commands, rows)
        if not self._finished:
            self._dispatch(now, commands, rows)
            self._maybe_finish(now, commands)
        return commands, rows

    # --- events ---------------------------------------------------------------------------------------------------

    def _host_up(self, event: HostUp) -> None:
        host = self._hosts.setdefault(event.host, _Host(event.host, event.slots))
        host.slots, host.up = event.slots, True
        for attempt_id in host.busy:  # a cut shorter than the lease: what ran there still does
            self._running[attempt_id].given_up_at = None

    def _host_lost(self, event: HostLost, now: float) -> None:
        host = self._hosts.get(event.host)
        if host is None:
            return
        host.up = False
        fence = now + event.fenced_after
        for attempt_id in host.busy:  # told twice: it may be known by now that nothing runs there any more
            running = self._running[attempt_id]
            running.given_up_at = fence if running.given_up_at is None else min(fence, running.given_up_at)

    def _reported(self, report: Report, now: float, commands: list[Command], rows: list[Row]) -> None:
        running = self._running.get(report.attempt)
        if running is None:
            if report.attempt in self._ended:
                rows.append(AttemptSuperseded(report))
            return  # an attempt this run never made is nobody's record
        attempt = running.attempt
        report = replace(report, host=attempt.host)  # a node speaks for itself only
        self._end(attempt)
        host = self._hosts[attempt.host]
        if report.outcome is Outcome.CANCELLED and not running.cancelled:
            report = replace(report, outcome=Outcome.INFRA, error=report.error or "cancelled, but not by this run")
        if report.outcome is Outcome.INFRA and report.changed:
            self._requeue(attempt.execution)  # nothing was tried: it does not count against the execution
            rows.append(AttemptEnded(report))
            self._set_aside(host, report.error, now, commands, rows)
            return
        if report.outcome is Outcome.INFRA:
            rows.extend(self._failed(attempt, report))
            self._judge(host, now, commands, rows)
            return
        if report.outcome is Outcome.CANCELLED:
            self._requeue(attempt.execution)
        else:
            host.failed.clear()
            del self._work[attempt.execution]
        rows.append(AttemptEnded(report))

    def _interrupted(self, event: Interrupted, now: float, commands: list[Command], rows: list[Row]) -> None:
        running = self._running.get(event.attempt)
        if running is None:
            return
        attempt = running.attempt
        host = self._hosts[attempt.host]
        if not host.up and running.given_up_at is not None and now < running.given_up_at and not event.cancelled:
            return  # the host is lost but its lease is not over: the outcome may still come
        self._end(attempt)
        outcome = Outcome.CANCELLED if event.cancelled or running.cancelled else Outcome.INFRA
        report = Report(attempt.id, outcome, attempt.host, now, now, error=event.reason)
        if outcome is Outcome.CANCELLED:
            self._requeue(attempt.execution)
            rows.append(AttemptEnded(report))
        else:
            rows.extend(self._failed(attempt, report))
            self._judge(host, now, commands, rows)

    def _stop(self, now: bool, commands: list[Command]) -> None:
        self._draining = True
        if now:
            for attempt_id, running in self._running.items():
                if not running.cancelled:
                    running.cancelled = True
                    commands.append(Cancel(attempt_id))

    # --- consequences ---------------------------------------------------------------------------------------------

    def _give_up(self, now: float, commands: list[Command], rows: list[Row]) -> None:
        over = [r for r in self._running.values() if r.given_up_at is not None and now >= r.given_up_at]
        for running in over:
            attempt = running.attempt
            host = self._hosts[attempt.host]
            self._end(attempt)
            report = Report(attempt.id, Outcome.INFRA, attempt.host, now, now, error=f"lost with host {attempt.host}")
            if running.cancelled:
                self._requeue(attempt.execution)
                rows.append(AttemptEnded(replace(report, outcome=Outcome.CANCELLED)))
            else:
                # However many experiments went with it: the loss of a host is one failure of that host.
                rows.extend(self._failed(attempt, report, cause=f"lost at {running.given_up_at}"))
                self._judge(host, now, commands, rows)

    def _end(self, attempt: Attempt) -> None:
        del self._running[attempt.id]
        self._ended.add(attempt.id)
        self._hosts[attempt.host].busy.discard(attempt.id)

    def _failed(self, attempt: Attempt, report: Report, cause: str = "") -> Iterator[Row]:
        """Book an infrastructure error: due again elsewhere, or final when its retries are used up.

        What is counted against the host is the `cause`, by itself each execution.
        """
        work = self._work[attempt.execution]
        work.interruptions += 1
        work.avoid.add(attempt.host)
        self._hosts[attempt.host].failed.add(cause or attempt.execution)
        if work.interruptions > self._policy.infra_retries:
            del self._work[attempt.execution]
        else:
            self._requeue(attempt.execution)
        yield AttemptEnded(report)

    def _judge(self, host: _Host, now: float, commands: list[Command], rows: list[Row]) -> None:
        if len(host.failed) >= self._policy.host_failures:
            reason = f"{len(host.failed)} times in a row executions ended there as infrastructure errors"
            self._set_aside(host, reason, now, commands, rows)

    def _set_aside(self, host: _Host, reason: str, now: float, commands: list[Command], rows: list[Row]) -> None:
        if host.aside:
            return
        host.aside = True
        commands.append(SetAside(host.name, reason))
        rows.append(HostSetAside(host.name, reason, now))

    def _requeue(self, key: str) -> None:
        self._positions += 1
        heapq.heappush(self._queue, (-self._work[key].execution.expected_seconds, self._positions, key))

    def _dispatch(self, now: float, commands: list[Command], rows: list[Row]) -> None:
        if self._draining:
            return
        usable = {host.name for host in self._hosts.values() if host.usable}
        free = [host for host in self._hosts.values() if host.free > 0]
        passed_over: list[tuple[float, int, str]] = []
        while free and self._queue:
            entry = heapq.heappop(self._queue)
            work = self._work[entry[2]]
            avoid = work.avoid if usable - work.avoid else set()
            candidates = [host for host in free if host.name not in avoid]
            if not candidates:
                passed_over.append(entry)
                continue
            host = max(candidates, key=lambda h: (h.free / h.slots, h.name))
            attempt = self._start(work, host)
            commands.append(Start(attempt))
            rows.append(AttemptStarted(attempt, now))
            if host.free <= 0:
                free.remove(host)
        for entry in passed_over:
            heapq.heappush(self._queue, entry)

    def _start(self, work: _Work, host: _Host) -> Attempt:
        self._issued += 1
        work.attempts += 1
        attempt = Attempt(f"{self._run_id}-{self._issued}", work.execution.key, work.attempts, host.name)
        self._running[attempt.id] = _Running(attempt)
        host.busy.add(attempt.id)
        return attempt

    def _maybe_finish(self, now: float, commands: list[Command]) -> None:
        if self._running:
            self._nobody_since = None
            return
        if not self._work:
            reason = ""
        elif self._draining:
            reason = "stopped on request"
        elif any(host.usable for host in self._hosts.values()):
            return
        else:
            self._nobody_since = now if self._nobody_since is None else self._nobody_since
            if now - self._nobody_since < self._policy.patience:
                return
            reason = f"no usable host for {self._policy.patience:g} s, {len(self._work)} executions are left"
        self._finished = True
        commands.append(Finish(reason))
