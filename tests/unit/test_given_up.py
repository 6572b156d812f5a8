"""Connections that are given up while they are made leave no socket behind."""

import asyncio
import socket
import threading

import pytest

from provisioning.inventory import Node
from provisioning.process import _Way
from provisioning.ssh import Endpoint


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield listening


def endpoint(server):
    host, port = server.getsockname()
    return Endpoint(Node("node1"), host, port, "bench", (), ())


def test_what_comes_after_it_was_given_up_is_closed(server):
    way = _Way(endpoint(server))
    way.give_up()
    assert way.make().fileno() == -1
    with server.accept()[0] as accepted:
        assert accepted.recv(1) == b""


def test_what_is_there_when_it_is_given_up_is_closed(server):
    way = _Way(endpoint(server))
    made = way.make()
    assert made.fileno() >= 0
    way.give_up()
    assert made.fileno() == -1


def test_a_cancelled_wait_closes_what_its_thread_still_makes(server):
    release = threading.Event()
    way = _Way(endpoint(server))
    results = []

    def make():
        release.wait(20)
        results.append(way.make())

    async def scenario():
        task = asyncio.create_task(asyncio.to_thread(make))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        way.give_up()
        release.set()

    asyncio.run(scenario())
    assert [made.fileno() for made in results] == [-1]
