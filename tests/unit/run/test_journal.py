"""The journal: durable rows, one writer, and what resume reads from it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from timeeval.errors import JournalError, JournalWriteError
from timeeval.run.filesystem import is_network_file_system
from timeeval.run.journal import Journal
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
from timeeval.run.records import Limits, MetricIdentity, RunInfo

METRICS = {"ROC_AUC": MetricIdentity()}


def execution(name: str = "x") -> Execution:
    return Execution(name, Cell("alg", "coll", name, "p", 1))


def run(number: int = 1, *, limits: Limits | None = None, metrics: dict[str, MetricIdentity] | None = None) -> RunInfo:
    return RunInfo(
        f"r{number}", 1, "digest", float(number), limits or Limits(), METRICS if metrics is None else metrics
    )


def attempt(number: int = 1, name: str = "x", run_id: str = "r1") -> Attempt:
    return Attempt(f"{run_id}-{name}-{number}", name, number, "node1")


def report(of: Attempt, outcome: Outcome = Outcome.OK, **values: float | None) -> Report:
    return Report(of.id, outcome, of.host, 1.0, 2.0, hyper_params='{"a": 0}', values=values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path):
    with Journal.open(path) as opened:
        yield opened


def begin(journal: Journal, *names: str, info: RunInfo | None = None) -> None:
    journal.begin_run(info or run(), [(execution(name), {"training": "UNSUPERVISED"}) for name in names or ("x",)])


def finish(journal: Journal, of: Attempt, outcome: Outcome = Outcome.OK, **values: float | None) -> None:
    journal.write([AttemptStarted(of, 0.5), AttemptEnded(report(of, outcome, **values))])


def test_grid_keeps_its_order_and_empty_cells(journal: Journal) -> None:
    begin(journal, "z", "a", "m")
    finish(journal, attempt(name="m"), ROC_AUC=0.75, execute_main_time=2.5)
    rows = journal.rows()
    assert [row.cell.dataset for row in rows] == ["z", "a", "m"]
    assert [row.outcome for row in rows] == [None, None, Outcome.OK]
    assert rows[2].metrics == {"ROC_AUC": 0.75}
    assert rows[2].times == {"execute_main_time": 2.5}
    assert (rows[2].host, rows[2].hyper_params, rows[2].details) == ("node1", '{"a": 0}', {"training": "UNSUPERVISED"})


def test_undefined_metric_is_a_row_without_value(journal: Journal) -> None:
    begin(journal)
    finish(journal, attempt(), ROC_AUC=float("nan"))
    assert journal.rows()[0].metrics == {"ROC_AUC": None}


def test_second_end_of_an_attempt_is_refused_and_changes_nothing(journal: Journal) -> None:
    begin(journal)
    finish(journal, attempt(), ROC_AUC=0.5)
    with pytest.raises(JournalError, match="r1-x-1 is not open"):
        journal.write([HostSetAside("node1", "why", 1.0), AttemptEnded(report(attempt(), ROC_AUC=0.9))])
    assert journal.rows()[0].metrics == {"ROC_AUC": 0.5}
    assert journal.hosts_set_aside("r1") == [], "one transaction: all rows or none"


def test_superseded_outcomes_are_kept(journal: Journal) -> None:
    begin(journal)
    late = report(attempt(), Outcome.ERROR)
    journal.write([AttemptStarted(attempt(), 0.0), AttemptSuperseded(late)])
    assert journal.superseded() == [late]
    assert journal.rows()[0].outcome is None


def test_record_prefers_what_the_algorithm_said(journal: Journal) -> None:
    begin(journal)
    finish(journal, attempt(1), Outcome.INFRA)
    finish(journal, attempt(2), Outcome.OK, ROC_AUC=0.5)
    finish(journal, attempt(3), Outcome.INFRA)
    assert journal.rows()[0].number == 2


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM])
def test_algorithm_outcomes_are_finished(journal: Journal, outcome: Outcome) -> None:
    begin(journal)
    finish(journal, attempt(), outcome)
    assert journal.finished(Limits()) == {"x": outcome}
    assert journal.finished(Limits(), retry=frozenset({outcome})) == {}


@pytest.mark.parametrize("outcome", [Outcome.INFRA, Outcome.CANCELLED])
def test_machinery_outcomes_are_due_again(journal: Journal, outcome: Outcome) -> None:
    begin(journal)
    finish(journal, attempt(), outcome)
    assert journal.finished(Limits()) == {}
    assert journal.attempts_made() == {"x": 1}


@pytest.mark.parametrize(
    ("outcome", "now", "due"),
    [
        (Outcome.TIMEOUT, Limits(10, 20, 100), False),
        (Outcome.TIMEOUT, Limits(10, 21, 100), True),
        (Outcome.TIMEOUT, Limits(None, 20, 100), True),
        (Outcome.TIMEOUT, Limits(10, 20, 200), False),
        (Outcome.TIMEOUT, Limits(5, 5, 50), False),
        (Outcome.OOM, Limits(10, 20, 101), True),
        (Outcome.OOM, Limits(99, 99, 100), False),
        (Outcome.OOM, Limits(10, 20, None), True),
        (Outcome.OK, Limits(99, 99, 999), False),
        (Outcome.ERROR, Limits(99, 99, 999), False),
    ],
)
def test_an_outcome_is_due_again_when_its_limit_grew(
    journal: Journal, outcome: Outcome, now: Limits, due: bool
) -> None:
    begin(journal, info=run(limits=Limits(10, 20, 100)))
    finish(journal, attempt(), outcome)
    assert (journal.finished(now) == {}) is due


def test_new_metric_definition_hides_the_old_value(journal: Journal) -> None:
    begin(journal)
    finish(journal, attempt(), ROC_AUC=0.5)
    begin(journal, info=run(2, metrics={"ROC_AUC": MetricIdentity(definition="2")}))
    assert journal.rows("r2")[0].metrics == {}
    assert journal.rows("r1")[0].metrics == {"ROC_AUC": 0.5}


def test_latest_run_is_shown_by_default(journal: Journal) -> None:
    begin(journal, "x")
    begin(journal, "x", "y", info=run(2))
    assert len(journal.rows()) == 2
    assert len(journal.rows("r1")) == 1
    assert [r.id for r in journal.runs()] == ["r1", "r2"]


def test_empty_journal_has_no_rows(journal: Journal) -> None:
    assert journal.rows() == []


def test_outcomes_of_a_dead_driver_are_adopted_once(path: Path) -> None:
    with Journal.open(path) as first:
        begin(first)
        first.write([AttemptStarted(attempt(), 0.0)])
    with Journal.open(path) as second:
        assert second.open_attempts() == [("r1-x-1", "node1")]
        found = report(attempt(), ROC_AUC=0.5)
        stranger = Report("other-1", Outcome.OK, "node1", 0.0, 0.0)
        assert second.adopt([found, stranger, found]) == 1
        assert second.rows()[0].metrics == {"ROC_AUC": 0.5}
        assert second.open_attempts() == []


def test_rows_before_a_run_are_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no run has begun"):
        journal.write([HostSetAside("a", "b", 0.0)])


def test_second_writer_is_refused_with_the_holder(journal: Journal, path: Path) -> None:
    begin(journal)
    with pytest.raises(JournalError, match=rf"being written by process {os.getpid()} on "):
        Journal.open(path)


def test_reader_sees_rows_while_they_are_written(journal: Journal, path: Path) -> None:
    begin(journal)
    with Journal.read(path) as reader:
        assert reader.rows()[0].outcome is None
        finish(journal, attempt(), ROC_AUC=0.5)
        assert reader.rows()[0].outcome is Outcome.OK


def test_reader_never_meets_a_journal_in_the_making(tmp_path: Path) -> None:
    """Whoever finds the file finds its tables; the first version showed an empty one for a moment."""
    seen: list[str] = []
    made = threading.Event()

    def look(path: Path) -> None:
        while not path.exists() and not made.is_set():
            pass
        with Journal.read(path) as reader:
            seen.append(path.name if reader.rows() == [] else "rows")

    for number in range(20):
        path = tmp_path / f"{number}.sqlite"
        made.clear()
        watcher = threading.Thread(target=look, args=(path,))
        watcher.start()
        Journal.open(path).close()
        made.set()
        watcher.join()
    assert seen == [f"{number}.sqlite" for number in range(20)]


def test_reader_cannot_write(journal: Journal, path: Path) -> None:
    begin(journal)
    with Journal.read(path) as reader, pytest.raises(JournalError, match="readonly"):
        reader.begin_run(run(2), [])


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look at" * 30])
def test_file_that_is_no_journal_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match="journal"):
        Journal.read(path)


def test_garbage_is_not_overwritten(path: Path) -> None:
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(JournalError, match="cannot be used as a journal"):
        Journal.open(path)
    assert path.read_bytes() == b"precious" * 1000


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["CREATE TABLE theirs (a)"], "is a database, but no journal of a run"),
        (["CREATE TABLE meta (key, value)"], "is a database, but no journal of a run"),
        (["CREATE TABLE meta (key, value)", "INSERT INTO meta VALUES ('version', 'x1')"], "journal version x1"),
    ],
)
def test_somebody_elses_database_is_left_as_it_is(path: Path, statements: list[str], why: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    before = path.read_bytes()
    for way in (Journal.open, Journal.read):
        with pytest.raises(JournalError, match=why):
            way(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == [path.name]


def test_damage_deep_inside_is_told_with_the_file_and_the_remedy(path: Path) -> None:
    with Journal.open(path) as journal:
        grid = [(Execution(f"k{n}", Cell("a", "c", f"d{n}", "p", 1)), {}) for n in range(500)]
        journal.begin_run(run(), grid)
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(255 - byte for byte in content[8192:])
    path.write_bytes(content)
    told = pytest.raises(JournalError, match=r"journal\.sqlite cannot be used as a journal: .*Restore it from a copy")
    with told, Journal.read(path) as reader:
        reader.rows()
    with pytest.raises(JournalError, match="cannot be used as a journal"), Journal.open(path) as journal:
        begin(journal, run=run(2))


def test_a_full_disk_ends_writing_and_loses_nothing_that_was_written(path: Path) -> None:
    with Journal.open(path) as journal:
        begin(journal)
        [(pages,)] = journal._query("PRAGMA page_count")
        journal._query(f"PRAGMA max_page_count = {pages}")  # what SQLite does when the disk is full, it does now
        big = [HostSetAside("node1", "x" * 60_000, 1.0)] * 5
        with pytest.raises(JournalWriteError, match=r"could not be written: .*full.*free space.*--resume"):
            journal.write(big)
        assert len(journal.rows()) == 1
        journal._query("PRAGMA max_page_count = 100000")
        journal.write(big)
    with Journal.read(path) as reader:
        assert len(reader.hosts_set_aside("r1")) == 5


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalWriteError, match=r"cannot be written: .*Name a results folder"):
        Journal.open(tmp_path / "nowhere" / "journal.sqlite")


def test_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal at .*nowhere"):
        Journal.read(tmp_path / "nowhere")


def test_newer_version_is_refused(path: Path) -> None:
    Journal.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    with pytest.raises(JournalError, match="journal version 99"):
        Journal.open(path)


WRITER = """
import os
import signal
import sys
from pathlib import Path
from timeeval.run import journal as journals
from timeeval.run.model import *
from timeeval.run.records import Limits, RunInfo
journals.is_network_file_system = lambda path: sys.argv[2] == "network"
journal = journals.Journal.open(Path(sys.argv[1]))
grid = [Execution(f"k{i}", Cell("a", "c", f"d{i}", "p", 1)) for i in range(2000)]
number = len(journal.runs())
done = journal.finished(Limits())
journal.begin_run(RunInfo(f"r{number}", 1, "g", float(number)), [(e, {}) for e in grid])
for i in range(len(done), 2000):
    a = Attempt(f"r{number}-{i}", f"k{i}", 1, "h")
    journal.write([AttemptStarted(a, 0.0)])
    if sys.argv[3:] and i == 3:  # die in the midst of a transaction whose pages have reached the file
        connection = journal._connection
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE execution SET details = ?", ("y" * 3000,))
        os.kill(os.getpid(), signal.SIGKILL)
    journal.write([AttemptEnded(Report(a.id, Outcome.OK, "h", 0.0, 1.0))])
    print(i, flush=True)
