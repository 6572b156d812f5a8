"""What a command has to say: one line per node, the table, JSON lines, the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from provisioning.errors import NodeError, ProvisionError, UnreachableError
from provisioning.noderange import fold

if TYPE_CHECKING:
    from provisioning.resources.base import Change, Finding

State = Literal["ok", "changed", "due", "failed", "unreachable"]
STATES: tuple[State, ...] = ("ok", "changed", "due", "failed", "unreachable")
SCHEMA = "timeeval.provision/1"
ERROR_SCHEMA = "timeeval.error/1"
MATRIX_SCHEMA = "timeeval.matrix/1"
COMPARE = {"check", "verify"}
"""Commands that compare the nodes with each other."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What became of one node.

    Attributes
    ----------
    node : str
    made : tuple of Change
        Changes that were made.
    due : tuple of Change
        Changes that the last observation still finds necessary.
    findings : tuple of Finding
        What only a person can mend.
    error : ProvisionError or None
        Why the work on this node ended early.
    dry_run : bool
        Whether changes that are due were left so on purpose.
    facts : mapping
        Resource name -> what was observed last.
    """

    node: str
    made: tuple[Change, ...] = ()
    due: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: ProvisionError | None = None
    dry_run: bool = False
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """One word for it."""
        if isinstance(self.error, UnreachableError):
            return "unreachable"
        if self.error is not None or any(finding.severity == "error" for finding in self.findings):
            return "failed"
        if self.due:
            return "due" if self.dry_run else "failed"
        return "changed" if self.made else "ok"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a command.

    Attributes
    ----------
    nodes : tuple of NodeReport
    findings : tuple of Finding
        What concerns no node alone: the driver, the cluster file, an experiment's needs.
    errors : tuple of ProvisionError
        Where `findings` come from.
    plan : tuple of str
        How bytes travelled, or would.
    """

    nodes: tuple[NodeReport, ...]
    findings: tuple[Finding, ...] = ()
    errors: tuple[ProvisionError, ...] = ()
    plan: tuple[str, ...] = ()

    def exit_code(self, *, finding: int = NodeError.exit_code) -> int:
        """Return the bit field of the command's outcome.

        Parameters
        ----------
        finding : int
            The bit for findings and for changes that are still due: 4 where the command was to make changes, 16 where
            it was to prove that there are none.
        """
        code = 0
        for error in self.errors:
            code |= error.exit_code
        for node in self.nodes:
            if node.error is not None:
                code |= node.error.exit_code
            elif node.state == "failed":
                code |= finding
        return code

    def by_state(self) -> dict[State, list[str]]:
        """Return the names of the nodes by their state, in the order ok, changed, due, failed, unreachable."""
        names: dict[State, list[str]] = {state: [] for state in STATES}
        for node in self.nodes:
            names[node.state].append(node.node)
        return {state: nodes for state, nodes in names.items() if nodes}


def lines(report: Report, *, dry_run: bool = False) -> Iterator[str]:
    """Write a report for people: what was done, what was found, the table, the total.

    Equal lines of several nodes are written once, with the nodes' names folded.
    """
    yield from (f"plan  {text}" for text in report.plan)
    verb = "would" if dry_run else "done"
    done = [
        (node.node, f"{change.resource}: {change.title}{_size(change.size)}")
        for node in report.nodes
        for change in (node.due if dry_run else node.made)
    ]
    for text, names in _folded(done):
        yield f"{verb:<5} {names}: {text}"
    problems = [(node.node, _advice(_told(node.error))) for node in report.nodes if node.error is not None]
    problems += [
        (node.node, f"{finding.resource}: {_advice((finding.message, finding.remedy))}")
        for node in report.nodes
        for finding in node.findings
        if finding.severity == "error"
    ]
    for text, names in _folded(problems):
        yield f"error {names}: {text}"
    for finding in report.findings:
        yield f"error {finding.resource}: {_advice((finding.message, finding.remedy))}"
    warnings = [
        (node.node, f"{finding.resource}: {_advice((finding.message, finding.remedy))}")
        for node in report.nodes
        for finding in node.findings
        if finding.severity == "warning"
    ]
    for text, names in _folded(warnings):
        yield f"warn  {names}: {text}"
    for state, members in report.by_state().items():
        yield f"{state:<12} {len(members):>4}  {fold(members)}"
    size = sum(change.size for node in report.nodes for change in (node.due if dry_run else node.made))
    yield f"{'total':<12} {len(report.nodes):>4}  nodes{_size(size)}"


def documents(report: Report, command: str) -> Iterator[str]:
    """Write a report for programs: one JSON object per line, each with its schema; ``check`` also tells its facts."""
    for finding in report.findings:
        yield json.dumps({"schema": SCHEMA, "command": command, "node": None, "findings": [_finding(finding)]})
    for node in report.nodes:
        facts = {"facts": dict(node.facts)} if command == "check" else {}
        yield json.dumps(
            facts
            | {
                "schema": SCHEMA,
                "command": command,
                "node": node.node,
                "state": node.state,
                "made": [_change(change) for change in node.made],
                "due": [_change(change) for change in node.due],
                "findings": [_finding(finding) for finding in node.findings],
                "plan": list(report.plan),
                "error": None if node.error is None else _error(node.error),
            }
        )


def odd(report: Report, command: str, *, everything: bool = False) -> Iterator[str]:
    """Tell people in which facts nodes are unlike the others, for commands that compare them."""
    if command in COMPARE:
        from provisioning.facts import lines as told
        from provisioning.facts import matrix

        yield from told(matrix(_facts(report)), everything=everything)


def matrix_document(report: Report) -> str:
    """Write the facts of all nodes, equal values folded, as one JSON object."""
    from provisioning.facts import matrix

    rows = [row.to_json() for row in matrix(_facts(report))]
    return json.dumps({"schema": MATRIX_SCHEMA, "node": None, "facts": rows})


def _facts(report: Report) -> dict[str, dict[str, str]]:
    from provisioning.facts import flat

    return {node.node: flat(node.facts) for node in report.nodes}


def document(error: ProvisionError) -> str:
    """Write why a command could not begin, as one JSON object."""
    return json.dumps({"schema": ERROR_SCHEMA, "host": error.host, "exit_code": error.exit_code, **_error(error)})


def _told(error: ProvisionError) -> tuple[str, str]:
    """Return message and remedy of an error."""
    return error.message, error.remedy or ""


def _error(error: ProvisionError) -> dict[str, Any]:
    return {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}


def _change(change: Change) -> dict[str, Any]:
    return {"resource": change.resource, "title": change.title, "size": change.size}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "resource": finding.resource,
        "severity": finding.severity,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _advice(text: tuple[str, str]) -> str:
    message, remedy = text
    return f"{message}; {remedy}" if remedy else message


def _folded(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    nodes: dict[str, list[str]] = {}
    for node, text in rows:
        nodes.setdefault(text, []).append(node)
    for text, names in nodes.items():
        yield text, fold(names)


def size_text(size: int, before: str = " ") -> str:
    """Write a number of bytes for people, with something before it; nothing for none."""
    if not size:
        return ""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(str(size)) - 1, 14) // 3
    return f"{before}{size / 1000**power:.3g} {units[power]}"


def _size(size: int) -> str:
    return f" ({size_text(size, '')})" if size else ""
