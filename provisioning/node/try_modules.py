"""Let the node's environment import what an experiment imports (Python >= 3.8)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_IMPORT = """
import importlib, importlib.metadata, json, sys
failed = {}
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = "%s: %s" % (type(error).__name__, error)
provided = sorted({name for name in importlib.metadata.packages_distributions() if name.isidentifier()})
print("\\n" + json.dumps({"failed": failed, "provided": provided}))
"""


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"prefix", "modules"}: ``{"failed": {module: why}, "provided": [module]}``.

    ``provided`` lists the top-level modules of all installed packages; their files are proven with the environment.
    """
    channel.event({"title": "import %d modules" % len(args["modules"]), "done": 0, "total": 1})
    done = subprocess.run(
        [str(Path(args["prefix"]) / "bin" / "python"), "-I", "-B", "-c", _IMPORT],
        input=json.dumps(args["modules"]).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])
    except (IndexError, ValueError):
        why = "python ended with status %d: %s" % (done.returncode, done.stderr.decode("utf-8", "replace")[-500:])
        return {"failed": dict.fromkeys(args["modules"] or ["python"], why), "provided": []}
    return answer
