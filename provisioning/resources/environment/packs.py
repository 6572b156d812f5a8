"""The packs of wheels on the driver: made once per wheel, whoever gets them and however often."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.kept import cache_folder
from provisioning.node.codec import ZLIB, ZSTD, offered
from provisioning.node.packs import FORMAT
from provisioning.resources.environment.packing import LEVEL, Order
from provisioning.resources.environment.wheels import Wheel, keep, note_down, noted

if TYPE_CHECKING:
    from provisioning.manifest import Entry

_MOST_PROCESSES = 8
_NAMES = {ZLIB: "zlib", ZSTD: "zstd"}


@dataclass(frozen=True, slots=True)
class Packs:
    """The packs of one wheel.

    Attributes
    ----------
    files : Entry
        What it leaves in an environment, in the store.
    code : Entry or None
        The byte code of its modules.
    """

    files: Entry
    code: Entry | None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Both."""
        return (self.files,) if self.code is None else (self.files, self.code)


def codec_for(offers: Sequence[int]) -> int:
    """Return how packs are compressed for a node that reads `offers`; the driver has to write it."""
    return ZSTD if ZSTD in offers and ZSTD in offered() else ZLIB


def packs_of(wheels: Sequence[Wheel], minor: str, codec: int, store: Path) -> list[Packs]:
    """Return the packs of each wheel, in their order; what the store lacks is made.

    Nodes have this interpreter's minor version, so what it compiles is what they would.

    Raises
    ------
    ProvisionError
        When a wheel cannot be installed, or the driver has no room.
    """
    notes = {(wheel, kind): _note(wheel, kind, minor, codec) for wheel in wheels for kind in ("files", "code")}
    known = {key: entry for key, note in notes.items() if (entry := noted(note, store)) is not None}
    missing = [key for key in notes if key not in known]
    if missing:
        made = _make(missing, minor, codec, store)
        for key, entry in made.items():
            note_down(notes[key], entry)
        known.update(made)
    return [Packs(known[wheel, "files"], known[wheel, "code"]) for wheel in wheels]


def _note(wheel: Wheel, kind: str, minor: str, codec: int) -> Path:
    made = f"{importlib.util.MAGIC_NUMBER.hex()}-" if kind == "code" else ""
    version = FORMAT.decode("ascii").strip().rpartition("/")[2]
    return cache_folder() / "packs" / f"{wheel.entry.sha256[:32]}-{made}{minor}-{_NAMES[codec]}{LEVEL}-{version}.json"


def _make(
    missing: Sequence[tuple[Wheel, str]], minor: str, codec: int, store: Path
) -> Mapping[tuple[Wheel, str], Entry]:
    with tempfile.TemporaryDirectory(prefix="timeeval-packs-") as scratch:
        ends = {"files": f"{_NAMES[codec]}.pack", "code": f"{sys.implementation.cache_tag}.{_NAMES[codec]}.pack"}
        targets = {(wheel, kind): Path(scratch, f"{wheel.file.stem}.{ends[kind]}") for wheel, kind in missing}
        wheels = dict.fromkeys(wheel for wheel, _ in missing)
        orders = []
        for wheel in wheels:
            files, code = (str(targets[wheel, kind]) if (wheel, kind) in targets else None for kind in ends)
            orders.append(Order(str(wheel.file), wheel.entry.sha256, minor, codec, files, code))
        _run_all(orders)
        return {key: keep(target, store) for key, target in targets.items()}


def _run_all(orders: Sequence[Order]) -> None:
    """Pack in one process per core, the largest wheels first and spread over all of them."""
    ordered = sorted(orders, key=lambda order: Path(order.wheel).stat().st_size, reverse=True)
    count = max(1, min(_MOST_PROCESSES, len(os.sched_getaffinity(0)), len(ordered)))
    with ThreadPoolExecutor(count) as pool:
        for done in pool.map(_run, [ordered[number::count] for number in range(count)]):
            if done.returncode == 0:
                continue
            if done.returncode == 1 and done.stdout.startswith("{"):
                raise ProvisionError(**json.loads(done.stdout))
            last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise ProvisionError(
                f"the wheels could not be packed on the driver: {last[0]}", remedy="see whether it has room left"
            )


def _run(share: Sequence[Order]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning.resources.environment.packing"],
        input=json.dumps(share),
        capture_output=True,
        text=True,
        check=False,
    )
