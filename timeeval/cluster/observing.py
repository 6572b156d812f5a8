"""The second carrier of observation: the gate's own look, taken by the process that computes instead of over SSH.

It serves where there is no receipt to compare with: runs on this machine, and workers that somebody else started. What
is seen is written down like a receipt, so that everything after it is the same; it is called observed, not verified.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.node import look
from provisioning.receipt import Proven, Receipt
from provisioning.resources.base import DatasetNeed
from timeeval.datasets.locations import readable
from timeeval.proof import Claim, Proof

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel
    from timeeval.run.local_code import Source

LOOK = "timeeval.cluster.observing:look_from_worker"


class _Nobody:
    """The line to a driver that is this very process."""

    def event(self, _message: dict[str, Any]) -> None:
        """Tell it nothing."""


def look_here(question: Mapping[str, Any]) -> dict[str, Any]:
    """Run the gate's look in this process.

    Parameters
    ----------
    question : mapping
        ``files`` (folder -> paths below it) and ``images`` (names); what the look reads besides is this interpreter's
        own environment.

    Returns
    -------
    dict
        The answer of `provisioning.node.look`, with the ``digests`` of the files and this interpreter's ``python``.
    """
    channel: Channel = _Nobody()  # type: ignore[assignment]
    asked = {"files": question["files"], "images": question["images"], "prefix": None, "read": True}
    return {**look.main(asked, channel), "environment": _environment(sys.prefix), "python": platform.python_version()}


@functools.cache
def _environment(prefix: str) -> dict[str, Any]:
    """Look at the environment once: a process does not outlive what it has imported from there."""
    nothing: dict[str, Any] = {"files": {}, "images": []}
    channel: Channel = _Nobody()  # type: ignore[assignment]
    found: dict[str, Any] = look.main({"prefix": prefix, **nothing}, channel)["environment"]
    return found


def look_from_worker(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Answer a question as a task on a worker: JSON in, JSON out."""
    del attempt
    question = json.loads(job)
    failed = {}
    for name in question["modules"]:
        try:
            __import__(name)
        except Exception as error:  # noqa: BLE001 - a module may fail in any way, and how is the answer
            failed[name] = f"{type(error).__name__}: {error}"
    return json.dumps({**look_here(question), "failed": failed})


def question_of(needs: Mapping[str, Any], place: Callable[[Path], Path] = lambda path: path) -> dict[str, Any]:
    """Return what has to be looked at for an experiment.

    Parameters
    ----------
    needs : mapping
        The document ``timeeval.needs/1``.
    place : callable
        Where the hosts have a dataset folder.
    """
    return {
        "files": {str(place(Path(need["path"]))): list(need["files"]) for need in needs["datasets"]},
        "images": list(needs["images"]),
        "modules": list(needs["modules"]),
    }


def receipt_of(host: str, seen: Mapping[str, Any]) -> Receipt:
    """Write down what was seen of a host."""
    environment = seen["environment"] or {}
    return Receipt(
        cluster="",
        node=host,
        time=time.time(),
        tool=importlib.metadata.version("timeeval-cluster"),
        machine_id=seen["machine_id"],
        boot_id=seen["boot_id"],
        kernel=seen["kernel"],
        machine=seen["machine"],
        libc=seen["libc"],
        clock_offset=0.0,
        python=seen["python"],
        prefix=None,
        lock=environment.get("lock"),
        environment=environment.get("identity"),
        docker=seen["engine"],
        datasets={
            folder: Proven("", {path: (digest, *seen["files"][folder][path]) for path, digest in digests.items()})
            for folder, digests in seen["digests"].items()
        },
        images={name: known for name, known in seen["images"].items() if known},
        records={path: tuple(row) for path, row in environment.get("records", {}).items()},
    )


def lacking(question: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Return what a host would have to have for an experiment and has not, a line each."""
    lines = []
    for folder, paths in question["files"].items():
        missing = [path for path in paths if path not in seen["digests"][folder]]
        if missing:
            lines.append(f"files of {folder} are not there: {_some(missing)}")
    if seen["why"]:
        lines.append(seen["why"])
    elif absent := [name for name, known in seen["images"].items() if not known]:
        lines.append(f"images are not there: {_some(absent)}")
    lines += [f"the module {name} cannot be imported: {why}" for name, why in seen.get("failed", {}).items()]
    return lines


def proof_of(
    receipts: Mapping[str, Receipt],
    question: Mapping[str, Any],
    sources: Mapping[str, Path],
    claim: Claim,
    code: Mapping[str, Source] | None = None,
) -> Proof:
    """Put together what was seen of all hosts; raises `timeeval.errors.TimeEvalError` where they differ."""
    datasets = [DatasetNeed(PurePosixPath(folder), (), tuple(paths)) for folder, paths in question["files"].items()]
    images = [name for name in question["images"] if any(name in receipt.images for receipt in receipts.values())]
    return Proof.of(receipts, dict.fromkeys(images, _image), sources, datasets, claim, code=code)


def _image(receipt: Receipt, name: str) -> str | None:
    return receipt.images.get(name)


def this_machine(host: str, needs: Mapping[str, Any]) -> Proof:
    """Look at this machine before a run on it; what is missing is left to the experiments that miss it."""
    question = question_of(needs, readable)
    sources = {str(readable(Path(need["path"]))): Path(need["path"]) for need in needs["datasets"]}
    claim = Claim("process", False, lambda _host: "run it again with --resume if that was meant", "")
    return proof_of({host: receipt_of(host, look_here(question))}, question, sources, claim)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
