"""Collecting what is wrong with one node."""

from __future__ import annotations

from provisioning.resources.base import Finding, Severity

__all__ = ["Findings"]


class Findings:
    """Findings of one resource about one node.

    Parameters
    ----------
    node, resource : str
        Their names.
    """

    def __init__(self, node: str, resource: str) -> None:
        self._node = node
        self._resource = resource
        self._rows: list[Finding] = []

    def error(self, message: str, remedy: str) -> None:
        """Note what keeps the node from being verified."""
        self.add("error", message, remedy)

    def warning(self, message: str, remedy: str) -> None:
        """Note what a person should know."""
        self.add("warning", message, remedy)

    def add(self, severity: Severity, message: str, remedy: str) -> None:
        """Note something."""
        self._rows.append(Finding(self._node, self._resource, message, remedy, severity))

    def all(self) -> tuple[Finding, ...]:
        """Return what was noted, in that order."""
        return tuple(self._rows)
