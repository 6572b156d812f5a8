"""Become rsync's server side on a node: the one program that gets the line to the driver itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Dict, Optional

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


class NoRsyncError(Exception):
    """The node has no rsync."""

    def __init__(self, message: str, remedy: Optional[str] = None) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Run ``rsync --server`` with the arguments that the driver's rsync has given to its remote shell."""
    arguments = [str(argument) for argument in args["arguments"]]
    if arguments[:1] != ["--server"]:
        raise ValueError("only rsync's server side is run")
    program = shutil.which("rsync")
    if program is None:
        raise NoRsyncError("rsync is not installed", "install it: apt-get install rsync")
    channel.event({"ready": True})
    channel.become([program, *arguments])
