"""`create-envs` against `python -m venv` and `pip install`: `python -m benchmarks.environments [--json]`.

On the practice cluster (`timeeval-provision sandbox up`) or the one of --cluster: pandas, scikit-learn and distributed,
30 wheels. Ours begins with nothing on the node and ends when the environment is proven, the way of the wheels included;
pip finds all wheels on the node already. The driver has fetched and locked before. About five minutes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from benchmarks._report import Row, show
from provisioning.inventory import Cluster, Environment, Node, load
from provisioning.launch import open_session
from provisioning.manifest import Manifest
from provisioning.plan import Job, run
from provisioning.resources.environment import EnvironmentResource
from provisioning.resources.environment.resource import EnvironmentPlan, wheels_on_node
from provisioning.scan import cache_folder
from provisioning.transfer.fanout import Fanout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioning.resources.base import Facts, Needs

WORK = "pandas, scikit-learn, distributed"
TIMES = 2
PEER = "benchmarks._environments_node"
SANDBOX = Path(".sandbox/cluster.toml")


class WithoutByteCode(EnvironmentResource):
    """What `create-envs` does, the byte code left out."""

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> EnvironmentPlan:
        """Drop the archives of byte code from what is wanted."""
        plan = super().desired(cluster, facts, needs)
        return EnvironmentPlan(
            {
                name: replace(
                    house,
                    bytecode=(),
                    manifest=Manifest.of(
                        entry for entry in house.manifest.entries if entry.path not in set(house.bytecode)
                    ),
                )
                for name, house in plan.houses.items()
            }
        )


class Bench:
    """Both sides on the same nodes.

    Parameters
    ----------
    cluster : Cluster
        Its environment and its state folder are the benchmark's own.
    """

    def __init__(self, cluster: Cluster, root: PurePosixPath) -> None:
        self.cluster = cluster
        self.root = root

    def rows(self) -> Iterator[Row]:
        """Yield all measurements."""
        first, everyone = self.cluster.nodes[:1], self.cluster.nodes
        self.ours(first)  # locks, fetches and compiles
        for work, compile_, goal in (("installed", False, 4), ("ready to run", True, 2)):
            # in turn, and the best of each: what else the machine does only ever adds
            ours, peer = [], []
            for _ in range(TIMES):
                ours.append(self.fresh(first, EnvironmentResource() if compile_ else WithoutByteCode()))
                peer.append(self.peer(first[0], compile_=compile_))
            yield Row(f"{work}: {WORK}", min(ours), min(peer), "s", goal)
        idle = min(self.ours(first) for _ in range(5))
        yield Row("nothing to do on one node", idle, None, "s", 0.5, absolute=True)
        idle = min(self.ours(everyone) for _ in range(3)) / len(everyone)
        yield Row(f"nothing to do on {len(everyone)} nodes, per node", idle, None, "s", 0.5, absolute=True)
        one, many = self.cold(first), self.cold(everyone)
        yield Row("one node, nothing compiled before", one, None, "s")
        yield Row(f"{len(everyone)} nodes, nothing compiled before", many, None, "s")
        yield Row(f"time of {len(everyone)} nodes in that of one", many / one, None, "x", 1.3, absolute=True)

    def ours(self, nodes: Sequence[Node], resource: EnvironmentResource | None = None) -> float:
        """Return the seconds of `create-envs` on nodes as they are."""
        job = Job(self.cluster, tuple(nodes), [resource or EnvironmentResource()], Fanout())
        begin = time.monotonic()
        report = run(job)
        seconds = time.monotonic() - begin
        if report.exit_code() != 0:
            raise SystemExit(f"create-envs failed: {report}")
        return seconds

    def fresh(self, nodes: Sequence[Node], resource: EnvironmentResource | None = None) -> float:
        """Return the seconds of `create-envs` on nodes that have nothing."""
        self.clear(nodes)
        return self.ours(nodes, resource)

    def cold(self, nodes: Sequence[Node]) -> float:
        """Return the seconds of `create-envs` where also the driver has no byte code yet."""
        shutil.rmtree(cache_folder() / "bytecode")
        return self.fresh(nodes)

    def peer(self, node: Node, *, compile_: bool) -> float:
        """Return the seconds of venv and pip, which have all wheels and the lock on the node."""
        environment = self.cluster.environment
        assert environment is not None
        args = {
            "folder": str(self.root / "pip"),
            "store": str(wheels_on_node(self.cluster)),
            "lock": str(environment.prefix / ".timeeval" / "lock.txt"),
            "python": environment.python,
            "compile": compile_,
        }
        with open_session(self.cluster, node) as session:
            return float(session.call(PEER, args)["seconds"])

    def clear(self, nodes: Sequence[Node]) -> None:
        """Remove from nodes what the benchmark put there."""
        for node in nodes:
            with open_session(self.cluster, node) as session:
                session.call(PEER, {"remove": [str(self.root)]})


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

        try:
            show(watched(), as_json=arguments.json)
        finally:
            bench.clear(cluster.nodes)
    if missed:
        sys.stderr.write("Goals missed: " + "; ".join(missed) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
