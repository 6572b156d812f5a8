"""Start a container of each image as an experiment would: datasets read-only, a results folder written."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.switching import remove
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

LABEL = "timeeval.verify"

# the first line of a file is copied by the shell alone; a subshell, because a redirection that fails may end a shell
_SCRIPT = (
    'IFS= read -r line < "$1" || [ -n "$line" ] || exit 8; printf %s "$line" > /results/proof || exit 7; '
    '[ -z "$2" ] || if (true > "$2") 2>/dev/null; then exit 9; fi'
)
_TIMEOUT = 120.0


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"images": {name: id}, "datasets": [[folder, a file in it]], "results": folder}.

    Returns {"failed": {name: [why, remedy]}}; what was started or written is gone afterwards.
    """
    failed = {}
    for done, (name, image) in enumerate(args["images"].items()):
        channel.event({"title": "start a container of %s" % name, "done": done, "total": len(args["images"])})
        try:
            for folder, file in args["datasets"] or [[None, None]]:
                _try(image, folder, file, args["results"])
        except RefusedError as error:
            failed[name] = [_explained(str(error)), error.remedy]
    return {"failed": failed}


def _try(image: str, datasets: str | None, file: str | None, results: str) -> None:
    token = secrets.token_hex(8)
    target = Path(results) / (".verify-%s" % token)
    target.mkdir(parents=True)
    (target / "input").write_text(token + "\n", encoding="utf-8")
    command = ["run", "--rm", "--pull", "never", "--network", "none", "--label", "%s=%s" % (LABEL, token)]
    command += ["--mount", "type=bind,source=%s,target=/results" % target]
    shown, forbidden, source = "/results/input", "", target / "input"
    if datasets is not None and file is not None:
        command += ["--mount", "type=bind,source=%s,target=/data,readonly" % datasets]
        shown, forbidden, source = "/data/" + file, "/data/.timeeval-probe", Path(datasets) / file
    try:
        docker.docker(
            *command, "--entrypoint", "/bin/sh", image, "-c", _SCRIPT, "-", shown, forbidden, timeout=_TIMEOUT
        )
        proof = target / "proof"
        if not proof.exists() or proof.read_bytes() != _first_line(source):
            raise RefusedError("it sees other files than this machine has there", "use an engine of this machine")
    finally:
        for container in docker.docker("ps", "--all", "--quiet", "--filter", "label=%s=%s" % (LABEL, token)).split():
            docker.docker("rm", "--force", "--volumes", container)
        remove(target)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.readline().rstrip(b"\n")


def _explained(text: str) -> str:
    if "ended with status 9" in text:
        return "its container can write to the datasets"
    return "its container does not start, read the datasets and write results: " + text
