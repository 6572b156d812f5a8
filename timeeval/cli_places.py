"""What ``timeeval-run`` is told about where to run: how the options go together, and somebody else's Dask scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from timeeval.run.session import Locate

_OPTIONS = (
    click.option("--scheduler", metavar="ADDRESS", help="Run on somebody else's Dask scheduler: tls://HOST:PORT."),
    click.option("--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="With --scheduler: its authority."),
    click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="With --scheduler: your own one."),
    click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="With --scheduler: your key."),
)


def scheduler_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(options: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself; raises `click.UsageError`."""
    if sum(bool(options[name]) for name in ("cluster", "local", "scheduler")) > 1:
        raise click.UsageError("--cluster, --scheduler and --local exclude each other")
    if any(options[name] for name in ("tls_ca", "tls_cert", "tls_key")) and not options["scheduler"]:
        raise click.UsageError("--tls-ca, --tls-cert and --tls-key belong to --scheduler")
    if options["scheduler"] and options["lease"]:
        raise click.UsageError("--lease is for nodes that this command starts; with --scheduler it starts none")
    if options["local"] and any(options[name] for name in ("limit", "exclude", "lease", "collect")):
        raise click.UsageError("--limit, --exclude, --lease and --collect are about hosts; with --local there are none")
    if options["environment"] and not options["cluster"]:
        raise click.UsageError("--environment chooses one of a cluster's environments; name the cluster with --cluster")


def locate(options: Mapping[str, Any]) -> Locate:
    """Return the way to the place that the options name."""
    from timeeval.engines.joined_link import Scheduler
    from timeeval.run.session import joined_place

    files = {name: options[f"tls_{name}"] for name in ("ca", "cert", "key")}
    choice = {name: options[name] for name in ("limit", "exclude", "min_workers")}
    return joined_place(Scheduler(options["scheduler"], **files), **choice)
