"""What a module that accompanies an evaluation may do, and when."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.timeeval import TimeEval


class TimeEvalModule(ABC):  # noqa: B024 - every hook may be left out
    """Base of the modules in `TimeEval.modules`; the hooks run on the driver."""

    def prepare(self, timeeval: TimeEval) -> None:  # noqa: B027
        """Do what must be done before the algorithms are prepared."""

    def pre_run(self, timeeval: TimeEval) -> None:  # noqa: B027
        """Do what must be done before the first experiment."""

    def post_run(self, timeeval: TimeEval) -> None:  # noqa: B027
        """Do what must be done after the last experiment; ``timeeval.results`` is complete."""

    def finalize(self, timeeval: TimeEval) -> None:  # noqa: B027
        """Clean up; called also when the evaluation failed."""
