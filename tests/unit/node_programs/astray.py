"""Observes a host as `provisioning.node.observe_host` does, but for what it is told to say instead."""

from __future__ import annotations

from typing import Any

from provisioning.node import observe_host


def observe(question: dict[str, Any]) -> dict[str, Any]:
    return {**observe_host.observe(question), **question["instead"]}
