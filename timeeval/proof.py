"""What a run may rely on: the proof that the gate hands to it, and that goes into its ``run.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.errors import TimeEvalError
from timeeval.run import standing

if TYPE_CHECKING:
    from provisioning.receipt import Receipt
    from provisioning.resources.base import DatasetNeed
    from timeeval.run.local_code import Source

SCHEMA = "timeeval.proof/1"
BY_CONTEXT = "context:"
"""How receipts mark what an image that a node built itself has in common with those of other nodes."""
EQUAL_BY_CONTEXT = "equal by context, not by content"


@dataclass(frozen=True, slots=True)
class Claim:
    """How hosts were proven, and what is to be done where they are not so any more.

    Attributes
    ----------
    carrier : str
        What looked at the hosts: ``ssh``, a task on a ``worker``, or this ``process``.
    verified : bool
        Whether what was seen agrees with receipts of `timeeval-provision verify`; else it was only observed.
    mend : callable
        What to do when a host has changed, as a sentence.
    equal : str
        What to do when hosts differ.
    """

    carrier: str
    verified: bool
    mend: Callable[[str], str]
    equal: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proven equal on all nodes of a run.

    Attributes
    ----------
    image_ids : Mapping[str, str]
        Id by which every node starts an image, by its name in the experiment.
    datasets : Mapping[str, str]
        Digest of each dataset folder, by its path on the nodes.
    data_digests : Mapping[Path, str]
        SHA-256 of each dataset file, by its path on the nodes and by the one on the driver.
    nodes : Mapping[str, Mapping[str, Any]]
        Per node the digest of its receipt, when it was written and what it says of the machine.
    standings : Mapping[str, str]
        Per node what it checks before each attempt (`timeeval.run.standing`).
    verified : bool
        Whether nodes agree with receipts, or were only looked at.
    by_context : tuple of str
        Images that nodes built themselves: equal by context, not by content.
    """

    image_ids: Mapping[str, str]
    datasets: Mapping[str, str]
    data_digests: Mapping[Path, str]
    nodes: Mapping[str, Mapping[str, Any]]
    standings: Mapping[str, str]
    verified: bool = True
    by_context: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        receipts: Mapping[str, Receipt],
        images: Mapping[str, Callable[[Receipt, str], str | None]],
        sources: Mapping[str, Path],
        datasets: Sequence[DatasetNeed],
        claim: Claim,
        *,
        code: Mapping[str, Source] | None = None,
    ) -> Proof:
        """Put receipts together.

        Parameters
        ----------
        receipts : mapping
            Receipt of each node, by its name.
        images : mapping
            Name of each needed image, with the function that finds it in a receipt.
        sources : mapping
            Folder on the driver, by its path on the nodes.
        datasets : sequence of DatasetNeed
            The files that attempts read, with the folders as nodes have them.
        claim : Claim
            How the receipts came about.
        code : mapping, optional
            The user's own modules, which are not installed on the nodes.

        Raises
        ------
        TimeEvalError
            If two nodes were proven to have different things under one name.
        """
        starts = {
            node: {name: find(proven, name) or "" for name, find in images.items()} for node, proven in receipts.items()
        }
        image_ids = {name: _image(name, receipts, starts, claim) for name in images}
        files: dict[str, dict[str, dict[str, str]]] = {}
        for node, proven in receipts.items():
            for folder, content in proven.datasets.items():
                for path, (digest, *_) in content.files.items():
                    files.setdefault(folder, {}).setdefault(path, {})[node] = digest
        digests = {
            folder: {path: _same(f"{folder}/{path}", seen, claim) for path, seen in paths.items()}
            for folder, paths in files.items()
        }
        return cls(
            image_ids=image_ids,
            datasets={folder: _digest(paths) for folder, paths in digests.items()},
            data_digests={
                root / path: digest
                for folder, paths in digests.items()
                for root in (Path(folder), *([sources[folder]] if folder in sources else []))
                for path, digest in paths.items()
            },
            nodes={node: {**_of_node(proven), "carrier": claim.carrier} for node, proven in receipts.items()},
            verified=claim.verified,
            standings={
                node: standing.document(
                    host=node,
                    since="verified" if claim.verified else "the run began",
                    mend=claim.mend(node),
                    machine_id=proven.machine_id,
                    boot_id=proven.boot_id,
                    environment=proven.environment,
                    records=proven.records,
                    files={
                        f"{need.path}/{file}": proven.datasets[str(need.path)].files[file]
                        for need in datasets
                        for file in need.files
                        if claim.verified or file in proven.datasets[str(need.path)].files
                    },
                    images=image_ids,
                    starts=starts[node],
                    code=code,
                )
                for node, proven in receipts.items()
            },
            by_context=tuple(name for name, known in image_ids.items() if known.startswith(BY_CONTEXT)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document for ``run.json``."""
        return {
            "schema": SCHEMA,
            "claim": "verified" if self.verified else "observed",
            "images": dict(self.image_ids),
            "image_equality": {
                name: EQUAL_BY_CONTEXT if name in self.by_context else "equal by content" for name in self.image_ids
            },
            "datasets": dict(self.datasets),
            "nodes": {
                name: {**facts, "standing": standing.digest_of(self.standings[name])}
                for name, facts in self.nodes.items()
            },
        }


def _of_node(proven: Receipt) -> dict[str, Any]:
    names = ("time", "tool", "machine_id", "boot_id", "kernel", "machine", "libc", "clock_offset", "python", "lock")
    facts = {name: getattr(proven, name) for name in (*names, "environment", "docker")}
    return {"receipt": _digest(proven.to_json()), **facts}


def _image(name: str, receipts: Mapping[str, Receipt], starts: Mapping[str, Mapping[str, str]], claim: Claim) -> str:
    """Return what an image is known by in a run: its id, where all nodes have one, else what they have in common."""
    ids = {node: known[name] for node, known in starts.items()}
    common = {node: proven.common(name) for node, proven in receipts.items()}
    built_somewhere = any(known.startswith(BY_CONTEXT) for known in common.values())
    if len(set(common.values())) == 1 and "" not in common.values() and (built_somewhere or len(set(ids.values())) > 1):
        return next(iter(common.values()))
    return _same(f"image {name}", ids, claim)


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _same(thing: str, seen: Mapping[str, str], claim: Claim) -> str:
    values = sorted(set(seen.values()))
    if len(values) > 1:
        who = "; ".join(f"{', '.join(n for n in seen if seen[n] == value)}: {value[:19]}" for value in values)
        raise TimeEvalError(
            f"{thing} was {'proven' if claim.verified else 'seen'} to be different things on different nodes ({who})",
            remedy=claim.equal,
        )
    return values[0] if values else ""
