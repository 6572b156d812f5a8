"""Reports as nodes send them: whatever they hold, the journal takes it or it is no report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timeeval.run.journal import Journal
from timeeval.run.model import Attempt, AttemptEnded, AttemptStarted, Cell, Execution, HostSetAside, Outcome, Report
from timeeval.run.records import RunInfo

GOOD = json.loads(Report("r1-1", Outcome.OK, "node1", 1.0, 2.0, hyper_params="{}", values={"ROC_AUC": 0.5}).to_json())


def document(**fields: object) -> str:
    return json.dumps({**GOOD, **fields})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"values": ' * 50_000,
        document(started=float("nan")),
        document(ended=float("inf")),
        document(ended=10**400),
        document(cpu_seconds=float("-inf")),
        document(peak_memory=2**63),
        document(peak_memory=-1),
        document(peak_memory=float("inf")),
        document(outcome="fine"),
        document(outcome=["ok"]),
        document(values={"ROC_AUC": "much"}),
        document(values={"ROC_AUC": 10**400}),
        document(error=None),
        document(hyper_params="x" * (1 << 21)),
        document(attempt=7),
    ],
)
def test_what_cannot_be_kept_is_no_report(text: str) -> None:
    with pytest.raises(ValueError, match="malformed report"):
        Report.from_json(text)


def test_a_report_is_what_it_was() -> None:
    report = Report("r1-1", Outcome.ERROR, "node1", 1.0, 2.0, "KeyError('ä')", "a\n\tb", "{}", {"x": None}, 0.5, 7)
    assert Report.from_json(report.to_json()) == report


def test_texts_of_a_hostile_node_are_kept_harmless_and_short(tmp_path: Path) -> None:
    text = document(outcome="error", error="\x1b[2J\udcff" + "x" * 10_000_000, traceback="\ud800", values={"\udcff": 1})
    report = Report.from_json(text)
    assert len(report.error) < 100_000
    assert report.error.startswith(r"\x1b[2J\udcff")

    attempt = Attempt("r1-1", "x", 1, "node1")
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        journal.begin_run(RunInfo("r1", 1, "g", 0.0), [(Execution("x", Cell("alg", "coll", "x", "p", 1)), {})])
        journal.write([AttemptStarted(attempt, 0.0), AttemptEnded(report)])
        [row] = journal.rows()
    assert row.error == report.error


def test_what_the_driver_quotes_is_kept_too(tmp_path: Path) -> None:
    attempt = Attempt("r1-1", "x", 1, "node1")
    said = Report("r1-1", Outcome.INFRA, "node1", 0.0, 1.0, error="node1 said \udcff")
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        journal.begin_run(RunInfo("r1", 1, "g", 0.0), [(Execution("x", Cell("alg", "coll", "x", "p", 1)), {})])
        journal.write([AttemptStarted(attempt, 0.0), AttemptEnded(said), HostSetAside("node1", "it said \udcff", 1.0)])
        journal.end_run(2.0, "it said \udcff")
        assert journal.hosts_set_aside("r1") == [("node1", r"it said \udcff")]
        [row] = journal.rows()
    assert row.error == r"node1 said \udcff"
