"""What a driver on another host takes along: the script and what it reads here, the cluster as that host sees it."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from provisioning.transplant import transplanted
from timeeval.cluster.lodge import PRIVATE, RESULTS, WORK
from timeeval.cluster.translated import translated
from timeeval.errors import TimeEvalError
from timeeval.run import local_code, provenance
from timeeval.run.driven import FILE_NAME as NOTE

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

PUSHED = "1"
"""Name on that host of a results folder that began here."""
STAYS = frozenset({NOTE, f"{PRIVATE}/incoming", "journal.sqlite.lock"})
"""Of a results folder that moves: who drives it, what had arrived in part, and who writes to it."""
MEMORY = 1 << 24


def files_of(script: Path, also: Sequence[Path]) -> dict[str, Path]:
    """Return the files that a script needs where it runs: path below the working folder there -> file here.

    Parameters
    ----------
    script : Path
        A script or an experiment file; the modules beside it that it imports are found by reading it.
    also : sequence of Path
        Files and folders that it reads.

    Raises
    ------
    TimeEvalError
        If one of them has no place relative to the script or the working directory.
    """
    found = {place(script, script): script}
    for source in local_code.of_script(script).values():
        if source.file:
            found[place(Path(source.file), script)] = Path(source.file)
    for path in also:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[place(file, script)] = file
    return found


def place(file: Path, script: Path) -> str:
    """Return where a file lies relative to the working directory; without one in common, to the script's folder."""
    resolved = file.absolute()
    for folder, prefix in ((Path.cwd(), Path()), (script.absolute().parent, Path("beside"))):
        for base in (folder, folder.resolve()):
            if resolved.is_relative_to(base):
                return (prefix / resolved.relative_to(base)).as_posix()
    raise TimeEvalError(
        f"{file} lies neither below the working directory nor beside the script, so it has no place on another host",
        remedy="Start from a folder above it",
    )


def packed(cluster: Cluster, host: Node, script: Path, files: Mapping[str, Path], results: Path | None) -> IO[bytes]:
    """Return an archive of everything, to be read from its begin; the state of the script's code is noted in it.

    Parameters
    ----------
    cluster : Cluster
    host : Node
        The driver to be.
    script : Path
    files : mapping
        From `files_of`.
    results : Path, optional
        A results folder that goes there with its run.
    """
    with translated():
        texts = transplanted(cluster, host)
    texts[f"{WORK}/{provenance.BROUGHT}"] = json.dumps(provenance.state_of_code(script.resolve().parent)).encode()
    spool = tempfile.SpooledTemporaryFile(MEMORY)  # noqa: SIM115 - the caller reads it and closes it
    with tarfile.open(fileobj=spool, mode="w:gz", compresslevel=1) as archive:
        for path, text in texts.items():
            archive.addfile(_plain(path, len(text)), io.BytesIO(text))
        for path, file in [*((f"{WORK}/{path}", file) for path, file in files.items()), *_run(results)]:
            with file.open("rb") as content:
                archive.addfile(_plain(path, file.stat().st_size), content)
    spool.seek(0)
    return spool


def _run(results: Path | None) -> Iterator[tuple[str, Path]]:
    if results is None:
        return
    for file in sorted(results.rglob("*")):
        inside = file.relative_to(results)
        stays = STAYS & {inside.as_posix(), *(folder.as_posix() for folder in inside.parents)}
        if file.is_file() and not file.is_symlink() and not stays:
            yield f"{RESULTS}/{PUSHED}/{inside.as_posix()}", file


def _plain(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size, 0o600
    return member
