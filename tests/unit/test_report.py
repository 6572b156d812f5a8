"""What a command says about its nodes, and its exit code."""

from __future__ import annotations

import json

from provisioning.errors import LockedError, NodeError, UnreachableError, UsageError
from provisioning.plain import plain
from provisioning.report import NodeReport, Report, documents, lines
from provisioning.resources.base import Change, Finding


def change(node: str) -> Change:
    return Change(node, "datasets", "copy 3 files to /data", 1234567)


REPORT = Report(
    (
        NodeReport("node01", made=(change("node01"),)),
        NodeReport("node02", made=(change("node02"),)),
        NodeReport("node03"),
        NodeReport("node04", error=UnreachableError("did not answer", host="node04", remedy="see whether it is up")),
        NodeReport("node05", findings=(Finding("node05", "host", "no rsync", "install it"),)),
        NodeReport("node06", findings=(Finding("node06", "host", "slow clock", "see ntp", "warning"),)),
    )
)


def test_equal_lines_are_written_once_with_folded_names() -> None:
    assert list(lines(REPORT)) == [
        "done  node[01-02]: datasets: copy 3 files to /data (1.23 MB)",
        "error node04: did not answer; see whether it is up",
        "error node05: host: no rsync; install it",
        "warn  node06: host: slow clock; see ntp",
        "ok              2  node[03,06]",
        "changed         2  node[01-02]",
        "failed          1  node05",
        "unreachable     1  node04",
        "total           6  nodes (2.47 MB)",
    ]


def test_the_exit_code_is_a_bit_field() -> None:
    assert REPORT.exit_code() == 4 | 8
    assert REPORT.exit_code(finding=16) == 16 | 8
    assert Report((NodeReport("a"),)).exit_code() == 0
    assert Report((NodeReport("a", error=LockedError("held")),), errors=(UsageError("x"),)).exit_code() == 32 | 2


def test_changes_that_are_due_fail_unless_it_is_a_dry_run() -> None:
    due = Report((NodeReport("a", due=(change("a"),)),))
    assert (due.nodes[0].state, due.exit_code(), due.exit_code(finding=16)) == ("failed", 4, 16)
    dry = Report((NodeReport("a", due=(change("a"),), dry_run=True),))
    assert (dry.nodes[0].state, dry.exit_code()) == ("due", 0)


def test_every_json_line_is_an_object_with_its_schema() -> None:
    rows = [json.loads(line) for line in documents(REPORT, "sync-datasets")]
    assert {row["schema"] for row in rows} == {"timeeval.provision/1"}
    assert [row["state"] for row in rows] == ["changed", "changed", "ok", "unreachable", "failed", "ok"]
    assert rows[0]["made"] == [{"resource": "datasets", "title": "copy 3 files to /data", "size": 1234567}]
    assert rows[3]["error"] == {
        "kind": "UnreachableError",
        "message": "did not answer",
        "remedy": "see whether it is up",
    }


def test_findings_of_no_node_have_a_line_of_their_own() -> None:
    finding = Finding("local", "datasets", "datasets.csv lists what is missing", "put it there")
    report = Report((NodeReport("a", error=NodeError("x")),), (finding,), (UsageError("y"),))
    assert "error datasets: datasets.csv lists what is missing; put it there" in list(lines(report))
    assert json.loads(next(iter(documents(report, "up"))))["node"] is None


def test_an_error_that_quotes_a_node_does_nothing_to_a_terminal() -> None:
    error = NodeError("it said \x1b[2J\x07", host="node1", remedy="look there")
    assert str(error) == "node1: it said \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}; look there"
    shown = list(lines(Report((NodeReport("node1", error=error),))))
    assert all(plain(line) == line for line in shown)
