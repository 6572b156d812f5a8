"""What the journal stores and gives back, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timeeval.run.model import Cell, Outcome


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an attempt; an outcome that a limit caused is due again when that limit grows."""

    train_seconds: float | None = None
    execute_seconds: float | None = None
    memory_bytes: int | None = None

    def grew_for(self, outcome: Outcome, before: Limits) -> bool:
        """Tell whether `outcome`, reached under the limits `before`, may be another one under these."""
        if outcome is Outcome.TIMEOUT:
            return _grew(self.train_seconds, before.train_seconds) or _grew(
                self.execute_seconds, before.execute_seconds
            )
        return outcome is Outcome.OOM and _grew(self.memory_bytes, before.memory_bytes)


def _grew(now: float | None, before: float | None) -> bool:
    return before is not None and (now is None or now > before)


@dataclass(frozen=True, slots=True)
class MetricIdentity:
    """What makes a metric value comparable: the metric's arguments and the version of its definition."""

    arguments: str = "{}"
    definition: str = "1"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the journal knows it.

    Attributes
    ----------
    metrics : mapping of str to MetricIdentity
        By column name; every other value of a report is a time.
    info : mapping
        Provenance, JSON-able.
    """

    id: str
    number: int
    grid_digest: str
    started: float
    limits: Limits = field(default_factory=Limits)
    metrics: Mapping[str, MetricIdentity] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One cell of a run's grid with its record; `outcome` is None while it has none.

    `cached` says that an earlier run of the folder computed it.
    """

    cell: Cell
    key: str
    details: Mapping[str, Any]
    outcome: Outcome | None
    host: str | None
    attempt: str | None
    number: int | None
    error: str
    hyper_params: str | None
    times: Mapping[str, float | None]
    metrics: Mapping[str, float | None]
    started_at: float | None
    ended_at: float | None
    cpu_seconds: float | None
    peak_memory: int | None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Lacking:
    """What an execution that ended well does not have yet: the scores are those of `attempt`, `names` are metrics."""

    attempt: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """Metrics computed of the stored scores of an attempt; a name without a value is a metric that failed."""

    attempt: str
    names: tuple[str, ...]
    values: Mapping[str, float | None]