"""


@pytest.mark.parametrize("network", [False, True])
def test_no_committed_row_is_lost_when_the_writer_is_killed_at_any_moment(path: Path, network: bool) -> None:
    """Each writer goes on where the last one was killed, in the midst of whatever it did after so many rows."""
    chance = random.Random(7)
    said = -1
    for _ in range(6):
        argv = [sys.executable, "-c", WRITER, str(path), "network" if network else "local"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            last = said + chance.randrange(1, 60)
            for line in writer.stdout:
                said = int(line)
                if said >= last:
                    time.sleep(chance.random() / 100)  # somewhere between two commits, or within one
                    writer.send_signal(signal.SIGKILL)
                    break
            said = max([said, *(int(line) for line in writer.stdout)])
        assert writer.returncode == -signal.SIGKILL
        with Journal.open(path) as journal:
            assert journal._query("PRAGMA integrity_check") == [("ok",)]
            finished = journal.finished(Limits())
            assert len(finished) >= said + 1
            assert set(finished) == {f"k{i}" for i in range(len(finished))}


def test_what_a_writer_on_a_network_file_system_left_half_done_can_be_looked_at(path: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(path), "network", "die"]
    assert subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert Path(f"{path}-journal").stat().st_size > 0
    with Journal.read(path) as reader:
        assert sum(row.outcome is not None for row in reader.rows()) == 3


def test_network_mounts_are_known() -> None:
    mounts = "/dev/vda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/vdb /home/my\\040disk ext4 rw 0 0\n"
    assert is_network_file_system(Path("/home/me/results"), mounts)
    assert not is_network_file_system(Path("/srv/results"), mounts)
    assert not is_network_file_system(Path("/home/my disk/results"), mounts)
    assert not is_network_file_system(Path("/homestead"), mounts)


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *((kind, True) for kind in ("nfs", "cifs", "9p", "virtiofs", "lustre", "fuse.sshfs", "fuse.juicefs", "fuse")),
        *((kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk")),
    ],
)
def test_every_kind_of_file_system_has_its_answer(kind: str, network: bool) -> None:
    mounts = f"/dev/vda / ext4 rw 0 0\nthere /mnt/Daten\\040für\udcffuns {kind} rw 0 0\n"
    assert is_network_file_system(Path("/mnt/Daten für\udcffuns/results"), mounts) is network


FULL = 2


def test_write_ahead_log_only_on_local_file_systems(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal.open(path).close()
    modes = []
    for network in (False, True):
        monkeypatch.setattr("timeeval.run.journal.is_network_file_system", lambda _path, answer=network: answer)
        with Journal.open(path) as journal:
            with journal.still() as query:
                assert query("PRAGMA synchronous").fetchone()[0] == FULL  # else a power cut takes committed rows
            connection = sqlite3.connect(path)
            modes.append(connection.execute("PRAGMA journal_mode").fetchone()[0])
            connection.close()
    assert modes == ["wal", "delete"]


def test_details_are_json(journal: Journal) -> None:
    begin(journal)
    assert json.loads(json.dumps(journal.rows()[0].details)) == {"training": "UNSUPERVISED"}


def test_a_closed_journal_is_one_file_and_looking_at_it_leaves_none(path: Path) -> None:
    with Journal.open(path) as journal:
        begin(journal)
        assert Path(f"{path}-wal").exists()
    with Journal.read(path) as reader:
        assert len(reader.rows()) == 1
    assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == [path.name]


def test_a_reader_does_not_hold_up_the_end(path: Path) -> None:
    with Journal.open(path) as journal:
        begin(journal, "x", "y")
        reader = Journal.read(path)
        rows = reader.each_row("r1")
        next(rows)
    assert len(list(rows)) == 1
    reader.close()
