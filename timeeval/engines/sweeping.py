"""What a run may leave on a node (processes, containers, files), how it is found and how it is ended.

Part of the guard's program: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

RUN_LABEL = "timeeval.run"
ATTEMPT_LABEL = "timeeval.attempt"
RUN_MARK = "TIMEEVAL_RUN"
SLOT_MARK = "TIMEEVAL_SLOT"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DOCKER_SECONDS = 60.0

_forking = threading.Lock()
_own: set[int] = set()  # children that somebody here waits for; all other dead children are orphans that came to us


class Process(NamedTuple):
    """One line of the process table; `started` (clock ticks since boot) tells a pid from its next owner."""

    pid: int
    parent: int
    state: str
    started: int


def run_folder(state: str, run: str, node: str) -> Path:
    """Return the folder of a run on a node; the state folder may be shared between nodes."""
    return Path(state) / "runs" / f"{run}@{node}"


def shed(keep: int, log: Path | None = None) -> None:
    """Let go of all that was inherited, an SSH channel's ends above all; `keep` becomes descriptor 3.

    What is printed goes to a private file, or nowhere.
    """
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    said = nothing if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    kept = fcntl.fcntl(keep, fcntl.F_DUPFD, 10)  # out of the way of what is set now
    for number, descriptor in enumerate((nothing, said, said)):
        os.dup2(descriptor, number)
    os.dup2(kept, 3, inheritable=False)
    os.closerange(4, 4096)


def processes() -> dict[int, Process]:
    """Return the process table of this machine as far as it can be read."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The command's name may hold anything, blanks and brackets too; the fields follow its last bracket.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                table[int(entry.name)] = Process(int(entry.name), int(fields[1]), fields[0], int(fields[19]))
    return table


def descendants(root: int, table: dict[int, Process]) -> list[int]:
    """Return the pids below `root`, the dead ones that nobody has asked for yet left out."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, stack = [], [root]
    while stack:
        for pid in children.get(stack.pop(), []):
            stack.append(pid)
            if table[pid].state not in "ZX":
                found.append(pid)
    return found


def marked(**marks: str) -> list[int]:
    """Return the pids whose environment has all these variables."""
    needles = {f"{name}={value}".encode() for name, value in marks.items()}
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if needles <= set(_environment(pid))]


def _environment(pid: int) -> list[bytes]:
    """Return the variables of a process; none of one that is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def kill(pids: Iterable[int]) -> int:
    """Kill processes at once; return how many there were to kill."""
    count = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count


def start(
    argv: list[str],
    *,
    env: dict[str, str],
    stdin: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    cwd: Path | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child so that the burial of orphans never takes its exit status from whoever waits for it."""
    with _forking:
        popen = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env=env,
            start_new_session=new_session,
        )
        _own.add(popen.pid)
    return popen


def adopt(pid: int) -> None:
    """Count a process as one that somebody here waits for."""
    with _forking:
        _own.add(pid)


def orphans() -> list[int]:
    """Return the living processes that became our children because we are the subreaper."""
    with _forking:
        table = processes().values()
        return [p.pid for p in table if p.parent == os.getpid() and p.pid not in _own and p.state not in "ZX"]


def clean_up_after(child: str, run: str, *, alone: bool) -> None:
    """End what workers of the guard's child left; if others compute here (`alone` is false), nothing of theirs."""
    left = orphans()
    if not alone:
        mark = f"{SLOT_MARK}={child}/".encode()
        left = [pid for pid in left if any(value.startswith(mark) for value in _environment(pid))]
    table = processes()
    for pid in left:
        kill([pid, *descendants(pid, table)])
    if alone:  # else the driver has removed what belongs to each of their attempts
        remove_containers(f"{RUN_LABEL}={run}")


def bury_orphans() -> None:
    """Reap the dead that became our children because we are the subreaper."""
    with _forking:
        for process in processes().values():
            if process.parent == os.getpid() and process.state == "Z" and process.pid not in _own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)


def docker(*arguments: str) -> str:
    """Run the Docker client and return its output; raises OSError with its complaint."""
    program = shutil.which("docker", path=PATH)
    if program is None:
        return ""  # without the client's program no experiment of ours has started a container here
    popen = start(
        [program, *arguments],
        env={"PATH": PATH, "HOME": str(Path.home()), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
    )
    try:
        output, complaint = popen.communicate(timeout=DOCKER_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.communicate()
        raise OSError(f"docker {arguments[0]} did not end within {DOCKER_SECONDS:g} s") from None
    finally:
        _own.discard(popen.pid)
    if popen.returncode:
        raise OSError(f"docker {arguments[0]}: {complaint.decode(errors='replace').strip()}")
    return output.decode(errors="replace")


def remove_containers(label: str) -> tuple[int, str]:
    """Remove every container that carries ``key=value``; return how many there were and what went wrong."""
    ids: list[str] = []
    try:
        ids = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", "label=" + label).split()
        if ids:
            docker("rm", "--force", "--volumes", *ids)
    except OSError as error:
        return len(ids), str(error)
    return len(ids), ""


def sweep(run: str, folder: Path) -> dict[str, Any]:
    """End what carries the mark or the label of a run and remove its folder; return what there was.

    The folder stays where containers may be left, because their engine does not answer: the next start sweeps again.
    """
    ended = 0
    for _ in range(50):
        pids = marked(**{RUN_MARK: folder.name})
        if not pids:
            break
        ended += kill(pids)
        time.sleep(0.1)
    containers, problem = remove_containers(f"{RUN_LABEL}={run}")
    if not problem:
        shutil.rmtree(folder, ignore_errors=True)
    return {"processes": ended, "containers": containers, "problem": problem}


def boot_id() -> str:
    """Return the identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_guarded(folder: Path) -> bool:
    """Return whether the guard of a run folder lives."""
    try:
        owner = json.loads((folder / "guard.json").read_text())
    except FileNotFoundError:
        return False
    alive = processes().get(owner.get("pid", 0))
    return (
        alive is not None
        and alive.state not in "ZX"
        and (owner["boot"], owner["started"]) == (boot_id(), alive.started)
    )


def sweep_dead(runs: Path, node: str) -> list[str]:
    """Sweep this node's runs whose guard is dead or died with an earlier boot; return their ids.

    The folder may be shared between nodes, so each touches its own runs only.
    """
    swept = []
    for folder in sorted(runs.glob(f"*@{node}")):
        try:
            run = json.loads((folder / "guard.json").read_text())["run"]
            if is_guarded(folder):
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is being made right now
        if not sweep(run, folder)["problem"]:
            swept.append(run)
    return swept
