"""The words of a run: executions, attempts, reports, and the events, commands and journal rows made of them.

Everything here is plain frozen data. The state machine (`timeeval.run.machine`) consumes events and produces commands
and rows; engines produce events and obey commands; the journal stores rows. None of them knows more of the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

from timeeval.plain import plain

_T = TypeVar("_T")

LARGEST_INTEGER = 2**63 - 1
LONGEST_PARAMETERS = 1 << 20


class Outcome(StrEnum):
    """How an attempt ended.

    ``OK``, ``ERROR``, ``TIMEOUT`` and ``OOM`` are said by the algorithm's side and are final for their limits;
    ``INFRA`` is said of the machinery around it and is never held against the algorithm; ``CANCELLED`` was asked for.
    """

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM = "oom"
    INFRA = "infra-error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of the results table: what a user calls an experiment."""

    algorithm: str
    collection: str
    dataset: str
    hyper_params_id: str
    repetition: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What is computed, known by the digest of everything its scores depend on.

    Attributes
    ----------
    key : str
        SHA-256 (hex) of algorithm name, image or code digest, post-processing, parameters, data digests, repetition.
    cell : Cell
        The row it fills.
    expected_seconds : float
        Estimate of its duration; only orders the work.
    measured : bool
        Whether the estimate comes from earlier runs; else it is the length of the dataset, or any other guess that
        grows with the duration. The same for all executions of an algorithm.
    alone : bool
        Goes to a slot by itself, however short it is: what follows is to learn from its outcome.
    """

    key: str
    cell: Cell
    expected_seconds: float = 1.0
    measured: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of an execution on one host; its id is unique in the run and travels with the task."""

    id: str
    execution: str
    number: int
    host: str

    def fields(self) -> dict[str, str | int]:
        """Return the fields by name, for JSON; `dataclasses.asdict` copies deeply and takes ten times as long."""
        return {"id": self.id, "execution": self.execution, "number": self.number, "host": self.host}


def run_of(attempt_id: str) -> str:
    """Return the run that made an attempt."""
    return attempt_id.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an attempt as the node made it durable: JSON on the wire, never a pickle.

    Attributes
    ----------
    values : Mapping[str, float | None]
        Everything the result row gets: metric values and times in seconds, in column order; None where undefined.
    host, started, ended : str, float, float
        Where it ran and when (Unix seconds on that node's clock).
    cpu_seconds, peak_memory : float | None, int | None
        CPU time of the experiment's processes or containers in seconds and the most memory they held at a time in
        bytes (a process: resident; a container: its control group, cached files included); None where it is not known.
    changed : bool
        The host is not what it was proven to be any more, so nothing was computed; `error` says what changed.
    """

    attempt: str
    outcome: Outcome
    host: str
    started: float
    ended: float
    error: str = ""
    traceback: str = ""
    hyper_params: str | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    changed: bool = False

    def to_json(self) -> str:
        """Return the report as one line of JSON (NaN is written as null)."""
        values = {name: None if value is None or value != value else value for name, value in self.values.items()}  # noqa: PLR0124
        fields = {name: getattr(self, name) for name in self.__slots__}  # asdict copies deeply: ten times slower
        return json.dumps({**fields, "values": values}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a report, whoever wrote it.

        Texts come out as `timeeval.plain.plain` leaves them, so that the journal can keep and a terminal show them.

        Raises
        ------
        ValueError
            When it is no JSON, or a field is missing, of the wrong type or beyond what can be kept.
        """
        try:
            raw = _typed({"it": json.loads(text)}, "it", dict)
            return cls(
                attempt=_typed(raw, "attempt", str),
                outcome=Outcome(raw["outcome"]),
                host=_typed(raw, "host", str),
                started=_seconds(raw["started"]),
                ended=_seconds(raw["ended"]),
                error=plain(_typed(raw, "error", str)),
                traceback=plain(_typed(raw, "traceback", str)),
                hyper_params=None if raw["hyper_params"] is None else _parameters(raw),
                values={plain(k): None if v is None else float(v) for k, v in _typed(raw, "values", dict).items()},
                cpu_seconds=None if raw["cpu_seconds"] is None else _seconds(raw["cpu_seconds"]),
                peak_memory=None if raw["peak_memory"] is None else _bytes(raw["peak_memory"]),
                changed=raw.get("changed") is True,  # outcomes that earlier versions kept do not say
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"malformed report: {error!r}") from error


def _typed(raw: dict[str, Any], key: str, kind: type[_T]) -> _T:
    value = raw[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {type(value).__name__}, not {kind.__name__}")
    return value


def _seconds(value: Any) -> float:  # noqa: ANN401 - whatever JSON holds
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number of seconds")
    return number


def _bytes(value: Any) -> int:  # noqa: ANN401 - likewise
    number = int(value)
    if not 0 <= number <= LARGEST_INTEGER:
        raise ValueError(f"{number} is no number of bytes")
    return number


def _parameters(raw: dict[str, Any]) -> str:
    text = _typed(raw, "hyper_params", str)
    if len(text) > LONGEST_PARAMETERS:  # half of it would be other parameters
        raise ValueError(f"its parameters have {len(text)} characters, more than {LONGEST_PARAMETERS}")
    return plain(text, LONGEST_PARAMETERS)


# --- events: what engines and people tell the machine ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostUp:
    """A verified host offers its slots; `speed` is relative to the usual host, 1 where it is not known."""

    host: str
    slots: int
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class HostLost:
    """A host is gone; what ran there has ended or will by `fenced_after` seconds from now (its lease)."""

    host: str
    reason: str
    fenced_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Reported:
    """A report reached the driver; it may be late, doubled or of an attempt long given up."""

    report: Report


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The machinery ended an attempt without a report (worker killed, connection lost, cancelled by us)."""

    attempt: str
    reason: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person wants the run to end: drain what runs, or stop it now."""

    now: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event = HostUp | HostLost | Reported | Interrupted | StopRequested | Tick


# --- commands: what the machine wants done --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Send these attempts to their host, where one slot runs them one after the other."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this attempt where it runs."""

    attempt: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """Use this host no more in this run, and say so."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do, or nobody is left to do it; `reason` is empty when all work is done."""

    reason: str = ""


Command = Start | Cancel | SetAside | Finish


# --- rows: what must be durable before the next step ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt is about to be sent."""

    attempt: Attempt
    at: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt's one outcome."""

    report: Report


@dataclass(frozen=True, slots=True)
class AttemptSuperseded:
    """A second or late outcome, kept beside the record but never in it."""

    report: Report


@dataclass(frozen=True, slots=True)
class HostSetAside:
    """A host was set aside."""

    host: str
    reason: str
    at: float


Row = AttemptStarted | AttemptEnded | AttemptSuperseded | HostSetAside
