"""Pushing images against `docker save | gzip | ssh docker load`: `python -m benchmarks.images [--json] [--mbit 45]`.

One node of a practice cluster (started when there is none, and it loses all of its images) gets an image about the
size of a real algorithm's, and then the updates that happen to it. Bytes are those that the driver's side of the
cluster's network sent; ``--mbit`` bounds its rate. The packages of the requirements layer come from this environment
and, for the bump, from the package index.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._report import Row, show
from provisioning.errors import UsageError
from provisioning.sandbox.cluster import Sandbox
from provisioning.sandbox.lifecycle import up

PARTS = ("updates", "five", "nodes")
BASE = "timeeval-demo/base-python:1"
PACKAGES = ("numpy", "numpy.libs", "pandas", "scipy", "scipy.libs", "sklearn", "scikit_learn.libs", "joblib")
ADDED = ("click", "tqdm")
OLDER = "pandas==2.3.3"
FASTER = 1.1
"""Of the rate that a link is bound to: more cannot have gone through it."""

TURNS = 3
TOOLS = Path(sys.executable).parent
SITE = Path(sysconfig.get_paths()["purelib"])
STATE = "/srv/timeeval/benchmark-images"
CODE = "".join(
    f"value_{number} = {number}  # what an algorithm's file of some size looks like\n" for number in range(4000)
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and bytes that the driver sent."""

    seconds: float
    sent: int


