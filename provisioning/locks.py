"""Keep two commands apart: locks that live exactly as long as the connection of who holds them."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from provisioning.errors import LockedError, NodeError, ProvisionError
from provisioning.masking import command_line

if TYPE_CHECKING:
    from provisioning.inventory import Cluster
    from provisioning.launch import Conversation, Session

HOLD = "provisioning.node.hold_locks"
BEAT_SECONDS = 10.0
SILENCE_SECONDS = 90.0
"""After so long without a word a node gives locks to others."""

PART_SECONDS = 2.0
"""For a node to give locks back when it is told to; when the line ends it does so by itself."""


def within(folder: PurePosixPath) -> PurePosixPath:
    """Return the lock file of a folder that stays what it is."""
    return folder / ".timeeval-lock"


def beside(folder: PurePosixPath) -> PurePosixPath:
    """Return the lock file of a folder that may be switched by rename."""
    return folder.parent / f".{folder.name}.timeeval-lock"


def known(cluster: Cluster) -> dict[str, PurePosixPath]:
    """Return every folder of a node that commands lock -> its lock file."""
    from provisioning.resources.environment.resource import wheels_on_node
    from provisioning.resources.images.loading import layers_on_node

    stays = [*(folder.path for folder in cluster.datasets), wheels_on_node(cluster), layers_on_node(cluster)]
    made = cluster.environments or ((cluster.environment,) if cluster.environment is not None else ())
    return {str(folder): within(folder) for folder in stays} | {str(kind.prefix): beside(kind.prefix) for kind in made}


class Held:
    """Locks of one node that are kept by saying, every few seconds, that we are still there.

    Attributes
    ----------
    conversation : Conversation
        The line to who holds them there, which also takes small differences.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self._over = threading.Event()
        self._saying = threading.Lock()
        self._spoken = _clock()
        self._lost = False
        threading.Thread(target=self._beat, name=f"locks-{conversation.host}", daemon=True).start()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            now = _clock()
            try:
                with self._saying:
                    if self._over.is_set():
                        return  # somebody else may speak on this line now
                    self.conversation.send({"beat": True})
            except ProvisionError:
                self._lost = True
                return
            if now - self._spoken > SILENCE_SECONDS:
                self._lost = True  # this machine slept: what was sent now came too late
                return
            self._spoken = now

    def check(self) -> None:
        """Raise `LockedError` when the node may have given the locks to others: nothing may be changed any more."""
        if self._lost or _clock() - self._spoken > SILENCE_SECONDS:
            raise LockedError(
                f"its locks were lost: it heard nothing of this machine for {SILENCE_SECONDS:g} s",
                host=self.conversation.host,
                remedy="run the command again",
            )

    def free(self) -> None:
        """Give the locks back."""
        with self._saying:
            self._over.set()
        let_go(self.conversation)


def let_go(line: Conversation) -> None:
    """End the program that holds locks, or that could."""
    line.part({"do": "free"}, PART_SECONDS)


def _clock() -> float:
    """Return seconds that go on while this machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def hold(
    stack: ExitStack, session: Session, locks: Mapping[str, PurePosixPath], line: Conversation | None = None
) -> Held:
    """Lock folders of a node until the stack is closed, this process ends or falls silent, or the node is lost.

    Parameters
    ----------
    stack : ExitStack
        Closing it frees the locks.
    session : Session
    locks : mapping
        Folder -> its lock file, see `within` and `beside`.
    line : Conversation or None
        With a program `HOLD` that is running already.

    Returns
    -------
    Held
        To be asked, before something is changed, whether the locks are still ours.

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
        "command": command_line(sys.argv),
    }
    files = {folder: str(file) for folder, file in locks.items()}
    conversation = session.open(HOLD, {"silence": SILENCE_SECONDS}, more=True) if line is None else line
    stack.callback(let_go, conversation)
    try:
        conversation.send({"do": "lock", "locks": files, "holder": holder})
        conversation.receive()
    except NodeError as error:
        if error.kind == "HeldError":
            raise LockedError(error.message, host=error.host, remedy=error.remedy) from error
        raise
    held = Held(conversation)
    stack.callback(held.free)
    return held
