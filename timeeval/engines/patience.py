"""A Dask worker that ends what it computes although its scheduler is lost; its reports do not need the scheduler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from distributed import Worker

if TYPE_CHECKING:
    from distributed.comm import Comm

_POLL = 0.2


class PatientWorker(Worker):  # type: ignore[misc]  # distributed is untyped
    """Closes when its scheduler is lost, as every worker does, but not before it has nothing more to compute."""

    async def handle_scheduler(self, comm: Comm) -> None:
        """Serve the scheduler until it is lost."""
        try:
            await self.handle_stream(comm)
        finally:
            while self.active_keys:  # noqa: ASYNC110 - a thread of Dask's takes them out
                await asyncio.sleep(_POLL)
            await self.close(reason="the scheduler is lost and nothing runs here any more")
