"""The client process of a run on a Dask scheduler that somebody else runs.

Like the gateway it speaks JSON lines with the driver and loads no pickle that names anything. It tells which workers
there are, carries attempts to them, and never ends, restarts or retires one.

Messages of the driver: ``{"do": "part" | "carry" | "cancel" | "ask" | "fetch" | "keep", ...}``; to it:
``{"event": "up" | "workers" | "report" | "interrupted" | "answer", ...}``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.engines import joined_worker
from timeeval.engines.gateway import Gateway, reason_of, refuse_pickles
from timeeval.engines.joined_link import machine_of
from timeeval.engines.worker_main import CLOSE_SECONDS, Voice, incoming, versions
from timeeval.errors import EngineError
from timeeval.evaluation import forbid_job

if TYPE_CHECKING:
    from distributed import Client

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
BEAT_SECONDS = 15.0
LEASE_SECONDS = 120.0
PART_SECONDS = 120.0


class JoinedGateway(Gateway):
    """Carries attempts to workers of others, and says which of them come and go."""

    def __init__(self, client: Client, voice: Voice) -> None:
        super().__init__(client, voice)
        self._known: dict[str, dict[str, Any]] = {}  # what each worker says of itself, by its address
        self._parts: dict[str, bytes] = {}  # what jobs have in common, by its SHA-256
        self._held: dict[tuple[str, str], asyncio.Task[None]] = {}  # what a worker has of that, or gets
        self._sent: set[tuple[str, str]] = set()  # machines that have had a part
        self._passing: dict[tuple[str, str], asyncio.Lock] = {}  # so that its workers do not all get it at once
        self._open: dict[str, list[str]] = {}  # attempts of each task that were not reported yet, by its key

    async def _obey(self) -> None:
        self._client.subscribe_topic(joined_worker.REPORTS, self._hear)
        watching = asyncio.create_task(self._watch())
        try:
            async for message in incoming():
                acts: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
                    "part": self._take_part,
                    "carry": self._bring,
                    "cancel": self._cancel,
                    "ask": self._ask,
                    "fetch": self._fetch,
                    "keep": self._keep,
                }
                task = asyncio.create_task(acts[message.pop("do")](**message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            watching.cancel()

    # --- workers --------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Tell of the workers whenever they change, each with what it says of itself."""
        known = self._known
        told: object = None
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    seen = (await self._client.scheduler.identity())["workers"]
                    new = [address for address in seen if address not in known]
                    known.update(zip(new, await asyncio.gather(*map(self._greet, new)), strict=True))
            except (OSError, TimeoutError):
                self._scheduler_lost.set()
                return
            for address in known.keys() - seen.keys():
                del known[address]
                self._forget_parts(address)
                self._lose(address)
            workers = {a: {"threads": seen[a]["nthreads"], **known[a]} for a in seen if known[a] is not None}
            if workers != told:
                told = workers
                self._voice.say(event="workers", workers=workers)
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep(self, run: str, worker: str) -> None:
        """Tell a worker again and again that the driver of a run lives, until the worker is gone."""
        while worker in self._known:
            with contextlib.suppress(Exception):  # it may be leaving, or busy; the lease outlasts some lost beats
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._client.run(joined_worker.beat, run, LEASE_SECONDS, workers=[worker])
            await asyncio.sleep(BEAT_SECONDS)

    async def _greet(self, address: str) -> dict[str, Any]:
        try:
            answers = await self._client.run(eval, joined_worker.GREET, workers=[address])
            answer: dict[str, Any] = json.loads(answers[address])
        except Exception as error:  # noqa: BLE001 - a worker that just left, or whatever it is that answers there
            return {"hostname": "", "error": f"it did not answer: {type(error).__name__}: {error}"}
        return answer

    def _lose(self, address: str) -> None:
        for key, (worker, future) in list(self._futures.items()):
            if worker == address:
                if (attempts := key.removesuffix("/again")) in self._open:
                    self._interrupted(attempts, "its Dask worker is gone")
                task = asyncio.ensure_future(future.cancel())  # Dask would start it anew when the worker came back
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    # --- what jobs have in common ---------------------------------------------------------------------------------

    async def _take_part(self, part: str, data: str) -> None:
        self._parts[part] = base64.b64decode(data)

    async def _provide(self, run: str, worker: str, parts: list[str]) -> None:
        """Let a worker have the parts of jobs before they come; each is sent to its machine once."""
        for part in parts:
            if (worker, part) not in self._held:
                self._held[worker, part] = asyncio.ensure_future(self._give(run, worker, part))
        try:
            await asyncio.gather(*(self._held[worker, part] for part in parts))
        except BaseException:
            self._forget_parts(worker)
            raise

    async def _give(self, run: str, worker: str, part: str) -> None:
        """Let a worker have a part: of another one on its machine, else of us."""
        known = self._known.get(worker)
        place = (machine_of(known) if known else worker, part)
        async with asyncio.timeout(PART_SECONDS), self._passing.setdefault(place, asyncio.Lock()):
            if place in self._sent and await self._hold(run, worker, part, None):
                return
            await self._hold(run, worker, part, self._parts[part])
            self._sent.add(place)

    async def _hold(self, run: str, worker: str, part: str, content: bytes | None) -> bool:
        answers = await self._client.run(joined_worker.hold_part, run, part, content, workers=[worker])
        return answers.get(worker) is True

    def _forget_parts(self, worker: str) -> None:
        for known in [known for known in self._held if known[0] == worker]:
            del self._held[known]

    # --- attempts -------------------------------------------------------------------------------------------------

    async def _bring(
        self,
        *,
        run: str,
        attempts: list[str],
        parts: list[str],
        task: str,
        jobs: list[str],
        details: list[str],
        worker: str,
    ) -> None:
        """Bring attempts to a worker; here reports come through Dask, for nothing else of ours is there."""
        key = attempts[0]
        self._open[key] = list(attempts)
        single = len(attempts) == 1
        bundle = {"key": key, "attempts": details, "run": run, "parts": parts}
        work = (joined_worker.execute_all, task, [base64.b64decode(job) for job in jobs], json.dumps(bundle))
        try:
            await self._provide(run, worker, parts)
            text = await self._on(worker, key, *work)
            if text == joined_worker.LACKS:  # it was started anew, and listens where it did before
                self._forget_parts(worker)
                await self._provide(run, worker, parts)
                text = await self._on(worker, f"{key}/again", *work)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - what is raised is the machinery's
            if "scheduler-connection-lost" in str(error):
                self._scheduler_lost.set()
                return
            self._interrupted(key, reason_of(error))
        else:
            if type(text) is not str:
                self._interrupted(key, "the worker's answer is no report")
            elif single:
                self._report(key, 0, text)
            # those of a bundle were told one by one, by events that came before this answer
            self._interrupted(key, "its worker did not report it")
        finally:
            self._open.pop(key, None)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take in the report of one of a bundle; what is not of that form is nobody's."""
        match event:
            case (_, (str(key), int(index), str(text))) if key in self._open:
                self._report(key, index, text)

    def _report(self, key: str, index: int, text: str) -> None:
        attempts = self._open[key]
        if 0 <= index < len(attempts) and attempts[index]:
            self._voice.say(event="report", attempt=attempts[index], text=text)
            attempts[index] = ""

    def _interrupted(self, key: str, reason: str) -> None:
        for index, attempt in enumerate(self._open[key]):
            if attempt:
                self._voice.say(event="interrupted", attempt=attempt, reason=reason)
                self._open[key][index] = ""

    async def _cancel(self, attempt: str, worker: str) -> None:
        """Kill an attempt's process below its worker; what has not begun there never will."""
        running = False
        with contextlib.suppress(Exception):  # the worker is gone, and what ran on it with it
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await self._client.run(forbid_job, attempt, workers=[worker])
                running = answers.get(worker) is True
        if running:
            return  # its report says so
        for attempts in self._open.values():
            if attempt in attempts:
                attempts[attempts.index(attempt)] = ""
                self._voice.say(event="interrupted", attempt=attempt, reason="cancelled", cancelled=True)

    # --- questions and files --------------------------------------------------------------------------------------

    async def _ask(self, question: str, worker: str, task: str, job: Any) -> None:  # noqa: ANN401 - JSON
        try:
            text = await self._call(worker, task, job)
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear it
            self._voice.say(event="answer", question=question, error=_explained(error))
        else:
            self._voice.say(event="answer", question=question, text=text)

    async def _call(self, worker: str, task: str, job: Any) -> str:  # noqa: ANN401 - JSON
        answer = json.loads(await self._pinned(worker, joined_worker.answer, task, json.dumps(job).encode()))
        if "error" in answer:
            raise EngineError(answer["error"])
        return str(answer["text"])

    async def _pinned(self, worker: str, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        return await self._on(worker, f"timeeval-{secrets.token_hex(8)}", function, *args)

    async def _fetch(self, question: str, worker: str, there: dict[str, Any], here: dict[str, str]) -> None:
        try:
            await self._fetch_file(worker, there, Path(here["target"]), Path(here["stage"]))
        except Exception as error:  # noqa: BLE001 - as above
            self._voice.say(event="answer", question=question, error=_explained(error))
        else:
            self._voice.say(event="answer", question=question, text="")

    async def _fetch_file(self, worker: str, there: Mapping[str, Any], target: Path, stage: Path) -> None:
        """Bring one file in bounded pieces; it gets its name when its content is the announced one."""
        path, size = _checked(there["path"]), int(there["size"])
        os.makedirs(stage, exist_ok=True)  # noqa: PTH103 - nobody else waits for this process
        partial = stage / secrets.token_hex(8)
        found = hashlib.sha256()
        try:
            with partial.open("xb") as file:
                for offset in range(0, size, joined_worker.PIECE):
                    data = await self._pinned(worker, joined_worker.piece, there["root"], path, offset)
                    if type(data) is not bytes or len(data) > joined_worker.PIECE:
                        raise EngineError(f"what came of {path} is not a piece of a file")
                    found.update(data)
                    file.write(data)
            if found.hexdigest() != there["digest"]:
                raise EngineError(f"{path} changed while it was fetched")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _checked(path: object) -> str:
    """Return a path that stays below its folder."""
    if not isinstance(path, str) or not path or "\0" in path or path.startswith("/"):
        raise EngineError(f"a worker named a file {path!r}, which is no relative path")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise EngineError(f"a worker named a file {path!r}, which leaves its folder")
    return path


def _explained(error: Exception) -> str:
    return str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"


async def run_joined(spec: Mapping[str, Any], voice: Voice) -> None:
    """Serve until stdin ends; closing the client is all that is done to the scheduler."""
    from distributed import Client

    refuse_pickles()
    client = Client(spec["scheduler"], asynchronous=True, set_as_default=False, timeout=spec["start_seconds"])
    await asyncio.wait_for(client, spec["start_seconds"])
    voice.say(event="up", versions=versions())
    try:
        await JoinedGateway(client, voice).serve()
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)
