"""`create-envs` against `python -m venv` and `pip install`: `python -m benchmarks.environments [--json]`.

On the practice cluster (`timeeval-provision sandbox up`) or the one of --cluster: pandas, scikit-learn and distributed,
30 wheels. Ours begins with nothing on the node and ends when the environment is proven, the way of the packs included;
pip finds all wheels on the node already. The driver has fetched and locked before. On idle cores about three minutes.

Nodes of the practice cluster share the disk of this machine, on which whatever was deleted lately, by anybody, makes
new files slow (ext4 looks past inodes freed within five minutes: up to 0.7 ms for an empty file). Both sides therefore
work in memory there, in a file system of their own.

Where nodes share cores, seconds tell what else ran there; rows of CPU tell the work of all programs on a node.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from benchmarks._report import Row, show
from provisioning.inventory import Cluster, Environment, Node, load
from provisioning.kept import cache_folder
from provisioning.launch import open_session
from provisioning.manifest import Entry, Manifest
from provisioning.plan import Job, run
from provisioning.resources.base import Parcel
from provisioning.resources.environment import EnvironmentResource
from provisioning.resources.environment.resource import EnvironmentPlan
from provisioning.resources.environment.wheels import wheel_store
from provisioning.sandbox.cluster import STATE_FILE, Sandbox
from provisioning.transfer.fanout import Fanout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioning.resources.base import Facts, Needs

WORK = "pandas, scikit-learn, distributed"
TIMES = 2
PEER = "benchmarks._environments_node"
SANDBOX = Path(".sandbox/cluster.toml")


class WithoutByteCode(EnvironmentResource):
    """What `create-envs` does, the byte code left out."""

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> EnvironmentPlan:
        """Drop the packs of byte code from what is wanted."""
        plan = super().desired(cluster, facts, needs)
        return EnvironmentPlan(
            {
                name: replace(house, packs=tuple(replace(packs, code=None) for packs in house.packs))
                for name, house in plan.houses.items()
            }
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one `create-envs` or its peer took.

    Attributes
    ----------
    seconds : float
        From its begin to its end.
    driver : float
        Seconds of CPU here.
    nodes : mapping
        Seconds of CPU of all that ran on each node meanwhile.
    """

    seconds: float
    driver: float
    nodes: Mapping[str, float]

    @property
    def path(self) -> float:
        """Seconds of CPU on the longest way: here and on the node that had most to do."""
        return self.driver + max(self.nodes.values())


