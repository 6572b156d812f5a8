"""The Dask client of a run: a process beside the scheduler that speaks Dask on one side and JSON with the driver.

So the driver needs no way to the scheduler but its SSH connection, and it never reads a byte that a worker pickled.
Even here no pickle may name anything: an audit hook refuses every class or function that an unpickler looks up.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from timeeval.engines.hatch import carry
from timeeval.engines.worker_main import CLOSE_SECONDS, Voice, incoming, versions

if TYPE_CHECKING:
    from distributed import Client, Future

HARMLESS = frozenset(
    {("builtins", "bytes"), ("builtins", "bytearray"), ("builtins", "memoryview"), ("builtins", "str")}
)
CAUSES = {
    b"KilledWorker": "the Dask worker ended while the attempt was on it",
    b"NoValidWorkerError": "the Dask worker was gone before the attempt reached it",
    b"NoWorkerError": "no Dask worker was left",
}


class RefusedPickleError(TypeError):
    """A pickle wanted more than plain data; a TypeError, as Dask expects of what cannot be read."""


def refuse_pickles() -> None:
    """From now on, let no unpickler of this process look up anything but the containers of plain bytes.

    Such a hook cannot be taken away again, which is why this is a process of its own.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "pickle.find_class" and tuple(args[:2]) not in HARMLESS:
            raise RefusedPickleError(f"a pickle that names {args[0]}.{args[1]} came in; it was not loaded")

    sys.addaudithook(hook)


class Gateway:
    """Carries attempts to the workers they are pinned to and their reports back."""

    def __init__(self, client: Client, voice: Voice) -> None:
        self._client = client
        self._voice = voice
        self._tasks: set[asyncio.Task[None]] = set()
        self._futures: dict[str, tuple[str, Future]] = {}  # of each task its worker and its future, by its key
        self._scheduler_lost = asyncio.Event()

    async def serve(self) -> None:
        """Obey the driver until stdin ends; raises ConnectionError when the scheduler is lost."""
        obeying = asyncio.create_task(self._obey())
        losing = asyncio.create_task(self._scheduler_lost.wait())
        await asyncio.wait({obeying, losing}, return_when=asyncio.FIRST_COMPLETED)
        if self._scheduler_lost.is_set():
            raise ConnectionError("the Dask client lost its scheduler")
        await obeying

    async def _obey(self) -> None:
        async for message in incoming():
            task = asyncio.create_task(self._carry(**message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, task: str, jobs: list[str], details: list[str], key: str, worker: str) -> None:
        """Bring a parcel to its worker and say when it has ended; its reports take their own way."""
        raw = [base64.b64decode(job) for job in jobs]
        try:
            text = await self._on(worker, key, carry, task, raw, details)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - see below
            # The task function turns all that an experiment does into a report: what is raised is the machinery's.
            if "scheduler-connection-lost" in str(error):
                self._scheduler_lost.set()  # nothing is known of any attempt; this process ends and Dask is made anew
            else:
                self._voice.say(event="interrupted", attempt=key, reason=reason_of(error))
        else:
            if type(text) is str:
                self._voice.say(event="done", attempt=key)
            else:
                self._voice.say(event="interrupted", attempt=key, reason="the worker's answer is no text")

    async def _on(self, worker: str, name: str, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        """Run a function as the task of a name on a worker, and nowhere else."""
        future = self._client.submit(
            function,
            *args,
            key=name,
            workers=[worker],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        self._futures[name] = (worker, future)
        try:
            return await future.result()
        finally:
            self._futures.pop(name, None)
            future.release()


def reason_of(error: BaseException) -> str:
    """Say in words why a task came to nothing, without reading what a worker pickled."""
    raw = error.args[0] if error.args else b""
    if isinstance(raw, bytes):  # the exception's pickle, unread
        for name, text in CAUSES.items():
            if name in raw:
                return text
        return "the worker answered with an exception instead of a report"
    return f"{type(error).__name__}: {error}"


async def run_client(spec: Mapping[str, Any], voice: Voice) -> None:
    """Serve until stdin ends."""
    from distributed import Client

    refuse_pickles()
    client = Client(spec["scheduler"], asynchronous=True, set_as_default=False, timeout=spec["start_seconds"])
    await asyncio.wait_for(client, spec["start_seconds"])
    voice.say(event="up", versions=versions())
    try:
        await Gateway(client, voice).serve()
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)
