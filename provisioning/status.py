"""What is known without asking any node: receipts, and the keys of hosts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from provisioning import trust
from provisioning.commands import NOT_VERIFIED, Options, needs_of, open_cluster
from provisioning.history import unproven
from provisioning.noderange import fold
from provisioning.receipt import BY_CONTEXT, Receipt, by_context, covers, placed, readable

if TYPE_CHECKING:
    from provisioning.trust import Trust

STATUS_SCHEMA = "timeeval.status/1"
TRUST_SCHEMA = "timeeval.trust/1"


def receipts(options: Options, *, as_json: bool) -> tuple[int, list[str]]:
    """Show what was proven of each node, and when.

    Parameters
    ----------
    options : Options
        With an experiment, also what its needs go beyond.
    as_json : bool

    Returns
    -------
    tuple of (int, list of str)
        Exit code, 16 when a node was never verified or not for the experiment, and lines.
    """
    cluster, nodes = open_cluster(options)
    needs = None if options.experiment is None else placed(cluster, needs_of(options.experiment, cluster))
    code, lines = 0, []
    told: dict[str, list[str]] = {}
    for node in nodes:
        receipt, damage = readable(cluster, node)
        missing = (
            [damage or unproven(cluster, node)] if receipt is None else [] if needs is None else covers(receipt, needs)
        )
        if missing:
            code = NOT_VERIFIED
        if as_json:
            document = None if receipt is None else receipt.to_json()
            lines.append(
                json.dumps({"schema": STATUS_SCHEMA, "node": node.name, "missing": missing, "receipt": document})
            )
        text = "; ".join(missing) if receipt is None else _proven(receipt) + "".join(f"; {line}" for line in missing)
        told.setdefault(text, []).append(node.name)
    return code, lines or [f"{fold(names)}: {text}" for text, names in told.items()]


def _proven(receipt: Receipt) -> str:
    """Say in one line what a receipt proves; equal for nodes that were proven equal together."""
    when = datetime.fromtimestamp(receipt.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"verified {when}"]
    if receipt.environment is not None:
        parts.append(f"python {receipt.python}, environment {receipt.environment[:12]}")
    parts += [
        f"{where} {proven.digest[:12]} ({len(proven.files)} files)"
        for where, proven in sorted(receipt.datasets.items())
    ]
    built = set(by_context(receipt, list(receipt.images)))
    parts += [
        f"{name} built there (equal by context, not by content) {receipt.equal_by[name].removeprefix(BY_CONTEXT)[:12]}"
        if name in built
        else f"{name} {identity.removeprefix('sha256:')[:12]}"
        for name, identity in sorted(receipt.images.items())
    ]
    return ", ".join(parts)


def trusted(options: Options, ask: Callable[[str], bool], *, as_json: bool) -> tuple[int, list[str]]:
    """Show host keys and record those that are accepted.

    Parameters
    ----------
    options : Options
    ask : callable
        Gets a question for a person.
    as_json : bool

    Returns
    -------
    tuple of (int, list of str)
        Exit code and lines.
    """
    cluster, nodes = open_cluster(options)

    def question(offer: Trust) -> bool:
        before = f" - it was {', '.join(offer.before)} before, find out why it changed" if offer.before else ""
        return ask(f"{offer.node} ({offer.name}) shows {offer.key.split()[0]} {offer.fingerprint}{before}. Record it?")

    code, lines = 0, []
    for offer in trust.run(cluster, nodes, question):
        if offer.error is not None:
            code |= offer.error.exit_code
        elif offer.state == "refused":
            code |= NOT_VERIFIED
        if as_json:
            lines.append(
                json.dumps(
                    {
                        "schema": TRUST_SCHEMA,
                        "node": offer.node,
                        "name": offer.name,
                        "state": offer.state,
                        "fingerprint": offer.fingerprint,
                        "before": offer.before,
                        "error": None if offer.error is None else str(offer.error),
                    }
                )
            )
        elif offer.error is not None:
            lines.append(f"{offer.state:<9} {offer.error}")
        else:
            lines.append(f"{offer.state:<9} {offer.node} {offer.name} {offer.fingerprint}")
    return code, lines
