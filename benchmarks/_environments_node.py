"""The other side of `benchmarks.environments`, on a node: what a person does by hand with Python's own tools."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node.store import stored
from provisioning.node.tools import run

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"folder", "store", "lock", "python", "compile": bool}: seconds; or remove {"remove": [path]}."""
    for path in args.get("remove", ()):
        shutil.rmtree(path, ignore_errors=True)
    if "lock" not in args:
        return {}
    folder, store = Path(args["folder"]), Path(args["store"])
    shutil.rmtree(str(folder), ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    for path, _ in stored(store):
        if path.endswith(".whl"):
            (folder / "wheels" / path.split("/")[-1]).symlink_to(store / path)

    def beat() -> None:
        channel.event({"title": "pip", "done": 0, "total": 1})

    begin = time.monotonic()
    run(["python" + args["python"], "-m", "venv", str(folder / "env")], beat)
    pip = [str(folder / "env" / "bin" / "pip"), "install", "-q", "--no-index", "--find-links", str(folder / "wheels")]
    run([*pip, *([] if args["compile"] else ["--no-compile"]), "-r", args["lock"]], beat)
    seconds = time.monotonic() - begin
    shutil.rmtree(str(folder))
    return {"seconds": seconds}
