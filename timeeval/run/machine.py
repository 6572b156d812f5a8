"""The run's logic as a pure state machine: events in, commands and journal rows out, the clock passed in.

Nothing here does I/O, waits or reads a clock. Rows returned by `Machine.handle` must be durable before its commands are
carried out; then a crash at any point loses at most work in progress, never a finished result:

* execution is at-least-once: an attempt that the machinery ended is tried again elsewhere, a bounded number of times;
* the record is exactly-once: the first outcome of an attempt counts, a second or late one is kept as superseded;
* what the algorithm did wrong (error, timeout, out of memory) is its result and is never tried again.

Attempts that are expected to be short go to a slot as a bundle. Each has its own outcome; what is left of a bundle that
the machinery ended is due again, each alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from timeeval.run.agenda import Agenda
from timeeval.run.forecast import SURE, Forecast
from timeeval.run.hosts import Host, Hosts
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
from timeeval.run.policy import Policy


@dataclass(slots=True)
class _Trouble:
    """What the machinery did to an execution so far."""

    interruptions: int = 0
    avoid: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Bundle:
    """What one slot has been given and did not end yet."""

    host: Host
    name: str
    open: int
    last: str = ""  # the attempt after which its slot is free


@dataclass(slots=True)
class _Running:
    attempt: Attempt
    execution: Execution
    bundle: _Bundle
    cancelled: bool = False


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
        due = list(executions)
        seen: set[str] = set()
        for execution in due:
            if execution.key in seen:
                raise ValueError(f"two executions have the key {execution.key}")
            seen.add(execution.key)
        self._policy = policy or Policy()
        self._run_id = run_id
        self._attempts = dict(prior_attempts or {})
        self._forecast = Forecast()
        self._agenda = Agenda(due, self._forecast)
        self._trouble: dict[str, _Trouble] = {}
        self._hosts = Hosts(self._forecast)
        self._issued = 0
        self._scouts: dict[
            str, tuple[float, Execution]
        ] = {}  # the first of each algorithm that nobody knows, and since
        self._running: dict[str, _Running] = {}
        self._given_up: list[tuple[float, str]] = []  # heap of when attempts of lost hosts are not hoped for any more
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
    def running_count(self) -> int:
        """Number of attempts that are out."""
        return len(self._running)

    @property
    def remaining(self) -> int:
        """Number of executions without a final outcome, running ones included."""
        return len(self._agenda) + len(self._running)

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
            case Reported(report):
                self._reported(report, now, commands, rows)
            case HostUp(host, slots, speed):
                self._hosts.up(host, slots, speed)
            case HostLost():
                self._host_lost(event, now)
            case Interrupted():
                self._interrupted(event, now, commands, rows)
            case StopRequested(stop_now):
                self._stop(stop_now, commands)
            case Tick():
                pass
        self._give_up(now, commands, rows)
        if not self._finished:
            self._watch_scouts(now)
            self._dispatch(now, commands, rows)
            self._maybe_finish(now, commands)
        return commands, rows

    def can_wait(self, event: Event) -> bool:
        """Tell whether an event sends nothing by itself, so that it may be handled together with later ones."""
        running = self._running.get(event.report.attempt) if isinstance(event, Reported) else None
        return running is not None and running.bundle.last != running.attempt.id

    # --- events ---------------------------------------------------------------------------------------------------

    def _host_lost(self, event: HostLost, now: float) -> None:
        host = self._hosts.lost(event.host, now + event.fenced_after)
        if host is not None:
            for running in self._running.values():
                if running.bundle.host is host:
                    heapq.heappush(self._given_up, (host.given_up_at, running.attempt.id))

    def _reported(self, report: Report, now: float, commands: list[Command], rows: list[Row]) -> None:
        running = self._running.get(report.attempt)
        if running is None:
            if self._is_mine(report.attempt):
                rows.append(AttemptSuperseded(report))
            return  # an attempt this run never made is nobody's record
        attempt, host = running.attempt, running.bundle.host
        if report.host != attempt.host:  # a node speaks for itself only
            report = replace(report, host=attempt.host)
        self._end(running)
        if report.outcome is Outcome.CANCELLED and not running.cancelled:
            report = replace(report, outcome=Outcome.INFRA, error=report.error or "cancelled, but not by this run")
        if report.outcome is Outcome.INFRA and report.changed:
            self._again(running)  # nothing was tried: it does not count against the execution
            rows.append(AttemptEnded(report))
            self._set_aside(host, report.error, now, commands, rows)
            return
        if report.outcome is Outcome.INFRA:
            rows.append(self._failed(running, report, cause=attempt.execution))
            self._judge(host, now, commands, rows)
            return
        if report.outcome is Outcome.CANCELLED:
            self._again(running)
        else:
            host.failures.clear()
            self._trouble.pop(attempt.execution, None)
            self._forecast.learn(running.execution, host.name, report.ended - report.started)
            self._agenda.learned(running.execution.cell.algorithm)
        rows.append(AttemptEnded(report))

    def _interrupted(self, event: Interrupted, now: float, commands: list[Command], rows: list[Row]) -> None:
        running = self._running.get(event.attempt)
        if running is None:
            return
        host = running.bundle.host
        if not host.is_up and now < host.given_up_at and not event.cancelled:
            return  # the host is lost but its lease is not over: the outcome may still come
        outcome = Outcome.CANCELLED if event.cancelled else Outcome.INFRA
        report = Report(event.attempt, outcome, host.name, now, now, error=event.reason)
        self._broken(running, report, running.bundle.name, commands, rows)

    def _stop(self, now: bool, commands: list[Command]) -> None:
        self._draining = True
        if now:
            for attempt_id, running in self._running.items():
                if not running.cancelled:
                    running.cancelled = True
                    commands.append(Cancel(attempt_id))

    # --- consequences ---------------------------------------------------------------------------------------------

    def _is_mine(self, attempt_id: str) -> bool:
        run_id, _, number = attempt_id.rpartition("-")
        return run_id == self._run_id and number.isdecimal() and 0 < int(number) <= self._issued

    def _give_up(self, now: float, commands: list[Command], rows: list[Row]) -> None:
        while self._given_up and self._given_up[0][0] <= now:
            running = self._running.get(heapq.heappop(self._given_up)[1])
            if running is None:
                continue
            host = running.bundle.host
            if not host.is_up and host.given_up_at <= now:  # else it came back within its lease
                error = f"lost with host {host.name}"
                report = Report(running.attempt.id, Outcome.INFRA, host.name, now, now, error=error)
                # However many experiments went with it: the loss of a host is one failure of that host.
                self._broken(running, report, f"lost at {host.given_up_at}", commands, rows)

    def _broken(self, running: _Running, report: Report, cause: str, commands: list[Command], rows: list[Row]) -> None:
        """Book that the machinery ended an attempt without a report of its own."""
        self._end(running)
        if report.outcome is Outcome.CANCELLED or running.cancelled:
            self._again(running)
            rows.append(AttemptEnded(replace(report, outcome=Outcome.CANCELLED)))
        else:
            rows.append(self._failed(running, report, cause=cause))
            self._judge(running.bundle.host, report.ended, commands, rows)

    def _end(self, running: _Running) -> None:
        del self._running[running.attempt.id]
        running.bundle.open -= 1
        if running.bundle.open == 0:
            self._hosts.freed(running.bundle.host)

    def _again(self, running: _Running) -> None:
        self._attempts[running.execution.key] = running.attempt.number
        self._agenda.add(running.execution)

    def _failed(self, running: _Running, report: Report, *, cause: str) -> Row:
        """Book an infrastructure error: due again elsewhere, or final when its retries are used up.

        What is counted against the host is the `cause`.
        """
        key, host = running.execution.key, running.bundle.host
        trouble = self._trouble.setdefault(key, _Trouble())
        trouble.interruptions += 1
        trouble.avoid |= {host.name}
        host.failures.add(cause)
        if trouble.interruptions > self._policy.infra_retries:
            del self._trouble[key]
        else:
            self._again(running)
        return AttemptEnded(report)

    def _judge(self, host: Host, now: float, commands: list[Command], rows: list[Row]) -> None:
        if len(host.failures) >= self._policy.host_failures:
            reason = f"{len(host.failures)} times in a row executions ended there as infrastructure errors"
            self._set_aside(host, reason, now, commands, rows)

    def _set_aside(self, host: Host, reason: str, now: float, commands: list[Command], rows: list[Row]) -> None:
        if self._hosts.set_aside(host):
            commands.append(SetAside(host.name, reason))
            rows.append(HostSetAside(host.name, reason, now))

    # --- sending --------------------------------------------------------------------------------------------------

    def _dispatch(self, now: float, commands: list[Command], rows: list[Row]) -> None:
        if self._draining:
            return
        passed_over: list[Execution] = []
        while self._hosts.any_free() and (execution := self._agenda.take()) is not None:
            trouble = self._trouble.get(execution.key)
            host = self._hosts.best(trouble.avoid if trouble is not None else frozenset())
            if host is None:
                passed_over.append(execution)
                continue
            chosen = [execution]
            if trouble is None and not execution.alone:
                self._fill(chosen)
            attempts = self._start(chosen, host)
            if not execution.measured and not self._forecast.seen(execution.cell.algorithm):
                self._scouts.setdefault(execution.cell.algorithm, (now, execution))
            commands.append(Start(attempts))
            rows.extend(AttemptStarted(attempt, now) for attempt in attempts)
        for execution in passed_over:
            self._agenda.add(execution)

    def _watch_scouts(self, now: float) -> None:
        """Learn that an algorithm is slow before one of it has ended."""
        for algorithm, (since, execution) in list(self._scouts.items()):
            if self._forecast.seen(algorithm):
                del self._scouts[algorithm]
            elif self._forecast.outlasted(execution, now - since):
                self._agenda.learned(algorithm)

    def _fill(self, chosen: list[Execution]) -> None:
        """Make a bundle of an execution that is known to be short and of what follows it, if that is short as well."""
        total = self._known_seconds(chosen[0])
        # so that all slots end at about the same time, each gets but a part of what is left
        most = min(self._policy.bundle_most, 1 + len(self._agenda) // (2 * max(1, self._hosts.slots)))
        while total < self._policy.bundle_seconds and len(chosen) < most:
            following = self._agenda.peek()
            if following is None or following.alone or following.key in self._trouble:
                return
            total += self._known_seconds(following)
            if total > self._policy.bundle_seconds:
                return
            self._agenda.take()
            chosen.append(following)

    def _known_seconds(self, execution: Execution) -> float:
        if not execution.measured and self._forecast.seen(execution.cell.algorithm) < SURE:
            return float("inf")
        return self._forecast.seconds(execution)

    def _start(self, chosen: list[Execution], host: Host) -> tuple[Attempt, ...]:
        name = chosen[0].key if len(chosen) == 1 else f"bundle {self._run_id}-{self._issued + 1}"
        bundle = _Bundle(host, name, len(chosen))
        self._hosts.taken(host)
        attempts = []
        for execution in chosen:
            self._issued += 1
            number = self._attempts.get(execution.key, 0) + 1
            attempt = Attempt(f"{self._run_id}-{self._issued}", execution.key, number, host.name)
            self._running[attempt.id] = _Running(attempt, execution, bundle)
            attempts.append(attempt)
        bundle.last = attempts[-1].id
        return tuple(attempts)

    def _maybe_finish(self, now: float, commands: list[Command]) -> None:
        if self._running:
            self._nobody_since = None
            return
        if not len(self._agenda):
            reason = ""
        elif self._draining:
            reason = "stopped on request"
        elif self._hosts.any_usable():
            return
        else:
            self._nobody_since = now if self._nobody_since is None else self._nobody_since
            if now - self._nobody_since < self._policy.patience:
                return
            reason = f"no usable host for {self._policy.patience:g} s, {len(self._agenda)} executions are left"
        self._finished = True
        commands.append(Finish(reason))
