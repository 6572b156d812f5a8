"""``timeeval-run --on HOST`` and what `timeeval-results` says of such runs; what they do is in `timeeval.cluster`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timeeval.cli_exits import Exit, code_of
from timeeval.cli_streams import told

if TYPE_CHECKING:
    from timeeval.cluster.away import Departed
    from timeeval.run.driven import Driven

_OPTIONS = (
    click.option("--on", metavar="HOST", help="Let this host of the cluster drive the run instead of this machine."),
    click.option(
        "--with",
        "also",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        help="With --on: a file or folder that the script reads and that goes along; its own modules do anyway.",
    ),
)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to ``timeeval-run``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(given: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself; raises `click.UsageError`."""
    if given["on"]:
        for name in ("local", "scheduler", "needs"):
            if given[name]:
                raise click.UsageError(f"--on and --{name} exclude each other: --on is for hosts of --cluster")
        if not given["cluster"] and not given["resume"]:
            raise click.UsageError("--on names a host of a cluster; name the cluster with --cluster")
    if given["also"] and not given["on"] and note_of(given["resume"]) is None:
        raise click.UsageError("--with belongs to --on; without it the script reads its files where they are")


def note_of(folder: Path | None) -> Driven | None:
    """Return where the run of a results folder lives, None if that is here; a note that cannot be read ends it all."""
    from timeeval.errors import TimeEvalError
    from timeeval.run.driven import Driven

    try:
        return None if folder is None else Driven.of(folder)
    except TimeEvalError as error:
        raise click.UsageError(str(error)) from error


def drive(experiment: Path, arguments: Sequence[str], given: Mapping[str, Any]) -> int:
    """Run an experiment with another host as its driver; return the exit code."""
    from timeeval.cluster.away import Departure, RefusedError, depart
    from timeeval.errors import TimeEvalError

    note = note_of(given["resume"])
    cluster_file = given["cluster"] or (None if note is None else Path(note.cluster_file))
    if cluster_file is None:
        raise click.UsageError("--on names a host of a cluster; name the cluster with --cluster")
    if given["local"] or given["scheduler"]:
        raise click.UsageError(f"the run of {given['resume']} is driven by {note.host if note else ''} of its cluster")
    wish = Departure(
        script=experiment,
        arguments=arguments,
        also=given["also"],
        results=given["results"],
        resume=given["resume"],
        host=given["on"],
        cluster_file=cluster_file,
        environment=given["environment"] or (None if note is None else note.environment),
        limit=given["limit"],
        exclude=given["exclude"],
        collect=given["collect"] or (note.collect if note is not None else "all"),
        options=_passed_on(given),
    )
    try:
        gone = depart(wish, lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        click.echo("timeeval-run: interrupted; no run has begun", err=True)
        return 130
    except RefusedError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except TimeEvalError as error:
        click.echo(f"timeeval-run: {told(error)}", err=True)
        return code_of(error)
    if given["detach"] and gone.pid is not None:
        _tell_detached(gone, as_json=given["as_json"])
        return Exit.DONE
    return _follow(gone, as_json=given["as_json"])


def _passed_on(given: Mapping[str, Any]) -> list[str]:
    passed = []
    for name in ("environment", "min_workers", "lease", "retry_failed"):
        if given[name] is not None:
            passed += [f"--{name.replace('_', '-')}", str(given[name])]
    if given["fail_on_error"]:
        passed.append("--fail-on-error")
    return passed + ["-v"] * given["verbose"]


def _tell_detached(gone: Departed, *, as_json: bool) -> None:
    if as_json:
        document = {"schema": "timeeval.detached/1", "results": str(gone.results), "pid": gone.pid}
        click.echo(json.dumps({**document, "host": gone.note.host}))
        return
    click.echo(f"the run is up on {gone.note.host} and goes on without this machine (process {gone.pid} there)")
    click.echo(f"results: {gone.results}")
    _tell_ways(gone.results, ("watch", "stop", "fetch"))


def _tell_ways(results: Path, verbs: Sequence[str], *, err: bool = False) -> None:
    for verb in verbs:
        click.echo(f"{verb + ':':9}timeeval-results {verb} {shlex.quote(str(results))}", err=err)


def _follow(gone: Departed, *, as_json: bool) -> int:
    """Show what the run does until it ends, then bring its results; whoever leaves early is told how to go on."""
    from timeeval.errors import TimeEvalError

    note, results = gone.note, gone.results
    try:
        if gone.pid is None:
            click.echo(gone.said, nl=False, err=as_json)
            code = int(Exit.DONE)
        else:
            code = watch(note, results, as_json=as_json)
        fetched = fetch(note, results, note.collect)  # what there is, however the run has ended
        code = code or fetched
    except KeyboardInterrupt:
        click.echo(f"\nthe run goes on on {note.host}", err=True)
        _tell_ways(results, ("watch", "stop", "fetch"), err=True)
        return 130
    except TimeEvalError as error:
        click.echo(f"timeeval-run: {told(error)}", err=True)
        click.echo(f"what runs on {note.host} goes on", err=True)
        _tell_ways(results, ("watch", "stop", "fetch"), err=True)
        return code_of(error)
    if not as_json:
        click.echo(f"results: {results}")
    return code


def answer(note: Driven, folder: Path, command: Sequence[str], cluster_file: Path | None = None) -> int:
    """Let the host that drives a run answer for `timeeval-results`; return the exit code."""
    from timeeval.cluster.lodging import ask

    return ask(
        note,
        folder.absolute(),
        command,
        lambda line: click.echo(line, nl=False),
        lambda line: click.echo(line, nl=False, err=True),
        cluster_file=cluster_file,
    )


def watch(note: Driven, folder: Path, cluster_file: Path | None = None, *, as_json: bool) -> int:
    """Follow a run that another host drives, and bring what is finished meanwhile; return the exit code."""
    from timeeval.cluster.alongside import collecting

    command = ["watch", *(["--json"] if as_json else [])]
    with collecting(note, folder.absolute(), lambda line: click.echo(line, err=True), cluster_file):
        return answer(note, folder, command, cluster_file)


def fetch(note: Driven, folder: Path, collect: str, cluster_file: Path | None = None) -> int:
    """Bring the results of a run that another host drives or has driven; return the exit code."""
    from timeeval.cluster import alongside
    from timeeval.run.collected import Collect

    fetched = alongside.fetch(note, folder.absolute(), Collect(collect), cluster_file)
    if fetched.goes_on:
        click.echo(
            f"the run goes on on {note.host}; of what is finished {fetched.files} files came, "
            "and each results.csv is as of now"
        )
    if fetched.problem:
        click.echo(f"not all of it could be had: {told(fetched.problem)}", err=True)
    return Exit.FAILED if fetched.problem else Exit.DONE
