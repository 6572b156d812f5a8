"""How one node lets another in for one transfer: a key that opens nothing but this, and is gone when it was used.

The driver makes a key pair for each pair of neighbours. The public half stands in the receiver's ``authorized_keys``
until the other has come (and no longer than a day, should everything die), restricted to one command: to hand its
line over to the program that waits. The private half is only ever in the sender's memory.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, Optional, Tuple

from provisioning.node.stream import NoDoorError

MARK = "timeeval-relay"
HELLO = b"\0timeeval-relay/1 ready\n"
VALID_SECONDS = 26 * 3600
"""sshd and Python may disagree about the time zone; a day more does not matter for a key whose other half is gone."""

CONNECT_SECONDS = 10
# Handed out by sshd as a whole: it finds its folder by itself, so that no value stands on its command line.
JOIN = """\
import array, os, socket
door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
door.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "door"))
door.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1]))])
door.recv(1)
"""


class Door:
    """Where one other node may come in.

    Parameters
    ----------
    public : str
        The key that it will show: ``"ssh-ed25519 AAAA…"``.
    """

    def __init__(self, public: str) -> None:
        self._folder = tempfile.mkdtemp(prefix=MARK + "-")
        command = "%s -I %s/join" % (sys.executable, self._folder)
        if re.fullmatch(r"[A-Za-z0-9 /._-]+", command) is None:
            shutil.rmtree(self._folder)
            raise NoDoorError("login shells would read %r differently" % command)
        Path(self._folder, "join").write_text(JOIN, encoding="ascii")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self._folder + "/door")
        self._socket.listen(1)
        expiry = time.strftime("%Y%m%d%H%M", time.localtime(time.time() + VALID_SECONDS))
        self._line = 'restrict,expiry-time="%s",command="%s" %s %s' % (expiry, command, public, _mark())
        try:
            _authorize(self._line)
        except OSError as error:
            self.close()
            raise NoDoorError("authorized_keys cannot be written: %s" % error) from error

    def wait(self, seconds: float) -> Tuple[socket.socket, int, int]:
        """Wait for who comes in; return who to close in the end, where it is read from, and where it is written to."""
        self._socket.settimeout(seconds)
        try:
            visitor, _ = self._socket.accept()
        except OSError as error:  # closed meanwhile, or nobody came
            raise NoDoorError("nobody came in: %s" % error) from error
        finally:
            self.close()
        _, ancillary, _, _ = visitor.recvmsg(1, socket.CMSG_SPACE(2 * array.array("i").itemsize))
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        source, sink = descriptors
        os.write(sink, HELLO)
        return visitor, source, sink

    def close(self) -> None:
        """Take the key away, and leave nothing else behind."""
        with contextlib.suppress(OSError):
            _revoke(self._line)
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _locked() -> Iterator[Tuple[Path, int]]:
    """Keep other programs of ours out of ``authorized_keys``, also while it is replaced."""
    file = Path.home() / ".ssh" / "authorized_keys"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        real = Path(os.path.realpath(file))
        descriptor = os.open(real, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), real.stat()):
                yield real, descriptor
                return
        finally:
            os.close(descriptor)


def _authorize(line: str) -> None:
    with _locked() as (file, descriptor):
        text = file.read_bytes()
        begin = b"" if not text or text.endswith(b"\n") else b"\n"
        os.write(descriptor, begin + line.encode("ascii") + b"\n")


def _revoke(line: str) -> None:
    """Remove a line, and those of earlier programs that did not live to do it."""
    with _locked() as (file, descriptor):
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [each for each in lines if each.rstrip(b"\n") != line.encode("ascii") and not _stale(each)]
        if len(kept) == len(lines):
            return
        scratch = Path("%s.%d.part" % (file, os.getpid()))
        status = os.fstat(descriptor)
        try:
            scratch.write_bytes(b"".join(kept))
            scratch.chmod(status.st_mode & 0o777)
            scratch.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise


def _mark() -> str:
    # with the machine's name in it: a home may be one for many, and folders are not
    return "%s@%s" % (MARK, re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()))


def _stale(line: bytes) -> bool:
    ours = re.escape(_mark().encode("ascii"))
    found = re.search(rb'command="\S+ -I (\S+)/join" \S+ \S+ ' + ours + rb"\s*$", line)
    return found is not None and not Path(os.fsdecode(found[1])).is_dir()


class Way:
    """The line to another node that waits for us.

    Parameters
    ----------
    host, port, user
        Where it is.
    keys : sequence of str
        Lines of known_hosts for the name ``relay``: nobody else is talked to.
    private : str
        The key that opens its door.
    """

    def __init__(self, host: str, port: int, user: str, keys: List[str], private: str) -> None:
        program = shutil.which("ssh")
        if program is None or not hasattr(os, "memfd_create"):
            raise NoDoorError("there is no ssh client" if program is None else "the kernel keeps no files in memory")
        self._files = [_in_memory(private), _in_memory("\n".join(keys) + "\n")]
        key, known = ("/proc/%d/fd/%d" % (os.getpid(), file) for file in self._files)
        options = {
            "BatchMode": "yes",
            "ClearAllForwardings": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ControlPath": "none",
            "ForwardAgent": "no",
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": "relay",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": key,
            "LogLevel": "ERROR",
            "PreferredAuthentications": "publickey",
            "ServerAliveCountMax": "3",
            "ServerAliveInterval": "4",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": known,
        }
        argv = [program, "-F", "/dev/null", "-T", "-p", str(port), "-l", user]
        argv += [part for name, value in options.items() for part in ("-o", "%s=%s" % (name, value))]
        self._ssh = subprocess.Popen(
            [*argv, "--", host, "/bin/false"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._in, self._err = _open(self._ssh.stdin), _open(self._ssh.stderr)
        self.sink, self.source = self._in.fileno(), _open(self._ssh.stdout).fileno()

    def greet(self) -> None:
        """Wait until the other side has handed its line over; NoDoorError when it does not."""
        timer = threading.Timer(3 * CONNECT_SECONDS, self._ssh.kill)
        timer.start()
        said = b""
        try:
            while HELLO not in said:
                piece = os.read(self.source, 1 << 12)
                if not piece:
                    raise NoDoorError(self._complaint() or "the other node closed the line")
                said = (said + piece)[-(1 << 16) :]
        finally:
            timer.cancel()
            for file in self._files:
                os.close(file)
            self._files = []

    def _complaint(self) -> str:
        self._ssh.wait()
        lines = self._err.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end(self) -> None:
        """Say that nothing more comes, and let what was said arrive."""
        with contextlib.suppress(OSError):
            self._in.close()

    def cut(self) -> None:
        """End the line at once; who is writing to it is told so."""
        self._ssh.kill()
        self._ssh.wait()


def _open(pipe: Optional[IO[bytes]]) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process has no pipe")
    return pipe


def _in_memory(text: str) -> int:
    """Return a file that no path but our own process's leads to, and that only this user can read."""
    descriptor = os.memfd_create(MARK)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode("ascii"))
    return descriptor


def opened(target: Dict[str, Any]) -> Way:
    """Reach the node that ``{"host", "port", "user", "keys", "private"}`` names."""
    way = Way(target["host"], int(target["port"]), target["user"], target["keys"], target["private"])
    try:
        way.greet()
    except BaseException:
        way.cut()
        raise
    return way
