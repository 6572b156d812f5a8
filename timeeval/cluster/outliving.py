"""Logins that end what they left: guards and drivers that go on after a logout get out of the login's reach first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.node import logind
from timeeval.engines import attach

if TYPE_CHECKING:
    from timeeval.engines.attach import Channel

MINDS_DRIVER = attach.MINDS_DRIVER


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Run `timeeval.engines.attach` as a program of the launcher; the guard that it leaves behind outlives the login.

    Where it cannot, ``hello`` carries the reason to the guard, which tells the driver.
    """
    if args.get("guard"):
        args["hello"]["logout"] = logind.shelter()
    return attach.main(args, channel)


def why_not() -> tuple[str, str] | None:
    """Get this process out of the reach of its login's end; return cause and remedy where it cannot."""
    found = logind.shelter()
    return None if found is None else (found["message"], found["remedy"])
