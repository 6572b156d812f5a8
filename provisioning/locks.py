"""Keep two commands apart: locks that live exactly as long as the connection of who holds them."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from provisioning.errors import LockedError, NodeError

if TYPE_CHECKING:
    from provisioning.inventory import Cluster
    from provisioning.launch import Session

HOLD = "provisioning.node.hold_locks"


def within(folder: PurePosixPath) -> PurePosixPath:
    """Return the lock file of a folder that stays what it is."""
    return folder / ".timeeval-lock"


def beside(folder: PurePosixPath) -> PurePosixPath:
    """Return the lock file of a folder that may be switched by rename."""
    return folder.parent / f".{folder.name}.timeeval-lock"


def known(cluster: Cluster) -> dict[str, PurePosixPath]:
    """Return every folder of a node that commands lock -> its lock file."""
    from provisioning.resources.environment.resource import wheels_on_node
    from provisioning.resources.images.resource import layers_on_node

    stays = [*(folder.path for folder in cluster.datasets), wheels_on_node(cluster), layers_on_node(cluster)]
    made = cluster.environments or ((cluster.environment,) if cluster.environment is not None else ())
    return {str(folder): within(folder) for folder in stays} | {str(kind.prefix): beside(kind.prefix) for kind in made}


def hold(stack: ExitStack, session: Session, locks: Mapping[str, PurePosixPath]) -> None:
    """Lock folders of a node until the stack is closed, this process ends, or the node is lost.

    Parameters
    ----------
    stack : ExitStack
        Closing it frees the locks.
    session : Session
    locks : mapping
        Folder -> its lock file, see `within` and `beside`.

    Raises
    ------
    LockedError
        When another command holds one of them; the message names it.
    """
    holder = {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    conversation = session.open(
        HOLD, {"locks": {folder: str(file) for folder, file in locks.items()}, "holder": holder}
    )
    stack.callback(conversation.close)
    try:
        conversation.receive()
    except NodeError as error:
        if error.kind == "HeldError":
            raise LockedError(error.message, host=error.host, remedy=error.remedy) from error
        raise