class Bench:
    """Both sides on the same nodes, each time in a new place.

    Parameters
    ----------
    cluster : Cluster
        Its environment and its state folder are the benchmark's own.
    root : PurePosixPath
        Folder on the nodes for all places.
    """

    def __init__(self, cluster: Cluster, root: PurePosixPath) -> None:
        self.cluster = cluster
        self.root = root
        self.places = 0

    def rows(self) -> Iterator[Row]:
        """Yield all measurements."""
        first, everyone = self.cluster.nodes[:1], self.cluster.nodes
        self.fresh(first)  # locks, fetches and packs
        self.send_wheels(first)
        resources = {False: WithoutByteCode, True: EnvironmentResource}
        for work, compile_, goal in (("installed", False, 4), ("ready to run", True, 2)):
            # in turn, and the best of each: what else the machine does only ever adds
            ours, peer = [], []
            for _ in range(TIMES):
                ours.append(self.fresh(first, resources[compile_]()))
                peer.append(self.peer(first[0], compile_=compile_))
            best, other = (min(side, key=lambda cost: cost.seconds) for side in (ours, peer))
            yield Row(f"{work}: {WORK}", best.seconds, other.seconds, "s", goal)
            best, other = (min(side, key=_path) for side in (ours, peer))
            yield Row("  its CPU, driver and node", best.path, other.path, "s CPU")
            there = min((self.fresh(first, resources[compile_](), stored=True) for _ in range(TIMES)), key=_path)
            yield Row("  its CPU where ours has the packs there too", there.path, other.path, "s CPU")
        self.fresh(everyone)
        for nodes in (first, everyone):
            idle = min((self.ours(nodes) for _ in range(5)), key=lambda cost: cost.seconds)
            yield Row(
                f"nothing to do on {_count(nodes)}, per node", idle.seconds / len(nodes), None, "s", 0.5, absolute=True
            )
            yield Row("  its CPU, driver and one node", idle.path, None, "s CPU")
        deep = min((self.ours(first, deep=True) for _ in range(TIMES)), key=lambda cost: cost.seconds)
        yield Row("all installed files (7,000) read against RECORD", deep.seconds, None, "s", 3, absolute=True)
        yield from self.many(self.cold(first), self.cold(everyone))

    def many(self, one: Cost, all_: Cost) -> Iterator[Row]:
        """Yield what all nodes take in the measure of one.

        Where nodes are containers of this machine they wait for each other's work, which no goal can be about; there
        the work itself is compared, as if every node had cores of its own.
        """
        count, shared = len(self.cluster.nodes), self.shared()
        yield Row("one node, nothing packed before", one.seconds, None, "s")
        yield Row(f"{count} nodes, nothing packed before", all_.seconds, None, "s")
        where = f", sharing {len(os.sched_getaffinity(0))} cores" if shared else ""
        ratio = all_.seconds / one.seconds
        yield Row(
            f"time of {count} nodes{where}, in that of one", ratio, None, "x", None if shared else 1.3, absolute=True
        )
        title = f"CPU of driver and busiest of {count} nodes, to that of one"
        yield Row(title, all_.path / one.path, None, "x", 1.3 if shared else None, absolute=True)

    def shared(self) -> bool:
        """Return whether nodes run on the cores of this machine."""
        own = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return any(answer["boot"] == own for answer in self.ask(self.cluster.nodes, {}).values())

    def ask(self, nodes: Sequence[Node], args: Mapping[str, object]) -> dict[str, dict[str, Any]]:
        """Ask nodes, one after another, what the other side's program answers."""
        answers = {}
        for node in nodes:
            with open_session(self.cluster, node) as session:
                answers[node.name] = session.call(PEER, args)
        return answers

    def ours(self, nodes: Sequence[Node], resource: EnvironmentResource | None = None, *, deep: bool = False) -> Cost:
        """Return the cost of `create-envs` on nodes as they are; `deep` reads all files that are installed."""
        job = Job(self.cluster, tuple(nodes), [resource or EnvironmentResource()], Fanout(), deep=deep)
        before = self.ask(nodes, {})
        begin, cpu = time.monotonic(), _cpu()
        report = run(job)
        seconds, cpu = time.monotonic() - begin, _cpu() - cpu
        after = self.ask(nodes, {})
        if report.exit_code() != 0:
            raise SystemExit(f"create-envs failed: {report}")
        return Cost(seconds, cpu, {name: answer["cpu"] - before[name]["cpu"] for name, answer in after.items()})

    def fresh(
        self, nodes: Sequence[Node], resource: EnvironmentResource | None = None, *, stored: bool = False
    ) -> Cost:
        """Return the cost of `create-envs` in a place where nodes have nothing, or the packs alone (`stored`)."""
        self.places += 1
        root = self.root / str(self.places)
        assert self.cluster.environment is not None
        environment = replace(self.cluster.environment, prefix=root / "envs" / "bench")
        self.cluster = replace(
            self.cluster,
            state=self.cluster.state if stored else root / "state",
            environment=environment,
            environments=(environment,),
        )
        return self.ours(nodes, resource)

    def cold(self, nodes: Sequence[Node]) -> Cost:
        """Return the cost of `create-envs` where also the driver has no packs yet."""
        shutil.rmtree(cache_folder() / "packs")
        return self.fresh(nodes)

    def peer(self, node: Node, *, compile_: bool) -> Cost:
        """Return the cost of venv and pip, which have all wheels and the lock on the node."""
        environment = self.cluster.environment
        assert environment is not None
        args = {
            "folder": str(self.root / str(self.places) / "pip"),
            "store": str(self.root / "wheels"),
            "lock": str(environment.prefix / ".timeeval" / "lock.txt"),
            "python": environment.python,
            "compile": compile_,
        }
        answer = self.ask([node], args)[node.name]
        return Cost(answer["seconds"], 0.0, {node.name: answer["used"]})

    def send_wheels(self, nodes: Sequence[Node]) -> None:
        """Bring the wheels of the lock to nodes, for the peer."""
        environment = self.cluster.environment
        assert environment is not None
        with open_session(self.cluster, nodes[0]) as session:
            lock = session.call(PEER, {"read": str(environment.prefix / ".timeeval" / "lock.txt")})["text"]
        digests = re.findall(r"sha256:([0-9a-f]{64})", lock)
        entries = [
            Entry(f"{digest[:16]}/{wheel.name}", wheel.stat().st_size, digest)
            for digest in digests
            for wheel in (wheel_store() / digest[:16]).glob("*.whl")
        ]
        manifest = Manifest.of(entries)
        missing = {node.name: tuple(entry.path for entry in entries) for node in nodes}
        parcel = Parcel("wheels", wheel_store(), manifest, self.root / "wheels", missing)
        errors: list[object] = []
        with ExitStack() as stack:
            sessions = {node.name: stack.enter_context(open_session(self.cluster, node)) for node in nodes}
            Fanout().spread(
                self.cluster, [parcel], sessions, lambda arrival: errors.append(arrival.error), lambda *_: None
            )
        if any(errors):
            raise SystemExit(f"the wheels did not arrive: {errors}")

    def clear(self) -> None:
        """Remove from nodes what the benchmark put there."""
        self.ask(self.cluster.nodes, {"remove": [str(self.root)]})


