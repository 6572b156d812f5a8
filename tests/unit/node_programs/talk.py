"""A program that does what its arguments say."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from node_programs import helper


def main(args: dict[str, Any], channel: Any) -> dict[str, Any]:  # noqa: C901, PLR0912 - a list of small deeds
    action = args["action"]
    if action == "echo":
        print("printed, never framed")
        subprocess.run(["echo", "a child printed"], check=True)
        for number in range(args["events"]):
            channel.event({"number": number})
        return {"said": helper.shout(args["text"]), "stdin": sys.stdin.read()}
    if action == "environment":
        mask = os.umask(0)
        return {"environ": dict(os.environ), "umask": mask, "cmdline": _cmdline(), "cwd": str(Path.cwd())}
    if action == "digest":
        digest = hashlib.sha256()
        for piece in channel.data():
            digest.update(piece)
            channel.event({"text": "x" * 2000})
        return {"sha256": digest.hexdigest()}
    if action == "say":
        channel.send(args["message"])
    if action == "pid":
        return {"pid": os.getpid()}
    if action == "raise":
        raise KeyError("gone")
    if action == "refuse":
        raise helper.RefusedError("the disk is full", "delete something")
    if action == "die":
        print("last words", file=sys.stderr)
        os._exit(3)
    if action == "sleep":
        child = subprocess.Popen(["sleep", "600"])
        channel.event({"pid": os.getpid(), "child": child.pid})
        time.sleep(600)
    if action == "chat":
        while (message := channel.receive(timeout=20)) is not None:
            channel.event({"heard": message})
            if message.get("last"):
                return {"bye": True}
    return {}


def _cmdline() -> str:
    return Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode()
