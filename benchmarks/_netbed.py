"""Hosts for transfer benchmarks: network namespaces with an sshd each, behind links of a chosen rate. Needs root.

Each host has its own network namespace, joined to a bridge by a pair of veth devices that are shaped at both ends, and
its own mount namespace, in which home, /tmp and the data folder are its own. All of it lies on a tmpfs, so that no
disk is measured, and is gone when the context ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks._peer import need

if TYPE_CHECKING:
    from types import TracebackType

DATA = "/srv/timeeval-bench"
"""The data folder as the hosts see it."""

MEMORY = "/dev/shm"  # noqa: S108 - a tmpfs is wanted
SUBNET = "10.213.7"
SSHD = """\
Port 22
HostKey {folder}/hostkey
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""
START = """\
set -e
mkdir -p {data} /run/sshd
mount --bind {folder}/data {data}
mount --bind {folder}/home /root
mount --bind {folder}/tmp /tmp
exec /usr/sbin/sshd -D -f {folder}/sshd_config -E {folder}/sshd.log
"""
SINK = """\
import socket, sys, time
server = socket.create_server((sys.argv[1], 5999))
print("ready", flush=True)
connection, _ = server.accept()
got, first = 0, None
while piece := connection.recv(1 << 16):
    got, first = got + len(piece), first or time.monotonic()
print(got / (time.monotonic() - first))
"""
SOURCE = """\
import socket, sys, time
line, end = socket.create_connection((sys.argv[1], 5999)), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    line.sendall(bytes(1 << 16))
"""


def _run(*argv: str | Path) -> str:
    return subprocess.run([str(each) for each in argv], check=True, capture_output=True, text=True).stdout


@dataclass
class Host:
    """One host: its name, address, and its folders as this machine sees them."""

    name: str
    address: str
    folder: Path
    namespace: str

    @property
    def data(self) -> Path:
        """What the host has at `DATA`."""
        return self.folder / "data"


@dataclass
class Bed:
    """A driver and some hosts.

    Parameters
    ----------
    count
        Hosts.
    mbit
        Rate of each link in each direction, in Mbit/s.
    """

    count: int
    mbit: int
    folder: Path = field(init=False)
    hosts: list[Host] = field(init=False, default_factory=list)
    _sshd: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            sys.exit("This benchmark makes network namespaces, which needs root")
        need("ip", "tc", "unshare", "ssh", "rsync", "zstd", "/usr/sbin/sshd")
        self.folder = Path(tempfile.mkdtemp(prefix="timeeval-bench-", dir=MEMORY))
        self.prefix = f"tb{os.getpid() % 100000}"
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _build(self) -> None:
        switch = f"{self.prefix}s"
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key")
        self._plug(f"{self.prefix}d", 1)
        known = []
        for number in range(1, self.count + 1):
            host = Host(f"n{number}", f"{SUBNET}.{10 + number}", self.folder / f"n{number}", f"{self.prefix}n{number}")
            self._plug(host.namespace, 10 + number)
            for name in ("data", "home", "home/.ssh", "tmp"):
                (host.folder / name).mkdir(parents=True)
            (host.folder / "home").chmod(0o700)
            (host.folder / "home" / ".ssh").chmod(0o700)
            (host.folder / "tmp").chmod(0o1777)
            shutil.copy(self.folder / "key.pub", host.folder / "home" / ".ssh" / "authorized_keys")
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host.folder / "hostkey")
            (host.folder / "sshd_config").write_text(SSHD.format(folder=host.folder))
            known.append(f"{host.address} {(host.folder / 'hostkey.pub').read_text().rsplit(' ', 1)[0]}\n")
            script = START.format(folder=host.folder, data=DATA)
            argv = ["ip", "netns", "exec", host.namespace, "unshare", "-m", "sh", "-c", script]
            null = subprocess.DEVNULL
            self._sshd.append(subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True))
            self.hosts.append(host)
        (self.folder / "known_hosts").write_text("".join(known))
        options = {
            "IdentityFile": self.folder / "key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "User": "root",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        config = "Host *\n" + "".join(f"  {name} {value}\n" for name, value in options.items())
        (self.folder / "ssh_config").write_text(config)
        for host in self.hosts:
            self._await(host)

    def _plug(self, namespace: str, number: int) -> None:
        switch, end = f"{self.prefix}s", f"{self.prefix}p{number}"
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", switch, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _run("ip", "-n", switch, "link", "set", end, "master", "bridge", "up")
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        _run("ip", "-n", namespace, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")
        for where, device in ((switch, end), (namespace, "eth0")):
            if shutil.which("ethtool") is not None:
                _run("ip", "netns", "exec", where, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off")
            self._shape(where, device, self.mbit)

    def _shape(self, namespace: str, device: str, mbit: int) -> None:
        shape = ["tbf", "rate", f"{mbit}mbit", "burst", "128kb", "latency", "60ms"]
        _run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *shape)

    def _await(self, host: Host) -> None:
        deadline = time.monotonic() + 20
        while subprocess.run(
            [*self.driver("ssh", "-F", self.ssh_config, host.address, "true")], check=False
        ).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{host.name} does not answer: {(host.folder / 'sshd.log').read_text()[-500:]}")
            time.sleep(0.1)

    @property
    def ssh_config(self) -> Path:
        """Configuration with which OpenSSH reaches the hosts by their addresses."""
        return self.folder / "ssh_config"

    def driver(self, *argv: str | Path) -> list[str]:
        """Return the command line that runs a program on the driver."""
        return ["ip", "netns", "exec", f"{self.prefix}d", *(str(each) for each in argv)]

    def sent(self) -> int:
        """Return the bytes that have left the driver so far."""
        return int(_run(*self.driver("cat", "/sys/class/net/eth0/statistics/tx_bytes")))

    def goodput(self, seconds: float = 4.0) -> float:
        """Return the bytes per second of a plain TCP stream from the driver to the first host."""
        host = self.hosts[0]
        argv = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", SINK, host.address]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as sink:
            assert sink.stdout is not None
            sink.stdout.readline()
            _run(*self.driver(sys.executable, "-c", SOURCE, host.address, str(seconds)))
            return float(sink.stdout.readline())

    def slow_down(self, host: Host, mbit: int) -> None:
        """Give one host another rate."""
        number = 10 + int(host.name.removeprefix("n"))
        self._shape(host.namespace, "eth0", mbit)
        self._shape(f"{self.prefix}s", f"{self.prefix}p{number}", mbit)

    def cut(self, host: Host) -> None:
        """Let nothing through to a host any more."""
        number = 10 + int(host.name.removeprefix("n"))
        _run("ip", "-n", f"{self.prefix}s", "link", "set", f"{self.prefix}p{number}", "down")

    def join(self, host: Host) -> None:
        """Let everything through to a host again."""
        number = 10 + int(host.name.removeprefix("n"))
        _run("ip", "-n", f"{self.prefix}s", "link", "set", f"{self.prefix}p{number}", "up")

    def empty(self) -> None:
        """Remove what the hosts have."""
        for host in self.hosts:
            for path in host.data.iterdir():
                shutil.rmtree(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sshd in self._sshd:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(sshd.pid, signal.SIGTERM)
            sshd.wait()
        found = _run("ip", "netns", "list").split()
        for name in [name for name in found if name.startswith(self.prefix)]:
            pids = _run("ip", "netns", "pids", name).split()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _run("ip", "netns", "del", name)
        shutil.rmtree(self.folder, ignore_errors=True)
