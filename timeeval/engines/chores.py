"""What an engine has going beside what it is asked for: tasks and timers that end with it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from timeeval.errors import TimeEvalError

logger = logging.getLogger(__name__)


def told(error: BaseException) -> str:
    """Return an error in words; of what nobody thought of, they say what a person can do, and the log has its trace."""
    if isinstance(error, TimeEvalError):
        return str(error)
    words = (
        f"{type(error).__name__}: {error} (a defect of timeeval-run: run it again with --resume, which computes only "
        "what is missing, and report it with the log)"
    )
    logger.error("%s", words, exc_info=error)
    return words


class Chores:
    """Tasks and timers of one event loop; after `stop` none of them runs any more and none is begun."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = False

    def run(
        self, work: Coroutine[Any, Any, None], otherwise: Callable[[str], None] | None = None
    ) -> asyncio.Task[None] | None:
        """Do something without waiting for it.

        Parameters
        ----------
        work : coroutine
            What is to be done.
        otherwise : callable, optional
            Told what went wrong when that ends by an exception, which is a defect of ours: whoever waits for what it
            was to do must not wait for ever. It is logged in any case.
        """
        if self.stopped:
            work.close()
            return None
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, otherwise))
        return task

    def _ended(self, otherwise: Callable[[str], None] | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        words = told(error)
        if otherwise is not None and not self.stopped:
            otherwise(words)

    def later(self, seconds: float, act: Callable[..., None], *args: object) -> None:
        """Do something in some seconds."""
        asyncio.get_running_loop().call_later(seconds, lambda: None if self.stopped else act(*args))

    async def stop(self) -> None:
        """End all of it."""
        self.stopped = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
