"""Put a finished environment under its final name, and take it away again. Runs on the node (Python >= 3.8)."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path

from provisioning.node.tools import RefusedError, run

_HERE = -100
_EXCHANGE = 2


def previous_of(prefix: Path) -> Path:
    """Return where the environment before this one is kept."""
    return prefix.parent / (prefix.name + ".previous")


def switch(fresh: Path, prefix: Path) -> None:
    """Give a new environment its final name; what had it before is kept beside it."""
    previous = previous_of(prefix)
    replaces = prefix.is_dir() and any(prefix.iterdir())
    if replaces:
        remove(previous)
        prefix.rename(previous)
    elif prefix.is_dir():
        prefix.rmdir()
    fresh.rename(prefix)
    try:
        starts(prefix)
    except (OSError, ValueError, RefusedError):
        prefix.rename(fresh)
        if replaces:
            previous.rename(prefix)
        raise


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names: at once where the file system can, else by way of a third name.

    `one` may be missing: the rest of an exchange that was cut short.
    """
    if not one.exists():
        other.rename(one)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(str(one)), os.fsencode(str(other))
    if hasattr(libc, "renameat2") and libc.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0:
        return
    aside = one.parent / (".%s.aside" % one.name)
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def starts(prefix: Path) -> None:
    """Start the interpreter under its final name and ask it where it lives; refuse anything else."""
    python = prefix / "bin" / "python"
    answer = run([str(python), "-I", "-B", "-c", "import json, sys; print(json.dumps(sys.prefix))"])
    if json.loads(answer) != str(prefix):
        raise RefusedError(
            "%s says that it lives in %s" % (python, answer.strip()), "choose a prefix without symbolic links"
        )


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing when there is none."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(str(path))
