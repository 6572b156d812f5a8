"""Whether what a login leaves behind outlives its end, and a way out of the login's reach where there is one.

Where systemd-logind is told to (``KillUserProcesses=yes``), it ends everything that belongs to a login when that is
over, whatever it did to detach itself. A scope of the user's own service manager is out of its reach, if that manager
goes on without logins (lingering). Nothing here needs root, and nothing of the machine's settings is changed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

ASK_SECONDS = 5.0
MOVE_SECONDS = 5.0
SETTINGS = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")

Peril = Dict[str, str]
"""``message`` and ``remedy``."""


def peril(root: str = "/") -> Optional[Peril]:
    """Say why what this process leaves behind would not outlive its login; None where it would, or can be made to.

    Parameters
    ----------
    root : str
        Where the machine's files are read.
    """
    machine = _Machine(root)
    if not machine.ends_at_logout() or (machine.lingers() and machine.manager() is not None):
        return None
    return machine.told()


def shelter(root: str = "/") -> Optional[Peril]:
    """Move this process, and with it all that it starts from now on, out of reach of its login's end, if need be.

    Returns
    -------
    dict or None
        Why it does not outlive its login; None where it does.
    """
    machine = _Machine(root)
    if not machine.ends_at_logout():
        return None
    if machine.lingers() and machine.manager() is not None:
        why = machine.move()
        return None if not why else dict(machine.told(), message="%s, and %s" % (machine.told()["message"], why))
    return machine.told()


class _Machine:
    """What is known of this process' login and this machine's logind."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._uid = os.getuid()
        self._user = pwd.getpwuid(self._uid).pw_name

    def ends_at_logout(self) -> bool:
        """Tell whether the end of the login ends this process."""
        return self._in_login() and self._kills()

    def _in_login(self) -> bool:
        try:
            groups = (self._root / "proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            return False
        return re.search(r"/session-[^/\n]+\.scope(/|$)", groups, re.MULTILINE) is not None

    def _kills(self) -> bool:
        """Ask logind; where nobody answers, read what it was told."""
        values = self._asked()
        if values is None:
            values = self._read()
        if values.get("KillUserProcesses") != ["yes"]:
            return False
        only = values.get("KillOnlyUsers", [])
        excluded = values.get("KillExcludeUsers", ["root"])
        return (not only or self._user in only) and self._user not in excluded

    def _asked(self) -> Optional[Dict[str, List[str]]]:
        answer = _run(["busctl", "get-property", *LOGIND, *SETTINGS])
        lines = [] if answer is None else answer.splitlines()
        if len(lines) != len(SETTINGS):
            return None
        values = {"KillUserProcesses": ["yes" if lines[0].split() == ["b", "true"] else "no"]}
        for number, name in enumerate(SETTINGS[1:], 1):
            values[name] = re.findall(r'"([^"]*)"', lines[number])
        return values

    def _read(self) -> Dict[str, List[str]]:
        """Read the settings as logind does: a later file, and an earlier folder for files of one name, win."""
        folders = [self._root / folder / "systemd" for folder in ("etc", "run", "usr/local/lib", "usr/lib")]
        main = next((file for folder in folders if (file := folder / "logind.conf").is_file()), None)
        more: Dict[str, Path] = {}
        for folder in folders:
            for file in (folder / "logind.conf.d").glob("*.conf"):
                more.setdefault(file.name, file)
        values: Dict[str, List[str]] = {}
        for file in [*([main] if main else []), *(more[name] for name in sorted(more))]:
            with contextlib.suppress(OSError):
                values.update(_settings(file.read_text(encoding="utf-8", errors="replace")))
        return values

    def lingers(self) -> bool:
        """Tell whether the user's service manager goes on without logins."""
        return (self._root / "var/lib/systemd/linger" / self._user).exists()

    def manager(self) -> Optional[Path]:
        """Return the folder with the door of the user's service manager, if that runs."""
        folder = self._root / "run/user" / str(self._uid)
        return folder if (folder / "bus").exists() else None

    def move(self) -> str:
        """Let the user's service manager take this process into a scope of its own; return why that failed."""
        folder = self.manager()
        name = "timeeval-%d-%d.scope" % (os.getpid(), time.monotonic_ns())
        bus = {"XDG_RUNTIME_DIR": str(folder), "DBUS_SESSION_BUS_ADDRESS": "unix:path=%s/bus" % folder}
        properties = ["2", "PIDs", "au", "1", str(os.getpid()), "Description", "s", "TimeEval"]
        method = ["StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", *properties, "0"]
        if _run(["busctl", "--user", "call", *MANAGER, *method], bus) is None:
            return "the user's service manager did not take it over"
        deadline = time.monotonic() + MOVE_SECONDS
        while self._in_login():
            if time.monotonic() > deadline:
                return "the user's service manager had not taken it over after %g s" % MOVE_SECONDS
            time.sleep(0.05)
        return ""

    def told(self) -> Peril:
        """Return what is to be known, and what a person can do."""
        return {
            "message": "logind ends all that %s leaves behind at logout (KillUserProcesses=yes)" % self._user,
            "remedy": "loginctl enable-linger %s" % self._user
            if not self.lingers()
            else "log in anew, so that the service manager of %s runs, or set KillUserProcesses=no" % self._user,
        }


def _settings(text: str) -> Dict[str, List[str]]:
    found = {}
    for line in text.splitlines():
        name, separator, value = (part.strip() for part in line.partition("="))
        if separator and name in SETTINGS:
            words = value.split()
            found[name] = ["yes" if value.lower() in {"1", "yes", "y", "true", "t", "on"} else "no"]
            if name != SETTINGS[0]:
                found[name] = words
    return found


def _run(argv: List[str], more: Optional[Dict[str, str]] = None) -> Optional[str]:
    """Return what a command says; None where it is not there, fails, or does not come back."""
    environment: Dict[str, Any] = dict(os.environ, LC_ALL="C.UTF-8", **(more or {}))
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
