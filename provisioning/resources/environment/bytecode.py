"""The byte code of wheels, compiled on the driver: once per wheel, whoever gets it and however often."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.kept import cache_folder
from provisioning.resources.environment.wheels import Wheel, keep, note_down, noted

if TYPE_CHECKING:
    from provisioning.manifest import Entry

_MOST_PROCESSES = 8


def bundles(wheels: Sequence[Wheel], store: Path) -> list[Entry]:
    """Return an archive of byte code for each wheel, in their order; what the store lacks is compiled.

    Nodes have this interpreter's minor version, so what it compiles is what they would.

    Raises
    ------
    ProvisionError
        When the compiler ends early.
    """
    known = {wheel: noted(_note(wheel), store) for wheel in wheels}
    missing = [wheel for wheel, entry in known.items() if entry is None]
    if missing:
        known.update(_compiled(missing, store))
    return [entry for wheel in wheels if (entry := known[wheel]) is not None]


def _note(wheel: Wheel) -> Path:
    number = importlib.util.MAGIC_NUMBER.hex()
    return cache_folder() / "bytecode" / f"{wheel.entry.sha256[:32]}-{number}.json"


def _compiled(wheels: Sequence[Wheel], store: Path) -> dict[Wheel, Entry]:
    tag = sys.implementation.cache_tag
    with tempfile.TemporaryDirectory(prefix="timeeval-bytecode-") as scratch:
        targets = {wheel: Path(scratch, f"{wheel.file.stem}.{tag}.zip") for wheel in wheels}
        _compile([(wheel.file, target) for wheel, target in targets.items()])
        made = {wheel: keep(target, store) for wheel, target in targets.items()}
    for wheel, entry in made.items():
        note_down(_note(wheel), entry)
    return made


def _compile(jobs: Sequence[tuple[Path, Path]]) -> None:
    """Compile in one process per core, the largest wheels first and spread over all of them."""
    ordered = sorted(jobs, key=lambda job: job[0].stat().st_size, reverse=True)
    count = max(1, min(_MOST_PROCESSES, len(os.sched_getaffinity(0)), len(ordered)))
    shares = [[[str(wheel), str(target)] for wheel, target in ordered[number::count]] for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        for done in pool.map(_run, shares):
            if done.returncode != 0:
                last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
                raise ProvisionError(
                    f"the wheels could not be compiled on the driver: {last[0]}", remedy="see whether it has room left"
                )


def _run(share: list[list[str]]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning.node.bytecode"],
        input=json.dumps(share),
        capture_output=True,
        text=True,
        check=False,
    )
