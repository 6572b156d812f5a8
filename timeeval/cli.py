"""The command ``timeeval-run``; everything it does lives elsewhere. ``timeeval-results`` is `timeeval.cli_results`."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timeeval import cli_away, cli_places
from timeeval._version import __version__
from timeeval.cli_exits import Exit, code_of
from timeeval.cli_results import results_command, results_main
from timeeval.cli_streams import PlainFormatter, standard_streams, told

if TYPE_CHECKING:
    from timeeval.run.detaching import Detached
    from timeeval.run.session import Session

__all__ = ["results_command", "results_main", "run_command", "run_main"]

SUMMARY_SCHEMA = "timeeval.run-summary/1"
DETACHED_SCHEMA = "timeeval.detached/1"
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RETRIABLE = ("ERROR", "TIMEOUT", "OOM", "INFRA")


@click.command(
    "timeeval-run", context_settings={"ignore_unknown_options": False, "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
@click.argument("experiment", type=FILE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--cluster", type=FILE, help="Run on this cluster.")
@click.option("--local", is_flag=True, help="Run on this machine, whatever the script says.")
@cli_places.scheduler_options
@cli_away.options
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
    if options["on"] or cli_away.note_of(options["resume"]) is not None:
        _log_to_stderr(options["verbose"])
        sys.exit(cli_away.drive(experiment, arguments, options))
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
        cluster = options["cluster"]
        code = _guarded(experiment, arguments, cluster=cluster, verbose=bool(options["verbose"]))
        if options["needs"]:
            _print_needs(session, answers, code)
    code = _code(session, code, options, answers)
    claims.end(code)
    return code


def _detached(options: dict[str, Any]) -> Detached:
    """Go on as a driver without a terminal; the process that was called ends here, once it knows what became of it."""
    from timeeval.cluster.outliving import why_not
    from timeeval.run.detaching import LOG, Detached, detach

    if (found := why_not()) is not None:
        cause, remedy = found
        click.echo(f"timeeval-run: a driver started from here does not go on after logout: {cause}. {remedy}", err=True)
        sys.exit(Exit.FAILED)
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
    with standard_streams("timeeval-run"):
        run_command(prog_name="timeeval-run")


def _check(options: dict[str, Any]) -> None:
    cli_places.check(options)
    cli_away.check(options)
    if options["detach"] and options["needs"]:
        raise click.UsageError("--detach and --needs exclude each other")
    if options["retry_failed"] and not options["resume"]:
        raise click.UsageError("--retry-failed needs --resume DIR")


def _log_to_stderr(verbose: int) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises as well


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


def _guarded(experiment: Path, arguments: Sequence[str], *, cluster: Path | None, verbose: bool) -> int:
    """Run the experiment; return its exit code, having said what went wrong."""
    from timeeval.errors import TimeEvalError
    from timeeval.run import session as sessions
    from timeeval.run.script import from_the_script_on, run_experiment

    try:
        if cluster is not None:
            sessions.read_sources_of(cluster)
        run_experiment(experiment, arguments)
    except SystemExit as end:
        return _exit_status(end)
    except KeyboardInterrupt:
        return 130
    except TimeEvalError as error:
        if verbose:
            traceback.print_exc()
        click.echo(f"timeeval-run: {told(error)}", err=True)
        return code_of(error)
    except Exception as error:  # noqa: BLE001 - a script may raise anything; its traceback is for its author
        traceback.print_exception(error.with_traceback(from_the_script_on(error, experiment)))
        return Exit.INTERNAL
    return Exit.DONE


def _exit_status(end: SystemExit) -> int:
    if end.code is None:
        return Exit.DONE
    if isinstance(end.code, int):
        return end.code
    click.echo(end.code, err=True)
    return Exit.INTERNAL


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
