"""The live view on a terminal: one line with bytes, and who does what."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tqdm import tqdm

from provisioning.plain import line
from provisioning.shapes import is_size

log = logging.getLogger(__name__)

TITLES = 64
"""Of a node, whose bytes are added up; no command has so many."""


class View:
    """Shows the progress of all nodes while a command runs; on no terminal it only logs.

    Parameters
    ----------
    live : bool
        Whether to draw; by default, whether standard error is a terminal.
    """

    def __init__(self, *, live: bool | None = None) -> None:
        self._live = sys.stderr.isatty() if live is None else live
        self._lock = threading.Lock()
        self._bar: tqdm[Any] | None = None
        self._moving: dict[str, dict[str, tuple[int, int]]] = {}
        self._titles: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            from tqdm import tqdm

            self._bar = tqdm(unit="B", unit_scale=True, leave=False, dynamic_ncols=True, file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def event(self, node: str, event: dict[str, Any]) -> None:
        """Take a node's event: ``{"title", "done", "total", "unit"}``; may be called from any thread."""
        title = line(str(event.get("title", "")))
        with self._lock:
            if self._titles.get(node) != title:
                self._titles[node] = title
                log.info("%s: %s%s", node, title, line(f": {event['error']}") if "error" in event else "")
            done, total = event.get("done"), event.get("total")
            if event.get("unit") == "B" and is_size(done) and is_size(total):
                moving = self._moving.setdefault(node, {})
                if title in moving or len(moving) < TITLES:
                    moving[title] = (done, total)
            if self._bar is not None:
                self._draw(self._bar, node, title)

    def _draw(self, bar: tqdm[Any], node: str, title: str) -> None:
        sizes = [size for moving in self._moving.values() for size in moving.values()]
        bar.total = sum(total for _, total in sizes) or None
        bar.set_description(f"{node}: {title}"[:60], refresh=False)
        bar.update(sum(done for done, _ in sizes) - bar.n)
