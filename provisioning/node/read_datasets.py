"""Let the node's own environment read every dataset, as a run will: the proof that bytes and software fit together."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from provisioning.node import landing, tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

# Runs in the environment's interpreter. What it prints for people goes to stderr, so that stdout is one document.
READER = """
import json, sys
question = json.load(sys.stdin)
answer, sys.stdout = sys.stdout, sys.stderr
from pathlib import Path
from timeeval import DatasetManager
wrong = {}
for folder in question["folders"]:
    datasets = DatasetManager(Path(folder["path"]), create_if_missing=False)
    for collection, name in folder["ids"]:
        try:
            if tuple(datasets.get((collection, name)).datasetId) != (collection, name):
                raise LookupError("another dataset is given for this name")
            with open(datasets.get_dataset_path((collection, name)), "rb") as stream:
                stream.readline()
        except Exception as error:
            wrong["%s: %s/%s" % (folder["path"], collection, name)] = "%s: %s" % (type(error).__name__, error)
json.dump({"wrong": wrong}, answer)
"""

TIMEOUT = 300.0


class ReadingError(Exception):
    """The environment cannot read the datasets."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"python", "folders": [{"path", "ids", "digest", "files"}], "proofs": file that keeps the proof}``.

    A node without that interpreter has nothing to prove yet: making the environment comes with a command of its own.
    """
    del channel
    python = args["python"]
    stamp = landing.environment_stamp(python)
    if stamp is None:
        return {"read": 0}
    _read(python, [{"path": folder["path"], "ids": folder["ids"]} for folder in args["folders"]])
    store = Path(args["proofs"])
    store.parent.mkdir(parents=True, exist_ok=True)
    proofs = tree.read_json(str(store)) or {}
    for folder in args["folders"]:
        before = proofs.get(folder["path"])
        files = before["files"] if before and before["environment"] == stamp else {}
        proofs[folder["path"]] = {
            "environment": stamp,
            "digest": folder["digest"],
            "files": {**files, **folder["files"]},
        }
    tree.write_json(str(store), proofs)
    return {"read": sum(len(folder["ids"]) for folder in args["folders"])}


def _read(python: str, folders: List[Dict[str, Any]]) -> None:
    done = subprocess.run(
        [python, "-I", "-B", "-c", READER],
        input=json.dumps({"folders": folders}).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["exit code %d" % done.returncode]
        raise ReadingError(
            "%s cannot read the dataset folders: %s" % (python, lines[-1]),
            "run `timeeval-provision create-envs`, then this command again",
        )
    wrong = json.loads(done.stdout)["wrong"]
    if wrong:
        name, why = min(wrong.items())
        raise ReadingError(
            "%d datasets cannot be read, e.g. %s: %s" % (len(wrong), name, why),
            "correct the index on the driver, then run this command again",
        )
