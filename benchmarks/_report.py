"""How a benchmark shows its results: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes
    ----------
    work
        What was done.
    ours, peer
        The cost here and there, in `unit`; `peer` is None where there is nothing to compare with.
    unit
        Unit of both, for example `ms CPU`.
    goal
        Least ratio peer / ours, or, with `absolute`, the most that `ours` may be; None: no goal.
    absolute
        Whether `goal` limits `ours` itself.
    same
        Whether both sides gave the same result; None where that was not compared.
    bound
        The peer was stopped there: its cost, and with it the ratio, is at least what the row says.
    """

    work: str
    ours: float
    peer: float | None
    unit: str
    goal: float | None = None
    absolute: bool = False
    same: bool | None = None
    bound: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times more the peer's cost is."""
        return None if self.peer is None else self.peer / max(self.ours, 1e-9)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached and the results agree; None without a goal."""
        if self.goal is None:
            return self.same
        ratio = self.ratio
        reached = self.ours <= self.goal if self.absolute else ratio is not None and ratio >= self.goal
        return reached and self.same is not False


def show(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print rows as they arrive: a table, or one JSON object per line."""
    if as_json:
        for row in rows:
            document = {**asdict(row), "ratio": row.ratio, "met": row.met, "machine": machine()}
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()
        return
    sys.stdout.write(f"{machine()}\n")
    line = "{:<54} {:>11} {:>12} {:<7} {:>9} {:>9} {:>5} {:>4}\n"
    sys.stdout.write(line.format("work", "ours", "peer", "unit", "ratio", "goal", "same", "met"))
    for row in rows:
        goal = "" if row.goal is None else f"<={row.goal:g}" if row.absolute else f">={row.goal:g}x"
        sys.stdout.write(
            line.format(
                row.work,
                f"{row.ours:.3f}",
                "" if row.peer is None else f"{'>' * row.bound}{row.peer:.3f}",
                row.unit,
                "" if row.ratio is None else f"{'>' * row.bound}{row.ratio:.1f}x",
                goal,
                _mark(row.same),
                _mark(row.met),
            )
        )
        sys.stdout.flush()


def machine() -> str:
    """Return what the measurements depend on."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{system}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _mark(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "NO"
