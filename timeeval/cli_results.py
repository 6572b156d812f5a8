"""The command ``timeeval-results``; everything it does lives elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from timeeval import cli_away
from timeeval._version import __version__
from timeeval.cli_exits import Exit, code_of
from timeeval.cli_streams import standard_streams, told

if TYPE_CHECKING:
    from timeeval.run.driven import Driven

ROW_SCHEMA = "timeeval.result/1"
END_SCHEMA = "timeeval.run-end/1"
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FORMATS = ("parquet", "csv")
CLUSTER = click.option("--cluster", type=FILE, help="The cluster file, if it is not where it was.")


@click.group("timeeval-results", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def results_command() -> None:
    """Look at results folders of timeeval-run, and at the drivers of their runs."""


@results_command.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per experiment.")
@CLUSTER
def show(folder: Path, as_json: bool, cluster: Path | None) -> None:
    """Print the experiments of a results FOLDER with the host each ran on, also while the run goes on.

    A folder of several runs shows its latest one.
    """
    command = ["show", *(["--json"] if as_json else [])]
    _ask_driver(folder, lambda note: cli_away.answer(note, folder, command, cluster))
    from timeeval.errors import TimeEvalError
    from timeeval.run.journal import FILE_NAME, Journal
    from timeeval.run.layout import run_folder
    from timeeval.run.remarks import remarks
    from timeeval.run.views import shown_row, shown_table

    try:
        results_path = run_folder(folder)
        with Journal.read(results_path / FILE_NAME) as journal:
            rows = journal.rows()
            runs = journal.runs()
    except TimeEvalError as error:
        _fail(error)
    if as_json:
        for row in rows:
            click.echo(json.dumps({"schema": ROW_SCHEMA, **shown_row(row)}))
    else:
        click.echo(shown_table(rows))
        for line in remarks(results_path, rows, runs):
            click.echo(told(line))


@results_command.command("export")
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File; results.csv in FOLDER.")
def export_command(folder: Path, output: Path | None) -> None:
    """Write results.csv of a results FOLDER as its journal has it now, also while the run goes on or after a crash."""
    from timeeval.errors import TimeEvalError
    from timeeval.run.exporting import export
    from timeeval.run.journal import FILE_NAME
    from timeeval.run.layout import run_folder

    note = cli_away.note_of(folder)
    if note is not None and not (folder / FILE_NAME).exists():
        _fail(f"the run of {folder} lives on {note.host}, and nothing of it was fetched yet: timeeval-results fetch")
    try:
        path, count = export(run_folder(folder), output)
    except TimeEvalError as error:
        _fail(error, code_of(error))
    click.echo(f"{path}: {count} experiments")


@results_command.command("tables")
@click.argument("folder", type=FOLDER)
@click.option("--format", "form", type=click.Choice(FORMATS), default="parquet", show_default=True)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder; FOLDER/tables.")
def tables_command(folder: Path, form: str, output: Path | None) -> None:
    """Write all that the journal of a results FOLDER knows: runs, executions, attempts with hosts, metric values."""
    from timeeval.errors import TimeEvalError
    from timeeval.run.layout import run_folder
    from timeeval.run.tables import write_tables

    try:
        results_path = run_folder(folder)
        written = write_tables(results_path, output or results_path / "tables", form)
    except TimeEvalError as error:
        _fail(error, code_of(error))
    for path, count in written.items():
        click.echo(f"{path}: {count} rows")


@results_command.command("watch")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: one per outcome, and one for the end.")
@CLUSTER
def watch_command(folder: Path, as_json: bool, cluster: Path | None) -> None:
    """Follow the run of a results FOLDER until its driver ends, from any machine that sees the folder.

    Exits with the driver's own exit code, with 4 when it ended without one. Nothing is written, but for a run that
    another host drives (--on): files of its finished experiments come here meanwhile.
    """
    _ask_driver(folder, lambda note: cli_away.watch(note, folder, cluster, as_json=as_json))
    from timeeval.errors import TimeEvalError
    from timeeval.run.layout import run_folder
    from timeeval.run.views import shown_line, shown_row
    from timeeval.run.watching import watch

    try:
        path = run_folder(folder)
        for view in watch(path):
            for row in view.fresh:
                click.echo(json.dumps({"schema": ROW_SCHEMA, **shown_row(row)}) if as_json else shown_line(row))
            driver, counts = view.driver, view.counts
    except TimeEvalError as error:
        _fail(error)
    if driver is None or driver.exit_code is None:
        _fail(
            f"the driver is gone without a last word. `timeeval-run … --resume {path}` computes the rest", Exit.FAILED
        )
    summary = {"schema": END_SCHEMA, "outcomes": counts, "exit_code": driver.exit_code}
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    click.echo(json.dumps(summary) if as_json else f"ended with exit code {driver.exit_code}: {text}")
    sys.exit(driver.exit_code)


@results_command.command("stop")
@click.argument("folder", type=FOLDER)
@click.option("--now", is_flag=True, help="Stop running experiments at once instead of giving them time to end.")
@CLUSTER
def stop_command(folder: Path, now: bool, cluster: Path | None) -> None:
    """End the run of a results FOLDER in good order, and wait until it has ended; --resume goes on from there."""
    command = ["stop", *(["--now"] if now else [])]
    _ask_driver(folder, lambda note: cli_away.answer(note, folder, command, cluster))
    from timeeval.errors import TimeEvalError
    from timeeval.run.driver import stop
    from timeeval.run.layout import run_folder

    try:
        path = run_folder(folder)
        driver = stop(path, now=now)
    except TimeEvalError as error:
        _fail(error)
    code = "" if driver.exit_code is None else f" with exit code {driver.exit_code}"
    click.echo(f"the driver has ended{code}; `timeeval-run … --resume {path}` goes on")


@results_command.command("fetch")
@click.argument("folder", type=FOLDER)
@click.option(
    "--collect", type=click.Choice(["all", "scores"]), default="all", help="Scores: TimeEval's own files only."
)
@CLUSTER
def fetch(folder: Path, collect: str, cluster: Path | None) -> None:
    """Bring what a results FOLDER's experiments left on their hosts, and only what is not here yet."""
    from timeeval.cluster.fetching import fetch_left
    from timeeval.errors import TimeEvalError
    from timeeval.run.collected import Collect
    from timeeval.run.layout import run_folder

    note = cli_away.note_of(folder)
    try:
        if note is not None:
            sys.exit(cli_away.fetch(note, folder, collect, cluster))
        problem = fetch_left(run_folder(folder), Collect(collect), cluster)
    except TimeEvalError as error:
        _fail(error, code_of(error))
    if problem:
        _fail(problem, Exit.FAILED)


def _ask_driver(folder: Path, ask: Callable[[Driven], int]) -> None:
    """Answer for a run that a host of its cluster drives, and end; do nothing for all others."""
    from timeeval.errors import TimeEvalError

    note = cli_away.note_of(folder)
    if note is None:
        return
    try:
        sys.exit(ask(note))
    except TimeEvalError as error:
        _fail(error, code_of(error))
    except KeyboardInterrupt:
        _fail(f"the run goes on on {note.host}", 130)


def _fail(error: Exception | str, code: int = Exit.USAGE) -> NoReturn:
    click.echo(f"timeeval-results: {told(error)}", err=True)
    sys.exit(code)


def results_main() -> None:
    """Entry point of ``timeeval-results``."""
    with standard_streams("timeeval-results"):
        results_command(prog_name="timeeval-results")
