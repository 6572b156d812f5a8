"""Answer the questions of all resources in one call; one that fails spoils no other's answer."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False  # typing, pathlib and their like would double the time of an answer that nothing has changed
if TYPE_CHECKING:
    from typing import Any, Dict

    from provisioning.node.bootstrap import Channel


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"questions": {resource: {"program", "question"}}}``: resource -> ``{"observed"}`` or ``{"error"}``."""
    answers: Dict[str, Any] = {}
    for done, (resource, asked) in enumerate(args["questions"].items()):
        beat = _Beat(channel, {"title": "observe " + resource, "done": done, "total": len(args["questions"])})
        try:
            answers[resource] = {"observed": _observe(asked["program"], asked["question"], beat)}
        except Exception as error:  # noqa: BLE001 - the other resources go on; the driver reports this one
            import traceback

            answers[resource] = {
                "error": {
                    "message": "%s: %s" % (type(error).__name__, error),
                    "remedy": getattr(error, "remedy", None),
                    "traceback": traceback.format_exc(),
                }
            }
    return answers


def _observe(program: str, question: Dict[str, Any], beat: "_Beat") -> Dict[str, Any]:
    # The driver sends those along that it asks for, and no others.
    __import__(program)
    module = sys.modules[program]
    answer: Dict[str, Any]
    # a program that may read many gigabytes says now and then that it is not dead
    answer = module.observe(question, beat) if getattr(module, "BEATS", False) else module.observe(question)
    return answer


class _Beat:
    """Tells the driver at once what is done, and every few seconds that it still is."""

    SECONDS = 5.0

    def __init__(self, channel: "Channel", event: Dict[str, Any]) -> None:
        self._channel = channel
        self._event = event
        self._last = 0.0
        self()

    def __call__(self) -> None:
        if time.monotonic() - self._last >= self.SECONDS:
            self._last = time.monotonic()
            self._channel.event(self._event)
