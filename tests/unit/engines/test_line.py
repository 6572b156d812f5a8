"""The driver's line to a guard that lies or is none: a bounded answer, and nothing of it is believed."""

import asyncio
import time

import pytest

from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.hosts import Back, Cut, Ended, Gone, GuardedHost
from timeeval.engines.launching import Host
from timeeval.errors import EngineError

SECONDS = 20
READY = {"is": "ready", "boot": "b", "address": "127.0.0.1", "swept": [], "ack": 0}


class Stranger:
    """What stands at the other end of a connection: it says what a test wants, and ends when it is asked to."""

    def __init__(self, *said):
        self.said = asyncio.Queue()
        for message in said:
            self.said.put_nowait(message)

    async def receive(self):
        return await self.said.get()

    async def send(self, message):
        if message["do"] == "quit":
            self.said.put_nowait({"is": "done", "n": 1000, "reason": "asked to", "problem": ""})
            self.said.put_nowait(None)

    async def close(self):
        pass

    def last_words(self):
        return ""


class Strangers:
    """A launcher that gives one stranger after the other; none is left after the last."""

    def __init__(self, *strangers):
        self.strangers = list(strangers)

    async def start(self, host, program, args):
        if not self.strangers:
            raise EngineError("nobody is there any more", host=host.name)
        return self.strangers.pop(0)


def guarded(news, lease=0.8):
    host = Host("node1", 1, ("127.0.0.1",), "/nowhere/python", "/nowhere")
    return GuardedHost(host, "r1", DaskSettings(lease=lease, beat=0.1, start_seconds=5), news.append)


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the line makes it true
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"is": "said", "n": 1},
        {"is": "said", "n": 1, "child": "workers", "message": "no document"},
        {"is": "ended", "n": "one", "child": "workers"},
        {"is": ["beat"]},
        {"is": "beat"},
        {"is": "beat", "at": "now", "ack": 0},
        {"is": "cancelled", "n": 1},
    ],
)
def test_what_is_no_message_breaks_the_connection_and_the_host_is_lost_in_time(message):
    news = []

    async def scenario():
        host = guarded(news)
        await host.start(Strangers(Stranger(READY, message)))
        host._starting["workers"] = asyncio.get_running_loop().create_future()
        await until(lambda: any(isinstance(one, Gone) for one in news))
        await host.stop()

    asyncio.run(scenario())
    assert [type(one) for one in news] == [Cut, Gone]
    assert "no message of a guard" in news[0].reason


def test_the_next_connection_goes_on_after_one_wrong_message():
    news = []

    async def scenario():
        host = guarded(news, lease=10.0)
        await host.start(Strangers(Stranger(READY, {"is": "said", "n": 1}), Stranger(READY)))
        await until(lambda: any(isinstance(one, Back) for one in news))
        await host.stop()

    asyncio.run(scenario())
    assert [type(one) for one in news] == [Cut, Back]


@pytest.mark.parametrize("greeting", [{"is": "ready"}, {}, {"is": "ready", "boot": "b", "ack": "all"}, {"is": "beat"}])
def test_a_greeting_of_another_shape_is_an_error_of_its_host(greeting):
    async def scenario():
        host = guarded([])
        with pytest.raises(EngineError, match=r"^node1: "):
            await host.start(Strangers(Stranger(greeting)))
        await host.stop()

    asyncio.run(scenario())


def test_a_guard_cannot_prolong_its_own_lease():
    news = []

    async def scenario():
        host = guarded(news)
        far = {"is": "beat", "at": time.monotonic() + 10_000_000, "ack": 0}
        await host.start(Strangers(Stranger(READY, far, {"is": "beat", "at": float("inf"), "ack": 0})))
        await until(lambda: any(isinstance(one, Gone) for one in news))
        await host.stop()

    asyncio.run(scenario())
    assert news[0].fenced_after < SECONDS + 20


def test_what_a_node_says_does_nothing_to_a_terminal(caplog):
    news = []

    async def scenario():
        host = guarded(news)
        ended = {"is": "ended", "n": 1, "child": "workers", "status": 1, "tail": "\x1b[2Jgone \udcff"}
        done = {"is": "done", "n": 2, "reason": "\x1b[2Jgone", "problem": ""}
        await host.start(Strangers(Stranger({**READY, "swept": ["\x1b[2Jr0"]}, ended, done)))
        await until(lambda: any(isinstance(one, Gone) for one in news))
        await host.stop()

    asyncio.run(scenario())
    assert all("\x1b" not in one.reason for one in news)
    assert "\x1b" not in caplog.text


class Failing(Stranger):
    """A guard whose child does not come up: it says why, and then it ends."""

    async def send(self, message):
        await super().send(message)
        if message["do"] == "spawn":
            cause = "Nanny failed to start. <- OSError: Timed out trying to connect to tls://10.0.0.1:8786 after 10 s"
            failed = {"event": "failed", "error": cause}
            self.said.put_nowait({"is": "said", "n": 1, "child": "workers", "message": failed})
            self.said.put_nowait({"is": "ended", "n": 2, "child": "workers", "status": 1, "tail": ""})
            self.said.put_nowait({"is": "ended", "n": 3, "child": "scheduler", "status": -9, "tail": ""})


def test_the_end_of_a_child_that_did_not_come_up_is_no_news():
    news = []

    async def scenario():
        host = guarded(news, lease=10.0)
        await host.start(Strangers(Failing(READY)))
        with pytest.raises(EngineError, match=r"^node1: workers (.|\n)*a firewall between the nodes"):
            await host.spawn("workers", {})
        await until(lambda: news)
        await host.stop()

    asyncio.run(scenario())
    assert [(type(one), one.child) for one in news] == [(Ended, "scheduler")]
