"""One node of the sandbox, seen from the machine it runs on: what it is doing, and how to harm and heal it.

Everything goes through the engine, never through the node's sshd: a node that is cut off, frozen or has a broken login
can still be read and mended. Each harm leaves a marker in the node, so that `ailments` is complete whoever did it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from provisioning.errors import UsageError
from provisioning.sandbox.engine import Engine, tail
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.layout import FULL

__all__ = ["SHELLS", "SandboxNode"]

SHELLS = {
    "bash": ("/bin/bash", ".bashrc"),
    "dash": ("/bin/dash", ".profile"),
    "fish": ("/usr/bin/fish", ".config/fish/config.fish"),
    "tcsh": ("/usr/bin/tcsh", ".tcshrc"),
}
"""Login shells that a node has: program, and the file in the home folder that it reads at its start."""

MARKS = "/var/lib/sandbox-faults"
CUT = """
set -e
mkdir -p "$1" && touch "$1/cut"
iptables -C INPUT -i eth0 -j DROP 2>/dev/null || iptables -I INPUT 1 -i eth0 -j DROP
iptables -C OUTPUT -o eth0 -j DROP 2>/dev/null || iptables -I OUTPUT 1 -o eth0 -j DROP
"""
JOIN = """
while iptables -D INPUT -i eth0 -j DROP 2>/dev/null; do :; done
while iptables -D OUTPUT -o eth0 -j DROP 2>/dev/null; do :; done
rm -f "$1/cut"
"""
PART = """
set -e
mkdir -p "$1" && echo "$2" >"$1/apart"
iptables -I INPUT 1 -s "$2" -j DROP
iptables -I OUTPUT 1 -d "$2" -j DROP
"""
MEET = """
while read -r address; do
    while iptables -D INPUT -s "$address" -j DROP 2>/dev/null; do :; done
    while iptables -D OUTPUT -d "$address" -j DROP 2>/dev/null; do :; done
done <"$1/apart"
rm -f "$1/apart"
"""
FILL = """
set -e
mkdir -p "$1" && touch "$1/full"
blocks=$(df -k --output=avail "$2" | tail -n 1)
[ "$blocks" -lt 1048576 ] || { echo "$2 is not a small file system" >&2; exit 1; }
dd if=/dev/zero of="$2/.filler" bs=4k 2>/dev/null || true
"""
STOP_ENGINE = """
set -e
mkdir -p "$1" && touch "$1/engine"
pkill -KILL -x dockerd
for name in containerd containerd-shim; do pkill -KILL "^$name" || true; done
rm -f /run/docker.sock
"""
START_ENGINE = """
pgrep -x dockerd >/dev/null || {
    rm -rf /run/docker.pid /run/docker.sock /run/docker /run/containerd
    nohup setsid dockerd --storage-driver=overlay2 >>/var/log/dockerd.log 2>&1 </dev/null &
}
rm -f "$1/engine"
"""
FREE = 'rm -f "$2/.filler" "$1/full"'
SHELL = """
set -e
mkdir -p "$1" "$(dirname "$3")" && touch "$1/shell"
usermod --shell "$2" bench
[ ! -e "$3" ] || [ -e "$3.before" ] || mv "$3" "$3.before"
cat >"$3"
chown -R bench:bench /home/bench
"""
UNSHELL = """
usermod --shell /bin/bash bench
cd /home/bench || exit 1
for file in .bashrc .profile .tcshrc .config/fish/config.fish; do
    if [ -e "$file.before" ]; then mv "$file.before" "$file"
    elif grep -qs sandbox-banner "$file"; then rm -f "$file"
    fi
