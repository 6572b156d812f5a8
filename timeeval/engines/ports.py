"""Who holds a port of this machine, for an error message (Linux)."""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Mapping
from pathlib import Path

LISTENS = "0A"
MOST = 4


def holder(port: int) -> str:
    """Return who listens on a TCP port.

    Parameters
    ----------
    port : int
        Number of the port.

    Returns
    -------
    str
        ``"process 4711 (nginx) of www-data"``; without the process where it is another user's, and empty where nobody
        listens.
    """
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    return _words(int(fields[7]), fields[9])
    return ""


def _words(uid: int, inode: str) -> str:
    user = str(uid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    process = _process(f"socket:[{inode}]")
    return f"process {process} of {user}" if process else f"a process of {user}"


def _process(socket: str) -> str:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in (entry / "fd").iterdir():
                    if str(descriptor.readlink()) == socket:
                        return f"{entry.name} ({(entry / 'comm').read_text(encoding='utf-8').strip()})"
    return ""


def held(options: Mapping[str, object]) -> str:
    """Say who holds which of the ports that the options of a Dask process name."""
    wanted = {number for key in ("port", "worker_port") for number in _numbers(str(options.get(key, 0)))}
    told = [f"port {number} is held by {who}" for number in sorted(wanted) if (who := holder(number))]
    return "; ".join(told[:MOST])


def _numbers(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1) if int(first) else range(0)
