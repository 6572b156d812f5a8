"""Answer the questions of all resources in one call; one that fails spoils no other's answer."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Dict

from provisioning.node import observe_access, observe_datasets, observe_environment, observe_host, observe_images

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

# A resource's program is a line here: what is imported travels along.
PROGRAMS = {
    program.__name__: program
    for program in (observe_host, observe_access, observe_datasets, observe_environment, observe_images)
}


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"questions": {resource: {"program", "question"}}}``: resource -> ``{"observed"}`` or ``{"error"}``."""
    answers: Dict[str, Any] = {}
    for done, (resource, asked) in enumerate(args["questions"].items()):
        channel.event({"title": "observe " + resource, "done": done, "total": len(args["questions"])})
        try:
            answers[resource] = {"observed": PROGRAMS[asked["program"]].observe(asked["question"])}
        except Exception as error:  # noqa: BLE001 - the other resources go on; the driver reports this one
            answers[resource] = {
                "error": {
                    "message": "%s: %s" % (type(error).__name__, error),
                    "remedy": getattr(error, "remedy", None),
                    "traceback": traceback.format_exc(),
                }
            }
    return answers
