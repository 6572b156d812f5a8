"""All tables of a journal as CSV and Parquet."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from timeeval.cli_results import results_command
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    AttemptSuperseded,
    Cell,
    Execution,
    HostSetAside,
    Outcome,
    Report,
)
from timeeval.run.records import MetricIdentity, RunInfo
from timeeval.run.tables import TABLES

NAMES = {"runs", "grid", "executions", "attempts", "metric_values", "superseded", "host_events"}
READ = """
import json, sys
from pathlib import Path
import pyarrow.parquet
found = {}
for path in Path(sys.argv[1]).glob("*.parquet"):
    table = pyarrow.parquet.read_table(path)
    found[path.stem] = [{field.name: str(field.type) for field in table.schema}, table.to_pylist()]
print(json.dumps(found))
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two experiments; the first one's first attempt was lost with its host, the second has not ended yet."""
    executions = [Execution(name, Cell("alg", "coll", name, "p", 1)) for name in ("x", "y")]
    lost, good, open_one = (
        Attempt("a1", "x", 1, "node1"),
        Attempt("a2", "x", 2, "node2"),
        Attempt("a3", "y", 1, "node2"),
    )
    ended = Report("a2", Outcome.OK, "node2", 2.0, 3.5, hyper_params='{"ü": "a,b"}', values={"time": 1.5, "AUC": 0.25})
    late = Report("a1", Outcome.OK, "node1", 1.0, 9.0)
    with Journal.open(tmp_path / FILE_NAME) as journal:
        journal.begin_run(
            RunInfo("r1", 1, "digest", 1.0, metrics={"AUC": MetricIdentity()}),
            [(one, {"k": "v"}) for one in executions],
        )
        journal.write([AttemptStarted(lost, 0.5)])
        journal.write([AttemptEnded(Report("a1", Outcome.INFRA, "node1", 1.0, 2.0, error="lost"))])
        journal.write([AttemptStarted(good, 2.0), AttemptEnded(ended), AttemptSuperseded(late)])
        journal.write([AttemptStarted(open_one, 3.0), HostSetAside("node1", "it is gone", 4.0)])
    return tmp_path


@pytest.fixture(scope="module")
def pyarrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment with the extra `parquet`, which this one does without: pandas changes where it is."""
    folder = tmp_path_factory.mktemp("pyarrow")
    uv = str(Path(sys.prefix) / "bin" / "uv")
    install = [uv if Path(uv).exists() else shutil.which("uv") or "uv", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--python", sys.executable, "--target", str(folder), "pyarrow>=21"], check=True)
    return {**os.environ, "PYTHONPATH": str(folder)}


def tables(*arguments: str) -> str:
    done = CliRunner().invoke(results_command, ["tables", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_csv_has_every_table_with_attempts_that_did_not_become_the_record(results):
    said = tables(str(results), "--format", "csv")
    assert f"{results}/tables/attempts.csv: 3 rows" in said.splitlines()
    found = {}
    for path in (results / "tables").iterdir():
        with path.open(newline="", encoding="utf-8") as file:
            found[path.name.removesuffix(".csv")] = list(csv.DictReader(file))
    assert found.keys() == NAMES
    assert [(row["id"], row["host"], row["outcome"], row["is_record"]) for row in found["attempts"]] == [
        ("a1", "node1", "infra-error", "0"),
        ("a2", "node2", "ok", "1"),
        ("a3", "node2", "", "0"),
    ]
    assert json.loads(found["attempts"][1]["hyper_params"]) == {"ü": "a,b"}
    assert [(row["name"], float(row["value"])) for row in found["metric_values"]] == [("AUC", 0.25)]
    assert [row["reason"] for row in found["host_events"]] == ["it is gone"]


def test_the_tables_have_all_columns_of_the_journal(results):
    ours = {table.name: set(table.columns) for table in TABLES}
    kept = {"runs": "run", "executions": "execution", "attempts": "attempt", "metric_values": "metric_value"}
    kept |= {"grid": "grid", "superseded": "superseded", "host_events": "host_event"}
    with Journal.read(results / FILE_NAME) as journal, journal.still() as query:
        for name, table in kept.items():
            columns = {row[1] for row in query(f"PRAGMA table_info({table})")}
            surrogate = {"id"} if name in {"superseded", "host_events"} else set()
            assert ours[name] - {"is_record"} == columns - surrogate
        listed = {row[0] for row in query("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert listed - {"meta", "sqlite_sequence"} == set(kept.values())


def test_parquet_has_types_and_what_is_not_there_is_null(results, pyarrow):
    command = [sys.executable, "-c", "from timeeval.cli_results import results_main; results_main()"]
    done = subprocess.run([*command, "tables", str(results)], capture_output=True, text=True, env=pyarrow, check=False)
    assert done.returncode == 0, done.stderr
    read = subprocess.run(
        [sys.executable, "-c", READ, str(results / "tables")], capture_output=True, text=True, env=pyarrow, check=True
    )
    found = json.loads(read.stdout)
    assert found.keys() == NAMES
    types, rows = found["attempts"]
    assert (types["id"], types["number"], types["started_at"], types["is_record"]) == (
        "string",
        "int64",
        "double",
        "bool",
    )
    assert [(row["id"], row["is_record"], row["outcome"], row["ended_at"]) for row in rows] == [
        ("a1", False, "infra-error", 2.0),
        ("a2", True, "ok", 3.5),
        ("a3", False, None, None),
    ]
    assert found["executions"][1][0]["details"] == '{"k": "v"}'


def test_without_pyarrow_the_extra_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = CliRunner().invoke(results_command, ["tables", str(results)])
    assert done.exit_code != 0
    assert "pip install 'timeeval-cluster[parquet]'" in done.output
    assert not (results / "tables").exists()


def test_a_folder_that_cannot_be_written_is_named(results):
    (results / "taken").touch()
    done = CliRunner().invoke(
        results_command, ["tables", str(results), "--format", "csv", "-o", str(results / "taken/x")]
    )
    assert done.exit_code != 0
    assert f"{results}/taken/x/runs.csv could not be written" in done.output
