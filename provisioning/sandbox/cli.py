"""``timeeval-provision sandbox``: the practice cluster."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from provisioning.errors import UnreachableError, UsageError

__all__ = ["sandbox"]

FOLDER = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".sandbox"),
    show_default=True,
    help="Folder of the sandbox's files.",
)


@click.group()
def sandbox() -> None:
    """Start, show or remove a practice cluster of containers on this machine."""


def _say(line: str) -> None:
    click.echo(line, err=True)


def _report(changes: list[str], nothing: str) -> None:
    for line in changes:
        click.echo(line)
    if not changes:
        click.echo(nothing)


@sandbox.command()
@FOLDER
@click.option("--nodes", type=click.IntRange(1, 64), help="Number of nodes; by default as many as there are, or 3.")
@click.option("--yes", is_flag=True, help="Do not ask before near-root containers are started.")
def up(folder: Path, nodes: int | None, yes: bool) -> None:
    """Start the nodes, mend those that are down, and write cluster.toml, ssh_config and known_hosts."""
    from provisioning.sandbox.lifecycle import up as bring_up

    def consent(count: int) -> None:
        if yes or os.geteuid() == 0:
            return
        text = (
            f"{count} container(s) will be started with nearly the rights of root on this machine: each runs a Docker "
            "Engine of its own and needs all capabilities but one, no seccomp and no AppArmor confinement."
        )
        if not sys.stdin.isatty():
            raise UsageError(text, remedy="agree with `--yes`")
        click.echo(text, err=True)
        if not click.confirm("Start them?", err=True):
            raise UsageError("nothing was started")

    changes = bring_up(folder, nodes=nodes, consent=consent, say=_say)
    _report(changes, "nothing had to change")
    click.echo(f"cluster file: {folder / 'cluster.toml'}")


@sandbox.command()
@FOLDER
@click.option("--all", "everything", is_flag=True, help="Remove the sandboxes of all folders on this machine.")
def down(folder: Path, everything: bool) -> None:
    """Remove the nodes with all that is on them, their network and the sandbox's files; images stay as a cache."""
    from provisioning.sandbox.lifecycle import down as take_down

    _report(take_down(folder, everything=everything), "there was nothing to remove")


@sandbox.command()
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per node.")
def status(folder: Path, as_json: bool) -> None:
    """Show each node with its address and what is wrong with it; exit status 8 unless all are well."""
    from provisioning.sandbox.cluster import Sandbox

    cluster = Sandbox.load(folder)
    found = cluster.ailments()
    for node in cluster.nodes:
        ailments = found.get(node.name, [])
        if as_json:
            row = {"schema": "sandbox-node/1", "name": node.name, "address": node.address, "ailments": ailments}
            click.echo(json.dumps(row))
        else:
            click.echo(f"{node.name:<8} {node.address:<16} {', '.join(ailments) or 'well'}")
    if found:
        sys.exit(UnreachableError.exit_code)


@sandbox.command(name="base-images")
def base_images() -> None:
    """Build the base images that the example algorithms stand on; `up` does it too."""
    from provisioning.sandbox.engine import Engine
    from provisioning.sandbox.lifecycle import build_base_images

    _report(build_base_images(Engine(), _say), "nothing had to change")
