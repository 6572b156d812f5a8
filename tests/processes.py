"""What tests ask about processes, which may end between any two looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which nobody may ever come to reap, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def texts(*names: str) -> Iterator[bytes]:
    """Yield files of all processes' folders in /proc, such as ``cmdline``, but for processes that end."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            for name in names:
                try:
                    text = (entry / name).read_bytes()
                except OSError:
                    continue
                yield text
