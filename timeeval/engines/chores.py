"""What an engine has going beside what it is asked for: tasks and timers that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Chores:
    """Tasks and timers of one event loop; after `stop` none of them runs any more and none is begun."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = False

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do something without waiting for it."""
        if self.stopped:
            work.close()
            return None
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
