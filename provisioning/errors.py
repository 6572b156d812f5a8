"""The exceptions of `provisioning`: each names the host, the cause and the remedy, once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from provisioning.plain import plain

__all__ = [
    "ChangedError",
    "InventoryError",
    "LockedError",
    "NodeError",
    "NotVerifiedError",
    "ProvisionError",
    "UnreachableError",
    "UsageError",
]


class ProvisionError(Exception):
    """Something that a person must know about, told so that the person can mend it.

    Parameters
    ----------
    message : str
        The thing and the cause, without the host.
    host : str or None
        Name of the node as the cluster file has it; None where no node is concerned.
    remedy : str or None
        What to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, host: str | None = None, remedy: str | None = None) -> None:
        message = plain(message)  # it may quote what a node said
        super().__init__(message)
        self.message = message
        self.host = host
        self.remedy = remedy
        self.details: str | None = None
        """Traceback or log lines of the node, for the log and for `-v`; never part of the message."""

    def __str__(self) -> str:
        text = self.message if self.host is None else f"{self.host}: {self.message}"
        return text if self.remedy is None else f"{text}; {self.remedy}"


class UsageError(ProvisionError):
    """A command line or a file says something that cannot be meant."""

    exit_code = 2


class InventoryError(UsageError):
    """The cluster file is not as it must be.

    Parameters
    ----------
    message : str
        What is wrong and what is allowed.
    file : Path
        The cluster file.
    line : int or None
        Line in that file, counted from 1, where it is known.
    key : str or None
        Dotted key, such as ``host."node03.lab".port``.
    """

    def __init__(
        self, message: str, *, file: Path, line: int | None = None, key: str | None = None, remedy: str | None = None
    ) -> None:
        place = str(file) if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}" if key is None else f"{place}: {key}: {message}", remedy=remedy)
        self.file = file
        self.line = line
        self.key = key


class ChangedError(UsageError):
    """A file of the driver is no longer what it was when it was read first."""


class NodeError(ProvisionError):
    """Something failed on a node that was reached.

    Parameters
    ----------
    message, host, remedy
        As in `ProvisionError`.
    kind : str
        Name of the exception's class on the node; empty where no program raised.
    """

    exit_code = 4

    def __init__(self, message: str, *, host: str | None = None, remedy: str | None = None, kind: str = "") -> None:
        super().__init__(message, host=host, remedy=remedy)
        self.kind = kind


class UnreachableError(ProvisionError):
    """A node could not be reached, or was lost."""

    exit_code = 8


class NotVerifiedError(ProvisionError):
    """There is no proof, or no longer one, that the nodes are as they must be."""

    exit_code = 16


class LockedError(ProvisionError):
    """Another command holds the lock; the message names the holder."""

    exit_code = 32
