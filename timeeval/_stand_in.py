"""What TimeEval 1.5 brought along and scripts import by itself: the library ``durations``, of which they use one class.

Where the library is installed it is what scripts get, and its objects are accepted. Where it is not,
``from durations import Duration`` gets :class:`timeeval.durations.Duration`.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "durations"


class _Finder:
    """Finds ``durations`` when nothing else does: it stands last."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG004
        return ModuleSpec(NAME, _Loader()) if fullname == NAME else None  # type: ignore[arg-type]


class _Loader:
    @staticmethod
    def create_module(spec: ModuleSpec) -> None:  # noqa: ARG004 - Python makes the module
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from timeeval.durations import Duration

        module.__doc__ = "Stands in for the library of this name, which is not installed."
        module.Duration = Duration  # type: ignore[attr-defined]


def stand_in() -> None:
    """Let ``durations`` be imported where it is not installed."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