@contextmanager
def own_file_system(file: Path, root: PurePosixPath) -> Iterator[None]:
    """Mount memory at the benchmark's folder on nodes of a practice cluster; nothing on other nodes."""
    nodes = Sandbox.load(file.parent).nodes if (file.parent / STATE_FILE).exists() else ()
    mount = (
        'install -d -m 755 -o bench -g bench "$1" && mount -t tmpfs -o size=8g,mode=755,uid=bench,gid=bench tmpfs "$1"'
    )
    try:
        for node in nodes:
            node.exec(["sh", "-c", mount, "sh", str(root)])
        yield
    finally:
        for node in nodes:
            node.exec(["umount", "--lazy", str(root)], check=False)


def _path(cost: Cost) -> float:
    return cost.path


def _count(nodes: Sequence[Node]) -> str:
    return f"{len(nodes)} nodes" if len(nodes) > 1 else "one node"


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    """Measure and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--cluster", type=Path, default=SANDBOX, help="cluster file; by default the practice cluster's")
    parser.add_argument("--root", default="/srv/timeeval/benchmark", help="folder on the nodes that may be removed")
    arguments = parser.parse_args()
    root = PurePosixPath(arguments.root)
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        wishes = Path(folder, "requirements.txt")
        wishes.write_text(WORK.replace(", ", "\n"))
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        environment = Environment(root / "envs" / "bench", minor, (wishes,))
        cluster = replace(
            load(arguments.cluster),
            file=Path(folder, "cluster.toml"),
            state=root / "state",
            environment=environment,
            environments=(environment,),
        )
        bench = Bench(cluster, root)

        def watched() -> Iterator[Row]:
            for row in bench.rows():
                if row.met is False:
                    missed.append(row.work)
                yield row

        with own_file_system(arguments.cluster, root):
            try:
                show(watched(), as_json=arguments.json)
            finally:
                bench.clear()
    if missed:
        sys.stderr.write("Goals missed: " + "; ".join(missed) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
