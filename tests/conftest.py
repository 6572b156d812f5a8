"""What all tests share."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C.

    A shell starts background jobs with SIGINT ignored, and everything below inherits that: a CI runner that puts the
    tests there would otherwise test programs that rightly do not hear it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
