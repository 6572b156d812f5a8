"""The commands ``timeeval-run`` and ``timeeval-results``; everything they do lives elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from timeeval import cli_places
from timeeval._version import __version__

if TYPE_CHECKING:
    from timeeval.run.detaching import Detached
    from timeeval.run.session import Session

SUMMARY_SCHEMA = "timeeval.run-summary/1"
ROW_SCHEMA = "timeeval.result/1"
DETACHED_SCHEMA = "timeeval.detached/1"
END_SCHEMA = "timeeval.run-end/1"
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RETRIABLE = ("ERROR", "TIMEOUT", "OOM", "INFRA")


class Exit(IntFlag):
    """What the exit codes mean, the same for all commands of this project."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    FAILED = 4
    UNREACHABLE = 8
    NOT_VERIFIED = 16
    LOCKED = 32
    NOT_OK = 64


@click.command(
    "timeeval-run", context_settings={"ignore_unknown_options": False, "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
@click.argument("experiment", type=FILE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--cluster", type=FILE, help="Run on this cluster.")
@click.option("--local", is_flag=True, help="Run on this machine, whatever the script says.")
@cli_places.scheduler_options
@click.option("--limit", multiple=True, metavar="HOSTS", help="Only these hosts or groups of the cluster.")
@click.option("--exclude", multiple=True, metavar="HOSTS", help="All but these hosts or groups of the cluster.")
@click.option("--environment", metavar="NAME", help="Which of the cluster file's environments; the first by default.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="Put the results folder here.")
@click.option(
    "--resume",
    type=FOLDER,
    help="Compute what is missing in the results folder of an earlier run.",
)
@click.option(
    "--retry-failed",
    metavar="OUTCOMES",
    help=f"With --resume: outcomes that are tried again, of {', '.join(RETRIABLE)}, or ALL.",
)
@click.option("--min-workers", type=click.IntRange(min=1), default=1, help="Hosts that must come up.")
@click.option("--lease", type=click.FloatRange(min=5), help="Seconds that a node goes on without this machine.")
@click.option("--detach", is_flag=True, help="Return when the run is up; it goes on without this terminal.")
@click.option(
    "--collect",
    type=click.Choice(["all", "scores", "none"]),
    help="Files that travel here from the hosts while the run goes on: all (default); scores: those that TimeEval "
    "writes, but not what an algorithm leaves beside them; none: `timeeval-results fetch` brings them later.",
)
@click.option("--needs", is_flag=True, help="Print what the experiment needs of a node, and run nothing.")
@click.option("--fail-on-error", is_flag=True, help="Exit with 64 when an experiment did not end OK.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run; the script's output to stderr.")
@click.option("-v", "--verbose", count=True, help="Say more; twice: everything.")
def run_command(experiment: Path, arguments: Sequence[str], **options: Any) -> None:  # noqa: ANN401 - click's
    """Run EXPERIMENT, a script that uses TimeEval or an experiment.toml, with ARGUMENTS after `--`.

    Exit codes: 0 done, 1 internal error, 2 usage, 4 not complete, 8 hosts unreachable, 16 nodes not verified,
    32 results folder in use, 64 experiments not OK (with --fail-on-error), 130/143 interrupted (use --resume).
    """
    _check(options)
    detached = _detached(options) if options["detach"] else None
    _log_to_stderr(options["verbose"])
    code = _run(experiment, arguments, options, detached)
    if detached is not None:
        detached.ended(code)
    sys.exit(code)


def _run(experiment: Path, arguments: Sequence[str], options: dict[str, Any], detached: Detached | None) -> int:
    from timeeval.run.driver import Claims

    script_output = sys.stderr if options["as_json"] or options["needs"] else sys.stdout
    answers = sys.stdout
    claims = Claims()

    def claim(folder: Path) -> None:
        if detached is not None:
            detached.settle(folder)
        claims.add(folder)

    with _session(options) as session, contextlib.redirect_stdout(script_output):
        session.on_claim = claim
        if detached is not None:
            session.on_up = detached.up
        code = _guarded(experiment, arguments, verbose=bool(options["verbose"]))
        if options["needs"]:
            _print_needs(session, answers, code)
    code = _code(session, code, options, answers)
    claims.end(code)
    return code


def _detached(options: dict[str, Any]) -> Detached:
    """Go on as a driver without a terminal; the process that was called ends here, once it knows what became of it."""
    from timeeval.run.detaching import LOG, Detached, detach

    answer = detach()
    if isinstance(answer, Detached):
        return answer
    if answer.results is None:
        click.echo(answer.said, nl=False, err=answer.exit_code != Exit.DONE)
    elif options["as_json"]:
        document = {"schema": DETACHED_SCHEMA, "results": str(answer.results), "pid": answer.pid}
        click.echo(json.dumps(document))
    else:
        where = shlex.quote(str(answer.results))
        click.echo(f"the run is up and goes on without this terminal (process {answer.pid}, log {LOG} in its folder)")
        for word, line in (("results", where), *((w, f"timeeval-results {w} {where}") for w in ("watch", "stop"))):
            click.echo(f"{word + ':':9}{line}")
    sys.exit(answer.exit_code)


def run_main() -> None:
    """Entry point of ``timeeval-run``."""
    run_command(prog_name="timeeval-run")


def _check(options: dict[str, Any]) -> None:
    cli_places.check(options)
    if options["detach"] and options["needs"]:
        raise click.UsageError("--detach and --needs exclude each other")
    if options["retry_failed"] and not options["resume"]:
        raise click.UsageError("--retry-failed needs --resume DIR")


def _log_to_stderr(verbose: int) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@contextlib.contextmanager
def _session(options: dict[str, Any]) -> Iterator[Session]:
    from timeeval.run import session as sessions
    from timeeval.run.collected import Collect

    locate: sessions.Locate = sessions.default_place
    if options["local"]:
        locate = sessions.local_place
    elif options["cluster"]:
        choice = {name: options[name] for name in ("limit", "exclude", "min_workers", "lease", "environment")}
        locate = sessions.cluster_place(options["cluster"], **choice)
    elif options["scheduler"]:
        locate = cli_places.locate(options)
    scratch = tempfile.mkdtemp(prefix="timeeval-needs-") if options["needs"] else None
    try:
        with sessions.opened(
            sessions.Session(
                locate,
                results=Path(scratch) if scratch else options["results"],
                resume=options["resume"],
                retry=_retry(options["retry_failed"]),
                needs_only=options["needs"],
                collect=Collect(options["collect"] or "all"),
            )
        ) as session:
            if options["cluster"]:
                sessions.read_sources_of(options["cluster"])
            yield session
    finally:
        if scratch:
            shutil.rmtree(scratch)


def _retry(text: str | None) -> frozenset[Any]:
    from timeeval.run.model import Outcome

    known = {"ERROR": Outcome.ERROR, "TIMEOUT": Outcome.TIMEOUT, "OOM": Outcome.OOM, "INFRA": Outcome.INFRA}
    names = [] if text is None else [name.strip().upper() for name in text.split(",")]
    if names == ["ALL"]:
        return frozenset(known.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"--retry-failed knows {', '.join(known)} and ALL, not {', '.join(unknown)}")
    return frozenset(known[name] for name in names)


def _guarded(experiment: Path, arguments: Sequence[str], *, verbose: bool) -> int:
    """Run the experiment; return its exit code, having said what went wrong."""
    from timeeval.errors import TimeEvalError
    from timeeval.run.script import run_experiment

    try:
        run_experiment(experiment, arguments)
    except SystemExit as end:
        return _exit_status(end)
    except KeyboardInterrupt:
        return 130
    except TimeEvalError as error:
        if verbose:
            traceback.print_exc()
        click.echo(f"timeeval-run: {error}", err=True)
        return _code_of(error)
    except Exception:  # noqa: BLE001 - a script may raise anything; its traceback is for its author
        traceback.print_exc()
        return Exit.INTERNAL
    return Exit.DONE


def _exit_status(end: SystemExit) -> int:
    if end.code is None:
        return Exit.DONE
    if isinstance(end.code, int):
        return end.code
    click.echo(end.code, err=True)
    return Exit.INTERNAL


def _code_of(error: BaseException) -> int:
    """Return the exit code of an error: its own, the one of what caused it, or that of its class."""
    from timeeval import errors

    link: BaseException | None = error
    while link is not None:
        own = getattr(link, "exit_code", None)
        if isinstance(own, int):
            return own
        link = link.__cause__
    if isinstance(error, errors.JournalError) and isinstance(error.__cause__, BlockingIOError):
        return Exit.LOCKED
    return Exit.UNREACHABLE if isinstance(error, errors.EngineError) else Exit.USAGE


def _print_needs(session: Session, answers: Any, code: int) -> None:  # noqa: ANN401 - a text stream
    from timeeval.run.needs import merged

    if session.needs or code == Exit.DONE:
        if code != Exit.DONE:
            click.echo("timeeval-run: the script ended early; the needs up to there are printed", err=True)
        click.echo(json.dumps(merged(session.needs), indent=2), file=answers)


def _code(session: Session, code: int, options: dict[str, Any], answers: Any) -> int:  # noqa: ANN401 - a text stream
    if options["needs"]:
        return Exit.DONE if session.needs else code
    for run in session.finished:
        if options["as_json"]:
            document = {
                "schema": SUMMARY_SCHEMA,
                "number": run.number,
                "results": str(run.results_path),
                "outcomes": dict(run.outcomes),
                "complete": not run.reason,
                "reason": run.reason,
            }
            click.echo(json.dumps(document), file=answers)
    if code != Exit.DONE:
        return code
    incomplete = any(run.reason for run in session.finished)
    not_ok = any(outcome != "ok" for run in session.finished for outcome in run.outcomes)
    return (Exit.FAILED if incomplete else Exit.DONE) | (
        Exit.NOT_OK if not_ok and options["fail_on_error"] else Exit.DONE
    )


@click.group("timeeval-results", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def results_command() -> None:
    """Look at results folders of timeeval-run, and at the drivers of their runs."""


@results_command.command("show")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per experiment.")
def show(folder: Path, as_json: bool) -> None:
    """Print the experiments of a results FOLDER with the host each ran on, also while the run goes on.

    A folder of several runs shows its latest one.
    """
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
            click.echo(line)


@results_command.command("watch")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: one per outcome, and one for the end.")
def watch_command(folder: Path, as_json: bool) -> None:
    """Follow the run of a results FOLDER until its driver ends, from any machine that sees the folder.

    Exits with the driver's own exit code, with 4 when it ended without one. Nothing is written.
    """
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
def stop_command(folder: Path, now: bool) -> None:
    """End the run of a results FOLDER in good order, and wait until it has ended; --resume goes on from there."""
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
@click.option("--cluster", type=FILE, help="The cluster file, if it is not where it was.")
def fetch(folder: Path, collect: str, cluster: Path | None) -> None:
    """Bring what a results FOLDER's experiments left on their hosts, and only what is not here yet."""
    from timeeval.cluster.fetching import fetch_left
    from timeeval.errors import TimeEvalError
    from timeeval.run.collected import Collect
    from timeeval.run.layout import run_folder

    try:
        problem = fetch_left(run_folder(folder), Collect(collect), cluster)
    except TimeEvalError as error:
        _fail(error, _code_of(error))
    if problem:
        _fail(problem, Exit.FAILED)


def _fail(error: Exception | str, code: int = Exit.USAGE) -> NoReturn:
    click.echo(f"timeeval-results: {error}", err=True)
    sys.exit(code)


def results_main() -> None:
    """Entry point of ``timeeval-results``."""
    results_command(prog_name="timeeval-results")
