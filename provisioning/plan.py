"""Observe, difference, bring, settle, observe again: what every command does, and the only place that changes nodes.

A dry run is what happens before the first change. Nodes fail alone: whatever goes wrong on one is written into its
report, and the others go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning.asking import let_in
from provisioning.endings import NONSENSE, senseless
from provisioning.errors import ChangedError, NodeError, ProvisionError
from provisioning.launch import open_session
from provisioning.observing import Observation, Wanted, observe
from provisioning.parallel import for_each
from provisioning.report import NodeReport, Report
from provisioning.resources.base import Change, Closable, Difference, Finding

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Ahead, Session
    from provisioning.resources.base import Needs, OnEvent, Resource
    from provisioning.transfer.base import OnNodeEvent, Transfer

ROUNDS = 3
"""A change may only show what else is due (a new environment has yet to read the datasets), but not for ever."""

RENEWALS = 2
"""Times that files which changed while they were copied are read and sent again."""


@dataclass(frozen=True, slots=True)
class Job:
    """One command's work.

    Attributes
    ----------
    cluster : Cluster
    nodes : tuple of Node
    resources : sequence of Resource
        In the order in which they settle.
    transfer : Transfer
        The engine for bytes.
    needs : Needs or None
        What one experiment needs; None stands for all that the cluster file names.
    dry_run : bool
        Change nothing.
    deep : bool
        Read every file that is known by a digest, also where size and times say that it is the same.
    on_event : callable
        Progress of a node.
    ahead : Ahead or None
        Nodes that are being logged in to already.
    """

    cluster: Cluster
    nodes: tuple[Node, ...]
    resources: Sequence[Resource[Any]]
    transfer: Transfer
    needs: Needs | None = None
    dry_run: bool = False
    deep: bool = False
    on_event: OnNodeEvent = field(default=lambda _node, _event: None)
    ahead: Ahead | None = None

    def teller(self, node: Node) -> OnEvent:
        """Return the progress callback of one node."""
        return lambda event: self.on_event(node.name, event)


def run(job: Job, then: Callable[[Mapping[str, Session], Report], Report] | None = None) -> Report:
    """Carry out a job.

    Parameters
    ----------
    job : Job
    then : callable, optional
        Goes on with the open sessions of the nodes and the report so far, e.g. to verify; returns the final report.

    Returns
    -------
    Report
        One line per node, whatever happened to it.
    """
    state = _State(job)
    try:
        state.connect()
        state.observe(job.nodes)
        if not job.dry_run:
            state.converge()
        report = state.report()
        return report if then is None else then(state.sessions, report)
    finally:
        for resource in job.resources:
            if isinstance(resource, Closable):
                resource.close()
        state.close()


class _State:
    """What is known of each node while a job runs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.sessions: dict[str, Session] = {}
        self.wanted = Wanted(job.cluster, job.resources, job.needs, deep=job.deep)
        self.observations: dict[str, Observation] = {}
        self.differences: dict[str, dict[str, Difference]] = {}
        self.made: dict[str, list[Change]] = {node.name: [] for node in job.nodes}
        self.errors: dict[str, ProvisionError] = {}
        self.renewals = 0
        self._asked: set[str] = set()

    def connect(self) -> None:
        """Open one connection per node; who looks at the access to nodes is let in by nothing but a login.

        Meanwhile what is to be asked is made ready here, for which folders are read. Who is connected is asked at once,
        while others have yet to log in.
        """
        anew = any(resource.name == "access" for resource in self.job.resources)

        questions: dict[str, dict[str, Any]] = {}

        def one(node: Node) -> None:
            self.job.on_event(node.name, {"title": "connect", "done": 0, "total": 0})
            begun = self.job.ahead
            self.sessions[node.name] = (
                open_session(self.job.cluster, node, anew=anew) if anew or begun is None else begun.open(node)
            )
            reading.join()
            if len(questions) == len(self.job.nodes):
                self._ask(node, questions[node.name])
                self._asked.add(node.name)

        def ahead() -> None:
            with suppress(Exception):  # whatever it is, it is met again by who needs the answer
                for node in self.job.nodes:
                    questions[node.name] = self.wanted.questions(node)

        reading = threading.Thread(target=ahead, name="read ahead", daemon=True)
        reading.start()
        self._each(self.job.nodes, one)
        reading.join()
        if not anew:  # a run logs in by other means as well, for which nobody can answer
            self._each(let_in(self.job.cluster, self.job.nodes, self.errors), one)

    def observe(self, nodes: Sequence[Node]) -> None:
        """Ask nodes what they have; the first answers of all of them decide what is wanted."""
        waiting = [node for node in nodes if self._well(node) and node.name not in self._asked]
        self._asked.clear()
        questions = {node.name: self.wanted.questions(node) for node in waiting}
        self._each(waiting, lambda node: self._ask(node, questions[node.name]))
        if not self.wanted.desired:
            self.wanted.decide(self.observations)
        for node in nodes:
            if self._well(node):
                # what the driver could not bring was not asked for again, and is due as before
                before = self.differences.get(node.name, {})
                left = {name: each for name, each in before.items() if name in self.wanted.errors}
                try:
                    self.differences[node.name] = left | self.wanted.differences(node, self.observations[node.name])
                except NONSENSE as error:  # of what it says, for what is wanted has been decided
                    self.differences[node.name] = left
                    self.fail(node, senseless(node.name, error))

    def _ask(self, node: Node, questions: Mapping[str, Any]) -> None:
        observation = observe(self.sessions[node.name], questions, self.job.teller(node))
        self.wanted.check(node, observation)
        self.observations[node.name] = observation

    def converge(self) -> None:
        """Make changes until none is due; one that is due again although it was made is a failure."""
        made: dict[str, set[tuple[str, str]]] = {node.name: set() for node in self.job.nodes}
        for _ in range(ROUNDS):
            due = [node for node in self.job.nodes if self._well(node) and self.changes(node)]
            for node in due:
                again = [change for change in self.changes(node) if (change.resource, change.title) in made[node.name]]
                if again:
                    self.errors[node.name] = NodeError(
                        f"{again[0].resource}: still due after it was done: {again[0].title}",
                        host=node.name,
                        remedy="run the command again with -v; something else may change the same folder",
                    )
            due = [node for node in due if self._well(node)]
            if not due:
                return
            for node in due:
                made[node.name] |= {(change.resource, change.title) for change in self.changes(node)}
            if self.apply(due):
                made = {node.name: set() for node in self.job.nodes}
                due = list(self.job.nodes)
            self.observe([node for node in due if self._well(node)])

    def apply(self, nodes: Sequence[Node]) -> bool:
        """Make the changes that are due on these nodes; return whether files of the driver changed meanwhile."""
        from provisioning.apply import Wave

        differences = {node.name: self.applicable(node) for node in nodes}
        with ExitStack() as stack:
            wave = Wave(self.job.cluster, self.job.resources, self.wanted.desired, self.sessions, self.job.on_event)
            errors = wave.run(stack, nodes, differences, self.job.transfer)
        self.wanted.errors.update(wave.errors)
        renewed = self.renewals < RENEWALS and any(isinstance(error, ChangedError) for error in errors.values())
        if renewed:
            self.renewals += 1
            errors = {name: error for name, error in errors.items() if not isinstance(error, ChangedError)}
            self.wanted.renew(self.observations)
        for node in nodes:
            if node.name in errors:
                self.fail(node, errors[node.name])
            else:
                self.made[node.name] += [
                    change
                    for resource, difference in differences[node.name].items()
                    if resource not in wave.errors
                    for change in difference.changes
                ]
        return renewed

    def applicable(self, node: Node) -> dict[str, Difference]:
        """Return what can be changed on a node: resources that lack something and that nothing blocks."""
        return {
            name: difference
            for name, difference in self.differences[node.name].items()
            if difference.changes and not difference.blocked and name not in self.wanted.errors
        }

    def changes(self, node: Node) -> list[Change]:
        """Return the changes that can be made on a node."""
        return [change for difference in self.applicable(node).values() for change in difference.changes]

    def report(self) -> Report:
        """Say what became of each node, and what concerns none of them alone."""
        driver = self.job.cluster.driver.name
        general = tuple(
            Finding(error.host or driver, resource, error.message, error.remedy or "")
            for resource, error in self.wanted.errors.items()
        )
        nodes = tuple(self._line(node) for node in self.job.nodes)
        return Report(nodes, general, tuple(self.wanted.errors.values()))

    def _line(self, node: Node) -> NodeReport:
        differences = self.differences.get(node.name, {})
        seen = self.observations.get(node.name)
        return NodeReport(
            node=node.name,
            made=tuple(self.made[node.name]),
            due=tuple(change for difference in differences.values() for change in difference.changes),
            findings=tuple(finding for difference in differences.values() for finding in difference.findings),
            error=self.errors.get(node.name),
            dry_run=self.job.dry_run,
            facts={} if seen is None else seen.answers,
        )

    def fail(self, node: Node, error: ProvisionError) -> None:
        """Take a node out of what follows."""
        self.errors[node.name] = error
        self.job.on_event(node.name, {"title": "failed", "error": str(error)})

    def close(self) -> None:
        """End all connections."""
        for session in self.sessions.values():
            session.close()

    def _well(self, node: Node) -> bool:
        return node.name not in self.errors

    def _each(self, nodes: Sequence[Node], work: Callable[[Node], None]) -> None:
        results = for_each(nodes, work, parallel=self.job.cluster.limits.parallel)
        for node in nodes:
            outcome = results[node.name]
            if isinstance(outcome, ProvisionError):
                self.fail(node, outcome)