done
rm -f "$1/shell"
"""


@dataclass(frozen=True, slots=True)
class SandboxNode:
    """A node.

    Parameters
    ----------
    name : str
        Host name, such as ``node1``.
    container : str
        Name of its container.
    address : str
        Its IPv4 address on the sandbox's network.
    engine : Engine
        The engine it runs on.
    """

    name: str
    container: str
    address: str
    engine: Engine

    def exec(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        stdin: str | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the node.

        Parameters
        ----------
        argv : sequence of str
            Program and arguments.
        user : str
            ``root`` or ``bench``.
        stdin : str or None
            Text for its standard input.
        timeout : float
            Seconds to wait.
        check : bool
            Whether an exit status other than 0 is an error.

        Returns
        -------
        subprocess.CompletedProcess[str]
            Exit status and both outputs.

        Raises
        ------
        SandboxError
            The program failed and `check` was asked for.
        """
        done = self.engine.attempt(
            "exec", "--interactive", "--user", user, self.container, *argv, stdin=stdin, timeout=timeout
        )
        if check and done.returncode != 0:
            said = tail(done.stderr or done.stdout)
            raise SandboxError(f"{argv[0]} failed with exit status {done.returncode}:\n{said}", host=self.name)
        return done

    def state(self) -> str:
        """Give the engine's word for the container's state: running, paused, exited, dead or absent."""
        found = self.engine.inspect([self.container])
        return str(found[0]["State"]["Status"]) if found else "absent"

    def kill(self) -> None:
        """End every process of the node at once, as a power cut does."""
        self.engine.run("kill", self.container)

    def start(self) -> None:
        """Switch the node on; it answers some seconds later."""
        self.engine.run("start", self.container)

    def pause(self) -> None:
        """Freeze every process of the node: connections stay open and nothing answers."""
        self.engine.run("pause", self.container)

    def unpause(self) -> None:
        """Let the node go on."""
        self.engine.run("unpause", self.container)

    def disconnect(self) -> None:
        """Drop every packet to and from the node, as a pulled cable does."""
        self._script(CUT)

    def connect(self) -> None:
        """Let packets through again."""
        self._script(JOIN)

    def part(self) -> None:
        """Drop every packet to and from the machine that the sandbox runs on; the nodes go on hearing each other."""
        driver = self.exec(["ip", "-4", "route", "show", "default"]).stdout.split()[2]
        self._script(PART, driver)

    def meet(self) -> None:
        """Let this machine and the node hear each other again."""
        self._script(MEET)

    def fill_disk(self, path: str = FULL) -> None:
        """Fill the file system at `path` to its last block; only a small one, such as `FULL`, is accepted."""
        self._script(FILL, path)

    def free_disk(self, path: str = FULL) -> None:
        """Give back what `fill_disk` took."""
        self._script(FREE, path)

    def stop_engine(self) -> None:
        """End the node's Docker Engine at once, and its containers with it."""
        self._script(STOP_ENGINE)

    def start_engine(self) -> None:
        """Start the node's Docker Engine again; it answers some seconds later."""
        self._script(START_ENGINE)

    def set_login_shell(self, shell: str, banner: str = "") -> None:
        """Give the user ``bench`` another login shell.

        Parameters
        ----------
        shell : str
            One of `SHELLS`.
        banner : str
            A line of letters, digits, blanks and ``.,:!-`` that the shell prints at its start. Not with dash, which
            reads no file when it is not interactive.

        Raises
        ------
        UsageError
            The shell is unknown, or the banner is not such a line.
        """
        if shell not in SHELLS:
            raise UsageError(f"no shell {shell!r} on the nodes", remedy=f"use one of {', '.join(SHELLS)}")
        if not all(letter.isalnum() or letter in " .,:!-" for letter in banner):
            raise UsageError("a banner is one line of letters, digits, blanks and .,:!-")
        program, file = SHELLS[shell]
        text = f"# sandbox-banner\necho '{banner}'\n" if banner else "# sandbox-banner\n"
        self._script(SHELL, program, f"/home/bench/{file}", stdin=text)

    def reset_login_shell(self) -> None:
        """Give ``bench`` bash and its own start files back."""
        self._script(UNSHELL)

    def ailments(self) -> list[str]:
        """Tell what is wrong with the node: its container's state, or the marks of harms not yet undone.

        Returns
        -------
        list of str
            Such as ``["exited"]`` or ``["cut", "full"]``; empty for a node that is well.
        """
        state = self.state()
        if state != "running":
            return [state]
        return self.exec(["sh", "-c", f"mkdir -p {MARKS} && ls {MARKS}"]).stdout.split()

    def heal(self) -> list[str]:
        """Undo every harm.

        Returns
        -------
        list of str
            The ailments that were mended. A node that was off has been started, but may not answer yet.
        """
        found = self.ailments()
        if found == ["paused"]:
            self.unpause()
        elif found and found[0] in {"exited", "created", "dead"}:
            self.start()
        elif found in (["absent"], ["removing"]):
            raise SandboxError("the container is gone", host=self.name, remedy="`timeeval-provision sandbox up`")
        mends = {
            "cut": self.connect,
            "full": self.free_disk,
            "shell": self.reset_login_shell,
            "engine": self.start_engine,
            "apart": self.meet,
        }
        marks = self.ailments()
        for mark in marks:
            mends[mark]()
        return found + [mark for mark in marks if mark not in found]

    def logs(self) -> str:
        """Give the last lines of the node's own log and of its engine's."""
        own = self.engine.attempt("logs", "--tail", "12", self.container)
        text = f"log of {self.container}:\n{tail(own.stdout + own.stderr)}"
        if self.state() == "running":
            nested = self.exec(["tail", "-n", "12", "/var/log/dockerd.log"], check=False)
            text += f"\nlog of its Docker Engine:\n{tail(nested.stdout)}"
        return text

    def _script(self, script: str, *args: str, stdin: str | None = None) -> None:
        """Run one of the scripts above, with the folder of the marks as its first argument."""
        self.exec(["sh", "-c", script, "sh", MARKS, *args], stdin=stdin)
