"""``timeeval-provision``: make every node of a cluster equal, and prove it. No logic lives here."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from provisioning.errors import ProvisionError
from provisioning.plain import PlainFormatter, item, plain

if TYPE_CHECKING:
    from provisioning.commands import Options

__all__ = ["group", "main"]

INTERRUPTED = 130
TERMINATED = 143
HELP = {"help_option_names": ["-h", "--help"]}


class _Lazy(click.Group):
    """Loads the practice cluster's own commands only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "sandbox"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "sandbox":
            from provisioning.sandbox.cli import sandbox

            return sandbox
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Lazy, context_settings=HELP)
@click.version_option(package_name="timeeval-cluster")
@click.option(
    "--support",
    is_flag=False,
    flag_value="",
    metavar="[CLUSTER FILE]",
    expose_value=False,
    is_eager=True,
    callback=lambda context, _option, value: _support(context, value),
    help="Print what a bug report needs, secrets masked.",
)
def group() -> None:
    """Make every node of a cluster equal in what an evaluation depends on, and prove it.

    Exit codes are a bit field: 0 done, 1 internal error, 2 usage or file error, 4 failed on a node, 8 node unreachable,
    16 not verified, 32 locked by another; 130 and 143 interrupted (run the command again to go on).
    """


def _support(context: click.Context, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    from provisioning.support import report

    _say(0, report(Path(value) if value else None), plain)


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose nodes."""
    path = click.Path(dir_okay=False, path_type=Path)
    options = [
        click.option("--cluster", type=path, help="Cluster file; by default the nearest cluster.toml."),
        click.option("--limit", multiple=True, metavar="HOSTS", help="Only these hosts: names, node[01-04], @group."),
        click.option("--exclude", multiple=True, metavar="HOSTS", help="Not these hosts."),
        click.option("--json", "as_json", is_flag=True, help='One JSON object per line, each with its "schema".'),
        click.option("-v", "--verbose", count=True, help="Log what is done; twice: all of it."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _sending(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of those that send bytes."""
    options = [
        click.option(
            "--fanout", type=click.Choice(["star", "relay"]), help="Who sends to whom; by default, what is less."
        ),
        click.option("--bwlimit", callback=_rate, metavar="RATE", help="Bytes per second that leave here: 5M, 800k."),
        click.option("--max-uploads", type=click.IntRange(min=1), help="Hosts that this machine sends to at a time."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _part(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which datasets are to be where."""
    options = [
        click.option(
            "--select", multiple=True, metavar="PATTERN", help="Only these datasets: 'NAB', 'NAB/*', 'NAB-*'."
        ),
        click.option("--delete", is_flag=True, help="Delete files that we put there and the source no longer has."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _back(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option that undoes what it did last."""
    return click.option("--rollback", is_flag=True, help="Go back to the environment before the present one.")(command)


def _ways(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how images reach the nodes."""
    ways = click.Choice(["load", "build", "registry", "own-registry"])
    text = "How images get there: layers (load), contexts (build), or pulled from a registry HOST or one of our own."
    command = click.argument("registry", required=False, metavar="[HOST]")(command)
    return click.option("--via", type=ways, help=text)(command)


def _rate(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    from provisioning.transfer.route import rate

    try:
        return None if value is None else rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all have that look at what nodes must have."""
    path = click.Path(dir_okay=False, path_type=Path)
    options = [
        click.option("--for", "experiment", type=path, metavar="EXPERIMENT", help="Only what this experiment needs."),
        click.option("--environment", metavar="NAME", help="Which of the cluster file's environments is meant."),
        click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing."),
    ]
    for option in reversed(options):
        command = option(command)
    return _choosing(command)


def _options(values: dict[str, Any]) -> Options:
    from provisioning.commands import Options
    from provisioning.transfer.route import Sending

    level = {0: logging.WARNING, 1: logging.INFO}.get(values["verbose"], logging.DEBUG)
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(level)
    console.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[console])
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises as well
    logging.getLogger("provisioning").setLevel(level)
    return Options(
        values["cluster"],
        values["limit"],
        values["exclude"],
        values.get("experiment"),
        dry_run=values.get("dry_run", False),
        deep=values.get("deep", False),
        environment=values.get("environment"),
        rollback=values.get("rollback", False),
        select=values.get("select", ()),
        delete=values.get("delete", False),
        calibrate=values.get("calibrate", False),
        via=values.get("via"),
        registry=values.get("registry"),
        sending=Sending(values.get("fanout"), values.get("bwlimit"), values.get("max_uploads")),
    )


def _carry_out(verb: str, values: dict[str, Any]) -> NoReturn:
    from provisioning.commands import carry_out
    from provisioning.view import View

    options = _options(values)
    try:
        with View(live=False if values["as_json"] else None) as view:
            report, code = carry_out(verb, options, view.event)
    except ProvisionError as error:
        if values["as_json"]:
            from provisioning.report import document

            click.echo(document(error))
        raise
    from provisioning.report import documents, lines, matrix_document, odd

    everything = values.get("matrix", False)
    if values["as_json"]:
        said = [*documents(report, verb), *([matrix_document(report)] if everything else [])]
    else:
        said = [*odd(report, verb, everything=everything), *lines(report, dry_run=options.dry_run)]
    for each in said:
        click.echo(item(each))
    for node in report.nodes:
        if values["verbose"] and node.error is not None and node.error.details:
            click.echo(item(f"{node.node}:\n{node.error.details}"), err=True)
    sys.exit(code)


def _say(code: int, lines: Iterable[str], show: Callable[[str], str] = item) -> NoReturn:
    for line in lines:
        click.echo(show(line))
    sys.exit(code)


def _verb(name: str, text: str, *more: Callable[..., Any]) -> None:
    def command(**values: Any) -> None:  # noqa: ANN401 - click hands over what the options say
        _carry_out(name, values)

    for option in more:
        command = option(command)
    group.command(name, help=text, context_settings=HELP)(_common(command))


_deep = click.option("--deep", is_flag=True, help="Read again every byte that is known by a digest; trust no times.")


_matrix = click.option("--matrix", is_flag=True, help="Tell every fact of all nodes, equal values folded.")
_verb("check", "Look at every node: what it is, what it can do, who reaches whom. Changes nothing.", _matrix)
_verb("sync-datasets", "Bring the dataset folders to the same path on every node.", _deep, _sending, _part)
_verb(
    "create-envs",
    "Create the same Python environment at the same prefix on every node. What is in it stands under [environment] of "
    "the cluster file, for verify and runs ask for the same: requirements, projects and modules, from_driver = true "
    'for what the environment of this command has, python_from = "FOLDER" for an interpreter that travels.',
    _back,
    _deep,
    _sending,
)
_verb("push-images", "Bring the algorithm images to every node that lacks them.", _sending, _ways)
_verb(
    "verify",
    "Prove that every node is as it must be, down the path that a run takes, and write receipts.",
    _matrix,
    _deep,
    click.option("--calibrate", is_flag=True, help="Measure anew how fast the hosts compute (about 10 s)."),
)
_verb(
    "up",
    "All of it: datasets, environments, images, then verify; and, once, how fast each host computes.",
    _deep,
    _sending,
    _ways,
)


@group.command(context_settings=HELP)
@_common
def status(**values: Any) -> None:  # noqa: ANN401 - click hands over what the options say
    """Show the receipts: what was proven of each node, and when. Asks no node."""
    from provisioning.status import receipts

    _say(*receipts(_options(values), as_json=values["as_json"]))


def _reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of those that only read."""
    path = click.Path(dir_okay=False, path_type=Path)
    command = click.option("--json", "as_json", is_flag=True, help='One JSON object with its "schema".')(command)
    command = click.option("--environment", metavar="NAME", help="Which environment's proofs are meant.")(command)
    return click.option("--cluster", type=path, help="Cluster file; by default the nearest cluster.toml.")(command)


@group.command(context_settings=HELP)
@click.argument("host")
@_reading
def explain(host: str, cluster: Path | None, environment: str | None, *, as_json: bool) -> None:
    """Tell all that is known of HOST: its proof and how it came about, its facts, who works on it now."""
    from provisioning.commands import Options
    from provisioning.explain import explain as tell

    _say(*tell(Options(cluster, environment=environment), host, as_json=as_json))


@group.command(context_settings=HELP)
@click.argument("hosts", nargs=-1, required=True)
@click.option("--since", metavar="TIME|N", help="Compare one host with itself: at that time, or N proofs ago.")
@_reading
def diff(
    hosts: tuple[str, ...], since: str | None, cluster: Path | None, environment: str | None, *, as_json: bool
) -> None:
    """Compare two HOSTS as they were last verified, or one with itself earlier; 16 when results may differ."""
    from provisioning.commands import Options
    from provisioning.explain import diff as compare

    _say(*compare(Options(cluster, environment=environment), hosts, since, as_json=as_json))


@group.command(context_settings=HELP)
@click.argument("hosts", nargs=-1)
@click.option("--yes", is_flag=True, help="Record every key that is shown, without asking.")
@_common
def trust(hosts: tuple[str, ...], *, yes: bool, **values: Any) -> None:  # noqa: ANN401 - as above
    """Show the fingerprints of the HOSTS' keys and record those that you accept in the cluster's known_hosts."""
    from provisioning.status import trusted

    def ask(question: str) -> bool:
        return yes or (not values["dry_run"] and sys.stdin.isatty() and click.confirm(question, err=True))

    options = _options({**values, "limit": (*hosts, *values["limit"])})
    _say(*trusted(options, ask, as_json=values["as_json"]))


@group.command("exec", context_settings=HELP)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARGS]...")
@click.option("--silence", type=click.FloatRange(min=1), help="End it after so many seconds without output.")
@_choosing
def execute(argv: tuple[str, ...], silence: float | None, **values: Any) -> None:  # noqa: ANN401 - as above
    """Run COMMAND on every node, without a shell, and show equal output once. 4 when it fails somewhere."""
    from provisioning.everywhere import execute as run
    from provisioning.view import View

    with View(live=False if values["as_json"] else None) as view:
        answer = run(_options(values), argv, view.event, silence=silence, as_json=values["as_json"])
    _say(*answer, plain)  # what a command printed stays as it is


@group.command(context_settings=HELP)
@click.option("--all", "everything", is_flag=True, help="Take datasets and images away as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@_choosing
def clean(*, everything: bool, yes: bool, **values: Any) -> None:  # noqa: ANN401 - as above
    """Remove what was put on the nodes, and only that; shows it and asks first. Results are never touched."""
    from provisioning.cleaning import Wish
    from provisioning.cleaning import clean as sweep
    from provisioning.view import View

    def agree(lines: Sequence[str]) -> bool:
        if yes:
            return True
        for line in lines:
            click.echo(item(line), err=True)
        return sys.stdin.isatty() and click.confirm("Remove this?", err=True)

    with View(live=False) as view:
        answer = sweep(Wish(_options(values), everything, agree, values["as_json"]), view.event)
    _say(*answer)


@group.command(context_settings=HELP)
@click.argument("hosts", nargs=-1, required=True)
@click.option("--name", default="lab", show_default=True, help="Name of the cluster.")
@click.option("--root", default="/srv/timeeval", show_default=True, help="Folder on the nodes for all we put there.")
@click.option("--python", default="3.11", show_default=True, help="Minor version of the nodes' environment.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("cluster.toml"), show_default=True, help="File."
)
def init(hosts: tuple[str, ...], name: str, root: str, python: str, output: Path) -> None:
    """Write a commented cluster file for HOSTS: names or ranges such as node[01-16].lab."""
    from provisioning.init import render

    text = render(hosts, name=name, root=root, python=python)
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise click.UsageError(f"{output} exists; name another file with -o, or `-o -` to see the text") from None
    click.echo(f"{output} written; read it, then run `timeeval-provision trust` and `timeeval-provision check`")


def main() -> NoReturn:
    """Run the command line; every error that a person can meet ends in one line and its own exit code."""

    def terminate(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
    try:
        code = group.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)
    except ProvisionError as error:
        click.echo(item(f"error: {error}"), err=True)
        if error.details and logging.getLogger("provisioning").getEffectiveLevel() <= logging.INFO:
            click.echo(item(f"details:\n{error.details}"), err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
