"""Ask a node all questions in one call, and say what lies between the answers and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning.endings import senseless
from provisioning.errors import ProvisionError
from provisioning.resources.base import Difference, Finding, Renewable, Skeptical

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.resources.base import Needs, OnEvent, Resource

OBSERVE = "provisioning.node.observe"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one node answered.

    Attributes
    ----------
    answers : mapping
        Resource name -> what its program observed.
    findings : tuple of Finding
        Resources whose program failed there.
    """

    answers: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Wanted:
    """What must be there: the answer of each resource that concerns all nodes, or why it has none.

    Attributes
    ----------
    deep : bool
        Whether nodes are to read again what they know by size and times.
    desired : dict
        Resource name -> what it wants.
    errors : dict
        Resource name -> why nothing is known of it: a file on the driver that is missing, an experiment's needs that
        the cluster file does not meet. The other resources go on.
    """

    cluster: Cluster
    resources: Sequence[Resource[Any]]
    needs: Needs | None
    deep: bool = False
    desired: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, ProvisionError] = field(default_factory=dict)

    def questions(self, node: Node) -> dict[str, Any]:
        """Return what is asked of a node."""
        asked = {}
        for resource in self.resources:
            if resource.name in self.errors:
                continue
            try:
                question = resource.question(self.cluster, node, self.needs)
            except ProvisionError as error:
                self.errors[resource.name] = error
                continue
            asked[resource.name] = {"program": resource.program, "question": {**question, "deep": self.deep}}
        return asked

    def check(self, node: Node, observation: Observation) -> None:
        """Look whether a node's answers are such that what all nodes answered can be decided upon.

        Raises
        ------
        NodeError
            When one of them is not what was agreed.
        """
        for resource in self.resources:
            seen = observation.answers.get(resource.name)
            if seen is not None and isinstance(resource, Skeptical) and not resource.sensible(seen):
                raise senseless(node.name, dict(list(seen.items())[:3]), program=resource.program)

    def decide(self, observations: Mapping[str, Observation]) -> None:
        """Let every resource say what must be there, by what all nodes have answered."""
        facts = {node: observation.answers for node, observation in observations.items()}
        for resource in self.resources:
            if resource.name in self.errors or resource.name in self.desired:
                continue
            try:
                self.desired[resource.name] = resource.desired(self.cluster, facts, self.needs)
            except ProvisionError as error:
                self.errors[resource.name] = error

    def renew(self, observations: Mapping[str, Observation]) -> None:
        """Read again what must be there: a file of the driver has changed meanwhile."""
        for resource in self.resources:
            if isinstance(resource, Renewable):
                resource.renew()
                self.desired.pop(resource.name, None)
        self.decide(observations)

    def differences(self, node: Node, observation: Observation) -> dict[str, Difference]:
        """Return resource name -> what lies between on this node; a resource that could not observe is blocked."""
        found = {}
        for resource in self.resources:
            failed = tuple(finding for finding in observation.findings if finding.resource == resource.name)
            if failed:
                found[resource.name] = Difference(findings=failed)
            elif resource.name in self.desired and resource.name in observation.answers:
                observed, desired = observation.answers[resource.name], self.desired[resource.name]
                found[resource.name] = resource.difference(self.cluster, node, observed, desired)
        return found


def observe(session: Session, questions: Mapping[str, Any], on_event: OnEvent) -> Observation:
    """Ask a node, in one call.

    Parameters
    ----------
    session : Session
    questions : mapping
        What `Wanted.questions` returned for this node.
    on_event : callable
        Progress.

    Returns
    -------
    Observation

    Raises
    ------
    ProvisionError
        When the node is lost, or answers nothing at all.
    """
    programs = sorted({str(asked["program"]) for asked in questions.values()})
    asked = {"questions": questions}
    replies = session.call(OBSERVE, asked, on_event=on_event, also=programs, more=True) if questions else {}
    answers, findings = {}, []
    for resource, reply in replies.items():
        if "observed" in reply:
            answers[resource] = reply["observed"]
            continue
        error = reply["error"]
        remedy = error.get("remedy") or "see the log (-v) for where it failed on the node"
        findings.append(Finding(session.node.name, resource, f"cannot be observed: {error['message']}", remedy))
    return Observation(answers, tuple(findings))
