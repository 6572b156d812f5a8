"""Dataset folders to several hosts, side by side with others: `python -m benchmarks.datasets [--scale 0.25] [--json]`.

Hosts are network namespaces behind links of 50 Mbit/s each way (`benchmarks._netbed`); all of them share this
machine's cores. Each side is a whole command, from its start to its end, and counts only if every host has the very
bytes afterwards. It is cold, with connections of its own, unless a row says that they were kept. `limit` is the time
that the bytes of ``tar | zstd -1`` take at the rate of a plain TCP stream, which is measured in the same run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._netbed import DATA, MEMORY, Bed, Host
from benchmarks._peer import python_with
from benchmarks._report import Row, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CLUSTER = """\
[cluster]
name = "bench"
hosts = {names}
driver = "local"
results = "/tmp/results"
user = "root"
key = "key"
ssh_config = "ssh_config"
known_hosts = "known_hosts"
{hosts}
[[datasets]]
source = "{source}"
path = "{data}/{name}"
"""
LOCKED = 32
TURNS = 5
"""Of commands so short that one of them says little on a busy machine."""

TEXT = 30_000_000
"""Bytes after which the text repeats: farther than a compressor of level 1 looks back."""


def text() -> bytes:
    """Return lines as in a time series: a time stamp, full and rounded floats, a label."""
    rng = random.Random(1)
    lines, size = [], 0
    while size < TEXT:
        full, more, share = rng.gauss(0, 1), rng.random(), rng.random()
        lines.append(f"{len(lines)},{full},{more},{share:.3f},{3 * full:.2f},{int(share < 0.01)}\n")
        size += len(lines[-1])
    return "".join(lines).encode()


def make(folder: Path, sizes: Sequence[int], lines: bytes) -> int:
    """Write CSV files as TimeEval reads them, and their index; return the bytes."""
    index = ["collection_name,dataset_name,train_path,test_path\n"]
    begin = 0
    for number, size in enumerate(sizes):
        file = folder / f"part{number % 10}" / f"{number:05}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((lines[begin : begin + size] + lines)[:size])
        begin = (begin + size) % len(lines)
        index.append(f"bench,d{number},,{file.relative_to(folder)}\n")
    (folder / "datasets.csv").write_text("".join(index))
    return sum(sizes)


def packed(folder: Path) -> int:
    """Return the bytes of ``tar | zstd -1``."""
    tar = subprocess.Popen(["tar", "-C", str(folder), "-cf", "-", "."], stdout=subprocess.PIPE)
    out = subprocess.run(["zstd", "-1", "-c"], stdin=tar.stdout, capture_output=True, check=True).stdout
    tar.wait()
    return len(out)


def tree(folder: Path) -> str:
    """Return the digest of a folder's files, our own control files left out."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".timeeval") for part in file.relative_to(folder).parts):
            digest.update(file.relative_to(folder).as_posix().encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@dataclass
class Side:
    """What one side cost: seconds, and bytes that left the driver."""

    seconds: float
    sent: int
    status: int = 0


class Bench:
    """The rows of one run.

    Parameters
    ----------
    bed
    folder
        Scratch.
    scale
        Share of the full sizes.
    peers
        Whether Ansible and pyinfra are asked as well.
    """

    def __init__(self, bed: Bed, folder: Path, scale: float, *, peers: bool) -> None:
        self.bed, self.folder, self.scale, self.peers = bed, folder, scale, peers
        rng = random.Random(5)
        lines = text()
        self.bytes = {
            "large": make(folder / "large", [int(7_500_000 * scale)] * 32, lines),
            "small": make(folder / "small", [rng.randrange(6_000, 34_000) for _ in range(int(3_000 * scale))], lines),
        }
        self.packed = {name: packed(folder / name) for name in self.bytes}
        self.digests = {name: tree(folder / name) for name in self.bytes}
        self.goodput = bed.goodput()
        # as where it is installed: a package has its byte code
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._commands = 0

    # -- sides

    def run(self, *argv: str | Path) -> Side:
        """Run a command on the driver."""
        before, begin = self.bed.sent(), time.monotonic()
        done = subprocess.run(self.bed.driver(*argv), capture_output=True, text=True, check=False, env=self.env)
        side = Side(time.monotonic() - begin, self.bed.sent() - before, done.returncode)
        if done.returncode:
            sys.stderr.write(f"{argv[0]} ended with {done.returncode}: {done.stdout[-600:]} {done.stderr[-600:]}\n")
        return side

    def ours(self, name: str, hosts: Sequence[Host], *, kept: bool = False) -> Side:
        """Run ``sync-datasets``; `kept` lets it find the connections of the command before."""
        self._commands += not kept
        sockets = self.bed.folder / f"run{self._commands}"
        sockets.mkdir(mode=0o700, exist_ok=True)
        self.env["XDG_RUNTIME_DIR"] = str(sockets)
        file = self.bed.folder / "cluster.toml"
        tables = "".join(f'[host."{host.name}"]\naddress = "{host.address}"\n' for host in hosts)
        names = "[" + ", ".join(f'"{host.name}"' for host in hosts) + "]"
        file.write_text(CLUSTER.format(names=names, hosts=tables, source=self.folder / name, data=DATA, name=name))
        command = Path(sys.executable).with_name("timeeval-provision")
        return self.run(command, "sync-datasets", "--cluster", file)

    def _rsync(self, name: str, host: Host, *options: str, kept: bool = False) -> list[str]:
        shell = f"ssh -F {self.bed.ssh_config}"
        if kept:
            shell += f" -o ControlMaster=auto -o ControlPersist=60 -o ControlPath={self.bed.folder}/rsync-%h"
        return ["rsync", "-a", *options, "-e", shell, f"{self.folder / name}/", f"{host.address}:{DATA}/{name}/"]

    def loop(self, name: str, hosts: Sequence[Host]) -> Side:
        """Run one ``rsync -a`` after another."""
        sides = [self.run(*self._rsync(name, host)) for host in hosts]
        return Side(sum(side.seconds for side in sides), sum(side.sent for side in sides))

    def parallel(self, name: str, hosts: Sequence[Host], *, kept: bool = False) -> Side:
        """Run an rsync with zstd to each host at the same time."""
        before, begin = self.bed.sent(), time.monotonic()
        options = ("--compress", "--zc=zstd", "--zl=1")
        running = [subprocess.Popen(self.bed.driver(*self._rsync(name, host, *options, kept=kept))) for host in hosts]
        for each in running:
            each.wait()
        return Side(time.monotonic() - begin, self.bed.sent() - before)

    def right(self, name: str, hosts: Sequence[Host]) -> bool:
        """Say whether all hosts have the very bytes."""
        want = tree(self.folder / name)
        return all(tree(host.data / name) == want for host in hosts)

    # -- rows

    def first(self, name: str, hosts: Sequence[Host]) -> tuple[Side, bool]:
        """Bring a folder to empty hosts."""
        self.bed.empty()
        side = self.ours(name, hosts)
        return side, self.right(name, hosts)

    def rows(self, only: str) -> Iterator[Row]:
        """Yield all measurements whose name contains a text."""
        six = self.bed.hosts[:6]
        parts: dict[str, Callable[[Sequence[Host]], Iterator[Row]]] = {
            "large": self._large,
            "small": self._small,
            "nothing": self._nothing,
            "peers": self._peers,
            "lost": self._lost,
            "slow": self._slow,
        }
        for name, part in parts.items():
            if only in name:
                yield from part(six)

    def _limit(self, name: str) -> float:
        return self.packed[name] / self.goodput

    def _large(self, six: Sequence[Host]) -> Iterator[Row]:
        side, same = self.first("large", six)
        work = f"{self.bytes['large'] / 1e6:.0f} MB in 32 files to 6, first time"
        yield Row(f"{work}: seconds / limit", side.seconds / self._limit("large"), None, "x", 1.25, True, same)
        yield Row(f"{work}: sent / packed", side.sent / self.packed["large"], None, "x", 1.1, True, same)
        two, ok = self.first("large", self.bed.hosts[:2])
        eight, fine = self.first("large", self.bed.hosts[:8])
        yield Row(f"{work}: 8 hosts / 2", eight.seconds / two.seconds, None, "x", 1.15, True, ok and fine)

    def _small(self, six: Sequence[Host]) -> Iterator[Row]:
        side, same = self.first("small", six)
        count = len(list((self.folder / "small").rglob("*.csv")))
        work = f"{self.bytes['small'] / 1e6:.0f} MB in {count} files to 6, first time"
        yield Row(f"{work}: seconds / limit", side.seconds / self._limit("small"), None, "x", 1.8, True, same)
        yield Row(f"{work}: sent / packed", side.sent / self.packed["small"], None, "x", 1.1, True, same)
        self.bed.empty()
        yield Row(f"{work}: loop of rsync -a", side.seconds, self.loop("small", six).seconds, "s", 7, same=same)
        self.bed.empty()
        yield Row(
            f"{work}: parallel rsync, zstd", side.seconds, self.parallel("small", six).seconds, "s", 3.3, same=same
        )

    def _nothing(self, six: Sequence[Host]) -> Iterator[Row]:
        self.first("small", six)
        for kept, most in ((False, 15), (True, 6)):
            if kept:
                self.ours("small", six, kept=True)
                self.parallel("small", six, kept=True)
            ours, peer = [], []
            for _ in range(TURNS):
                ours.append(self.ours("small", six, kept=kept))
                peer.append(self.parallel("small", six, kept=kept))
            seconds = [statistics.median(side.seconds for side in sides) for sides in (ours, peer)]
            work = f"nothing changed, small files, 6 hosts, {'kept connections' if kept else 'cold'}"
            yield Row(f"{work}: parallel rsync", *seconds, "s", 1.0)
            sent = [statistics.median(side.sent for side in sides) / 6e3 for sides in (ours, peer)]
            yield Row(f"{work}: sent per host", *sent, "kB", most, True)
        ours, peer = [], []
        for turn in range(3):
            file = self.folder / "small" / "part3" / "00003.csv"
            data = bytearray(file.read_bytes())
            data[100 + turn] ^= 1
            file.write_bytes(data)
            ours.append(self.ours("small", six))
            same = self.right("small", six)
            data[100 + turn] ^= 3
            file.write_bytes(data)
            peer.append(self.parallel("small", six))
        seconds = [statistics.median(side.seconds for side in sides) for sides in (ours, peer)]
        yield Row("some bytes of one file changed, 6 hosts: parallel rsync", *seconds, "s", 1.0, same=same)

    def _peers(self, six: Sequence[Host]) -> Iterator[Row]:
        if not self.peers:
            return
        three = six[:3]
        side, same = self.first("small", three)
        inventory = self.folder / "inventory.ini"
        inventory.write_text("".join(f"{host.address}\n" for host in three))
        self.bed.empty()
        bin_ = python_with(("ansible",)).parent
        shell = self.folder / "ssh.sh"
        shell.write_text(f'#!/bin/sh\nexec ssh -F {self.bed.ssh_config} "$@"\n')
        shell.chmod(0o755)
        options = f"src={self.folder / 'small'}/ dest={DATA}/small/ rsync_opts=--rsh={shell}"
        argv = ["env", f"PATH={bin_}:{os.environ['PATH']}", bin_ / "ansible", "all", "-i", inventory, "-m"]
        argv += ["ansible.posix.synchronize", "-a", options, "--ssh-common-args", f"-F {self.bed.ssh_config}"]
        peer = self._peer(*argv)
        ok = same and self.right("small", three)
        yield Row("small files to 3, first time: Ansible synchronize", side.seconds, peer.seconds, "s", 2.5, same=ok)
        self.bed.empty()
        deploy = self.folder / "deploy.py"
        deploy.write_text(
            "from pyinfra.operations import files\n"
            f"files.rsync(src={str(self.folder / 'small') + '/'!r}, dest={DATA + '/small/'!r}, flags=['-a'])\n"
        )
        (self.folder / "inventory.py").write_text(
            f"hosts = {[(host.address, {'ssh_config_file': str(self.bed.ssh_config)}) for host in three]!r}\n"
        )
        bin_ = python_with(("pyinfra",)).parent
        peer = self._peer(bin_ / "pyinfra", "-y", self.folder / "inventory.py", deploy)
        ok = same and self.right("small", three)
        yield Row("small files to 3, first time: pyinfra files.rsync", side.seconds, peer.seconds, "s", 4, same=ok)

    def _peer(self, *argv: str | Path) -> Side:
        side = self.run(*argv)
        if side.status:
            raise RuntimeError(f"{argv[-1]} ended with {side.status}, which is no measurement")
        return side

    def _harmed(self, name: str, hosts: Sequence[Host], harm: Callable[[], None], after: float) -> Side:
        self.bed.empty()
        timer = threading.Timer(after, harm)
        timer.start()
        side = self.ours(name, hosts)
        timer.join()
        return side

    def _lost(self, six: Sequence[Host]) -> Iterator[Row]:
        well, _ = self.first("small", six)
        lost, others = six[2], [host for host in six if host is not six[2]]
        side = self._harmed("small", six, lambda: self.bed.cut(lost), well.seconds / 2)
        same = self.right("small", others) and side.status == 8
        most = 2 * well.seconds + 15
        yield Row("small files to 6, one cut off midway: seconds", side.seconds, None, "s", most, True, same)
        self.bed.join(lost)
        time.sleep(1)
        again = self.ours("small", six)
        while again.status == LOCKED:  # the node has yet to notice that nobody holds its locks any more
            time.sleep(5)
            again = self.ours("small", six)
        same = self.right("small", six)
        yield Row("  the next run: sent / packed", again.sent / self.packed["small"], None, "x", 1.1, True, same)

    def _slow(self, six: Sequence[Host]) -> Iterator[Row]:
        well, _ = self.first("large", six)
        slow = six[2]
        self.bed.slow_down(slow, self.bed.mbit // 5)
        try:
            side, same = self.first("large", six)
        finally:
            self.bed.slow_down(slow, self.bed.mbit)
        alone = self._limit("large") * 5
        yield Row("large files to 6, one at a fifth: all / that one", side.seconds / alone, None, "x", 1.5, True, same)
        yield Row("  seconds beside those without it", side.seconds, well.seconds, "s", same=same)


def main() -> None:
    """Measure and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default="", help="only the part whose name contains this: large, small, nothing, ...")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes, for a short run")
    parser.add_argument("--mbit", type=int, default=50, help="rate of each link, each way")
    parser.add_argument(
        "--no-peers", action="store_true", help="without Ansible and pyinfra, which are installed first"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the bed must be taken down
    missed = []
    folder = Path(tempfile.mkdtemp(prefix="timeeval-bench-data-", dir=MEMORY))
    try:
        with Bed(8, arguments.mbit) as bed:
            bench = Bench(bed, folder, arguments.scale, peers=not arguments.no_peers)
            sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in bench.packed.items())
            sys.stderr.write(f"goodput of one TCP stream {bench.goodput / 1e6:.2f} MB/s; tar | zstd -1: {sizes}\n")

            def watched() -> Iterator[Row]:
                for row in bench.rows(arguments.only):
                    if row.met is False:
                        missed.append(row.work)
                    yield row

            show(watched(), as_json=arguments.json)
    finally:
        shutil.rmtree(folder)
    if missed:
        sys.stderr.write("Goals missed: " + "; ".join(missed) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
