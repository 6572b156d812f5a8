"""How a run treats failures of the machinery, and how it sends its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What the machine does when the machinery fails, and how it sends work.

    Attributes
    ----------
    infra_retries : int
        How often an execution is tried again after an infrastructure error.
    host_failures : int
        After so many failures of the machinery in a row on one host, the host is set aside; what the loss of a host or
        of a bundle ended counts as one.
    patience : float
        Seconds to wait for a host to come (back) while none is usable, before the run gives up.
    bundle_seconds : float
        Executions that are known to be short go to a slot together, as many as fit in this time; 0: never.
    bundle_most : int
        The most of a bundle.
    """

    infra_retries: int = 2
    host_failures: int = 3
    patience: float = 30.0
    bundle_seconds: float = 1.0
    bundle_most: int = 64