@dataclass(slots=True)
class Bench:
    """A practice cluster and the images pushed to it."""

    sandbox: Sandbox
    scratch: Path
    mbit: float | None
    images: list[str] = field(default_factory=list)
    memory: int = 0
    """Bytes of our side's largest process in the latest push."""

    @property
    def bridge(self) -> str:
        """The network device by which this machine reaches the nodes."""
        name = self.sandbox.name
        shown = subprocess.run(
            ["docker", "network", "inspect", "--format", "{{.Id}}", name], check=True, capture_output=True, text=True
        )
        return f"br-{shown.stdout.strip()[:12]}"

    def cost(self, work: Callable[[], None]) -> Cost:
        """Measure some work; what was faster than the link is no measurement."""
        counter = Path("/sys/class/net", self.bridge, "statistics/tx_bytes")
        sent, began = int(counter.read_text()), time.monotonic()
        work()
        cost = Cost(time.monotonic() - began, int(counter.read_text()) - sent)
        if self.mbit is not None and cost.sent * 8 / cost.seconds > FASTER * self.mbit * 1e6:
            shown = subprocess.run(["tc", "-s", "qdisc", "show", "dev", self.bridge], check=False, capture_output=True)
            raise RuntimeError(
                f"{cost.sent} bytes in {cost.seconds:.1f} s are more than {self.mbit:g} Mbit/s let through: "
                f"{shown.stdout.decode()}"
            )
        return cost

    @contextlib.contextmanager
    def shaped(self) -> Iterator[None]:
        """Bound the rate to the nodes."""
        if self.mbit is None:
            yield
            return
        queue = ["tbf", "rate", f"{self.mbit:g}mbit", "burst", "64kb", "latency", "100ms"]
        subprocess.run(["tc", "qdisc", "replace", "dev", self.bridge, "root", *queue], check=True)
        try:
            yield
        finally:
            subprocess.run(["tc", "qdisc", "del", "dev", self.bridge, "root"], check=True)

    # --- both sides -----------------------------------------------------------------------------------------------

    def ours(self, nodes: str, names: Sequence[str], user: str | None = None) -> Cost:
        """Push images that are built; as another user, one of the group docker, if that is said."""
        cluster = self._cluster_file(names)
        command = [
            str(TOOLS / "timeeval-provision"),
            "push-images",
            "--cluster",
            str(cluster),
            "--limit",
            nodes,
            "--json",
        ]
        if user is not None:
            command[3] = str(self._handed_to(user, cluster))
            account = pwd.getpwnam(user)
            groups = f"--groups={grp.getgrnam('docker').gr_gid}"
            command = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", groups, *command]
        return self.cost(lambda: self._run(command, home=None if user is None else self.scratch / user))

    def _handed_to(self, user: str, cluster: Path) -> Path:
        """Copy what a push reads to where another user may read it, the layers that were packed so far included."""
        folder = self.scratch / user
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in (cluster.name, "id_ed25519", "ssh_config", "known_hosts"):
            shutil.copy(cluster.with_name(name), folder / name)
        config = folder / "ssh_config"
        config.write_text(config.read_text().replace(str(cluster.parent), str(folder)))
        subprocess.run(["chown", "-R", user, str(folder), str(self.scratch / "cache")], check=True)
        self.scratch.chmod(0o755)
        return folder / cluster.name

    def peer(self, node: str, names: Sequence[str]) -> Cost:
        """Save, pack, send and load, one image after the other."""

        def work() -> None:
            for name in names:
                ssh = ["ssh", "-F", str(self.sandbox.folder / "ssh_config"), node, "docker", "load"]
                with (
                    subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as save,
                    subprocess.Popen(["gzip"], stdin=save.stdout, stdout=subprocess.PIPE) as pack,
                ):
                    subprocess.run(ssh, stdin=pack.stdout, check=True, stdout=subprocess.DEVNULL)

        return self.cost(work)

    def _run(self, command: Sequence[str], home: Path | None) -> None:
        (self.scratch / "cache").mkdir(exist_ok=True)
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.scratch / "cache")}
        if home is not None:
            environment |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(list(command), env=environment, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()}")
        self.memory = used.ru_maxrss * 1024  # programs that it ran included

    def _cluster_file(self, names: Sequence[str]) -> Path:
        text = self.sandbox.cluster_file.read_text(encoding="utf-8")
        text = text[: text.index("[[datasets]]")].replace('"/srv/timeeval/state"', f'"{STATE}"')
        path = self.sandbox.folder / "benchmark-images.toml"
        path.write_text(text + "".join(f'[[images]]\nname = "{name}"\n' for name in names), encoding="utf-8")
        return path

    # --- images ---------------------------------------------------------------------------------------------------

    def build(self, name: str, requirements: Path, code: str) -> str:
        """Make an image of requirements and code on the base image."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            context = Path(folder)
            os.link(requirements, context / "site.tar")
            (context / "algorithm.py").write_text(code)
            (context / "Dockerfile").write_text(f"FROM {BASE}\nADD site.tar /opt/site/\nCOPY algorithm.py /app/\n")
            command = ["docker", "build", "--quiet", "--tag", name, folder]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
        self.images.append(name)
        return name

    def pip_layer(self, name: str, packages: Sequence[Path], seconds: int) -> Path:
        """Write what `pip install` would leave: a folder whose files all have the time of the installation."""
        path = self.scratch / f"{name}.tar"
        with tarfile.open(path, "w") as archive:
            for package in packages:
                archive.add(package, package.name, filter=lambda entry: _stamped(entry, seconds))
        return path

    def forget(self) -> None:
        """Take images and layers from nodes and driver."""
        for node in self.sandbox.nodes:
            found = node.exec(["docker", "image", "ls", "--all", "--quiet"]).stdout.split()
            if found:
                node.exec(["docker", "image", "rm", "--force", *found], check=False)
            node.exec(["rm", "-rf", STATE])
        subprocess.run(["rm", "-rf", str(self.scratch / "cache")], check=True)


def _stamped(entry: tarfile.TarInfo, seconds: int) -> tarfile.TarInfo | None:
    if entry.name.endswith((".pyc", "/__pycache__")) or "/tests" in entry.name:
        return None
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = seconds, 0, 0, "", ""
    return entry


def rows(bench: Bench, parts: Sequence[str]) -> Iterator[Row]:
    """Measure the cases of issue "Bytes" that belong to these parts."""
    site = [SITE / package for package in PACKAGES]
    with bench.shaped():
        for part in parts:
            bench.forget()
            yield from {"updates": _updates, "five": _five, "nodes": _nodes}[part](bench, site)


def _updates(bench: Bench, site: Sequence[Path]) -> Iterator[Row]:
    """Push an image, and what happens to it afterwards."""
    first = bench.pip_layer("first", site, 1_700_000_000)
    added = bench.pip_layer("added", [*site, *(SITE / package for package in ADDED)], 1_700_100_000)
    older = bench.scratch / "older"
    uv = str(SITE.parents[2] / "bin" / "uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", str(older), OLDER], check=True)
    bumped = bench.pip_layer("bumped", [*(p for p in site if p.name != "pandas"), older / "pandas"], 1_700_200_000)

    name = bench.build("timeeval-benchmark/one:1", first, CODE)
    yield from _both(bench, "image, first push", name, goals=(1 / 0.85, 1 / 0.7))
    yield Row("image, first push: largest process of the driver", bench.memory / 1e6, None, "MB", 200, absolute=True)
    yield from _line(bench, "one line changed", name, first, (1000, 15 if os.geteuid() == 0 else 3))
    nothing = bench.ours("node1", [name])
    yield Row("everything current: KB per node", nothing.sent / 1e3, None, "KB", 10, absolute=True)
    yield Row("everything current: time", nothing.seconds, None, "s")
    bench.build(name, added, CODE)
    yield from _both(bench, "requirement added", name, goals=(300, None))
    bench.build(name, bumped, CODE)
    yield from _both(bench, "requirement bumped", name, goals=(20, None))
    if os.geteuid() == 0:
        work = "one line changed, user of the group docker"
        yield from _line(bench, work, name, bumped, (1000, 3), user="nobody")


def _five(bench: Bench, site: Sequence[Path]) -> Iterator[Row]:
    """Push five images that share a base and have a layer of requirements each."""
    names = []
    for number in range(5):
        layer = bench.pip_layer(f"five{number}", site, 1_700_300_000 + number)
        names.append(bench.build(f"timeeval-benchmark/five{number}:1", layer, CODE + f"number = {number}\n"))
    yield from _both(bench, "five images, own requirement layers", *names, goals=(5, None))


def _nodes(bench: Bench, site: Sequence[Path]) -> Iterator[Row]:
    """Push one image to one node, and to all of them."""
    layer = bench.pip_layer("nodes", site, 1_700_400_000)
    names = [bench.build("timeeval-benchmark/nodes:1", layer, CODE)]
    one = bench.ours("node1", names)
    bench.forget()
    every = bench.ours(",".join(node.name for node in bench.sandbox.nodes), names)
    work = f"driver bytes, {len(bench.sandbox.nodes)} nodes / one node"
    yield Row(work, every.sent / one.sent, None, "x", 1.1, absolute=True)


def _both(
    bench: Bench, work: str, *names: str, goals: tuple[float | None, float | None], ours: Cost | None = None
) -> Iterator[Row]:
    ours, peer = ours or bench.ours("node1", names), bench.peer("node2", names)
    same = _ids(bench, "node1", names) == _ids(bench, "node2", names)
    yield Row(f"{work}: bytes", ours.sent / 1e6, peer.sent / 1e6, "MB", goals[0], same=same)
    yield Row(f"{work}: time", ours.seconds, peer.seconds, "s", goals[1], same=same)


def _line(
    bench: Bench, work: str, name: str, site: Path, goals: tuple[float, float], *, user: str | None = None
) -> Iterator[Row]:
    """Change the algorithm's file, several times: our side is so short that one push says little."""
    costs = []
    for turn in range(TURNS):
        bench.build(name, site, f"{CODE}changed = {turn}, {user!r}\n")
        costs.append(bench.ours("node1", [name], user))
    median = Cost(*(statistics.median(getattr(cost, part) for cost in costs) for part in ("seconds", "sent")))
    yield from _both(bench, work, name, goals=goals, ours=median)


def _ids(bench: Bench, node: str, names: Sequence[str]) -> str:
    return bench.sandbox.node(node).exec(["docker", "image", "inspect", "--format", "{{.Id}}", *names]).stdout


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--mbit", type=float, help="rate to the nodes in Mbit/s (needs root and tc)")
    parser.add_argument("--sandbox", type=Path, default=Path(".sandbox"), help="folder of the practice cluster")
    parser.add_argument("--part", action="append", choices=PARTS, help="measure only this; may be said several times")
    arguments = parser.parse_args()
    up(arguments.sandbox.resolve(), nodes=None, consent=_consent, say=lambda line: print(line, file=sys.stderr))
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Sandbox.load(arguments.sandbox), Path(scratch), arguments.mbit)
        try:
            show(rows(bench, arguments.part or PARTS), as_json=arguments.json)
        finally:
            bench.forget()
            subprocess.run(["docker", "image", "rm", "--force", *bench.images], capture_output=True, check=False)


def _consent(count: int) -> None:
    if os.geteuid() != 0:
        raise UsageError(f"{count} node(s) are to be started first", remedy="`timeeval-provision sandbox up` asks you")


if __name__ == "__main__":
    main()
