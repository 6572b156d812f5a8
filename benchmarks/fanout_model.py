"""Time to bring a folder to N hosts, by model: `python -m benchmarks.fanout_model [--mb 60] [--packed 26] [--mbit 50]`.

The constants are what `benchmarks.datasets` has shown on two cores; on other machines, measure and give your own. What
the model leaves out: hosts that share a switch's uplink, disks, and the cores that all hosts of a test bed share.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass

HOSTS = (1, 2, 4, 6, 8, 16, 32, 64, 128, 250, 500, 1000)
FRAMING = 1448 / 1514
"""Share of an Ethernet frame that is TCP's payload."""


@dataclass(frozen=True, slots=True)
class Constants:
    """What a run costs beside its bytes, in seconds.

    Attributes
    ----------
    start
        Of a command of ours, until it talks to hosts.
    handshake
        Of one OpenSSH connection, from start to end.
    client
        CPU of the driver per connection that is opened; connections at the same time share its cores.
    agent
        Starting agents, asking what is there, locks, and proof afterwards, on all hosts at the same time.
    link
        Neighbours reach each other, all at the same time.
    hop
        From the first byte of a frame that comes in to the first byte that goes on, beside the frame's own time.
    frame
        Packed bytes of a frame.
    cores
        Of the driver.
    """

    start: float = 0.5
    handshake: float = 0.3
    client: float = 0.03
    agent: float = 1.0
    link: float = 0.5
    hop: float = 0.01
    frame: int = 225_000
    cores: int = 2


@dataclass(frozen=True, slots=True)
class Work:
    """Bytes as they are and packed, and the bytes per second of each link in each direction."""

    size: float
    packed: float
    rate: float


def loop(work: Work, hosts: int, given: Constants) -> float:
    """Return the seconds of one ``rsync -a`` after another."""
    return hosts * (given.handshake + work.size / work.rate)


def star(work: Work, hosts: int, given: Constants) -> float:
    """Return the seconds of an rsync with zstd to each host at the same time."""
    return given.handshake + hosts * given.client / given.cores + hosts * work.packed / work.rate


def tree(work: Work, hosts: int, given: Constants) -> float:
    """Return the seconds of rounds in which every host that has the folder sends it to one that has not."""
    return math.ceil(math.log2(hosts + 1)) * (given.handshake + work.packed / work.rate)


def pipeline(work: Work, hosts: int, given: Constants) -> float:
    """Return the seconds of hosts that pass on what they receive while they receive it."""
    begin = given.start + hosts * given.client / given.cores + given.agent + (given.link if hosts > 1 else 0)
    frame = min(given.frame, work.packed)
    return begin + work.packed / work.rate + (hosts - 1) * (given.hop + frame / work.rate)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=240.0, help="MB of the folder")
    parser.add_argument("--packed", type=float, default=102.8, help="MB of `tar | zstd -1`")
    parser.add_argument("--mbit", type=float, default=50.0, help="rate of each link, each way")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, value in asdict(Constants()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help="see Constants")
    arguments = parser.parse_args()
    given = Constants(**{name: getattr(arguments, name) for name in asdict(Constants())})
    work = Work(arguments.mb * 1e6, arguments.packed * 1e6, arguments.mbit * 1e6 / 8 * FRAMING)
    ways = {"loop of rsync -a": loop, "parallel rsync, zstd": star, "tree, zstd": tree, "relay": pipeline}
    rows = [{"hosts": hosts, **{name: way(work, hosts, given) for name, way in ways.items()}} for hosts in HOSTS]
    if arguments.json:
        json.dump({"constants": asdict(given), "limit": work.packed / work.rate, "rows": rows}, sys.stdout, indent=1)
        return
    sys.stdout.write(f"limit {work.packed / work.rate:.1f} s: the packed bytes over one link\n")
    sys.stdout.write(f"{'hosts':>6}" + "".join(f"{name + ' [s]':>26}" for name in ways) + "\n")
    for row in rows:
        sys.stdout.write(f"{row['hosts']:>6}" + "".join(f"{row[name]:>26.1f}" for name in ways) + "\n")


if __name__ == "__main__":
    main()
