"""The other side of `benchmarks.environments`, on a node: what a person does by hand with Python's own tools."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node.shelf import stored
from provisioning.node.tools import run

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"folder", "store", "lock", "python", "compile": bool} with seconds.

    {"remove": [path]} removes, {"read": path} answers the ``text`` of a file.

    In any case ``boot``, the kernel's own id, and ``cpu``, the seconds that all of this node has used so far.
    """
    for path in args.get("remove", ()):
        shutil.rmtree(path, ignore_errors=True)
    answer: dict[str, Any] = _install(args, channel) if "lock" in args else {}
    if "read" in args:
        answer["text"] = Path(args["read"]).read_text(encoding="utf-8")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {**answer, "boot": boot, "cpu": _cpu()}


def _install(args: dict[str, Any], channel: Channel) -> dict[str, float]:
    folder, store = Path(args["folder"]), Path(args["store"])
    (folder / "wheels").mkdir(parents=True)
    for path, _ in stored(store):
        if path.endswith(".whl"):
            (folder / "wheels" / path.split("/")[-1]).symlink_to(store / path)

    def beat() -> None:
        channel.event({"title": "pip", "done": 0, "total": 1})

    begin, cpu = time.monotonic(), _cpu()
    run(["python" + args["python"], "-m", "venv", str(folder / "env")], beat)
    pip = [str(folder / "env" / "bin" / "pip"), "install", "-q", "--no-index", "--find-links", str(folder / "wheels")]
    run([*pip, *([] if args["compile"] else ["--no-compile"]), "-r", args["lock"]], beat)
    return {"seconds": time.monotonic() - begin, "used": _cpu() - cpu}


def _cpu() -> float:
    """Return the seconds of CPU of all that runs on this node: in its container, or on the whole machine."""
    nanoseconds = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
    if nanoseconds.exists():
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        groups = (line.split(":", 2) for line in lines)
        own = next((path for _, kinds, path in groups if "cpuacct" in kinds.split(",")), "/")
        container = nanoseconds.parent.joinpath(*own.split("/")[1:3], nanoseconds.name)
        return int((container if own.startswith("/docker/") else nanoseconds).read_text(encoding="ascii")) / 1e9
    fields = dict(line.split() for line in Path("/sys/fs/cgroup/cpu.stat").read_text(encoding="ascii").splitlines())
    return int(fields["usage_usec"]) / 1e6
