"""Who holds a port, as the message about a taken one says it."""

import getpass
import os
import socket

import pytest

from timeeval.engines.ports import held, holder


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_holder_of_a_port_is_named_with_its_process_and_user(taken):
    assert holder(taken).startswith(f"process {os.getpid()} (")
    assert holder(taken).endswith(f") of {getpass.getuser()}")


def test_a_free_port_has_no_holder(taken):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # it does not listen
        assert holder(bound.getsockname()[1]) == ""


def test_of_the_ports_a_process_wants_those_that_are_taken_are_told(taken):
    text = held({"port": taken, "worker_port": f"{taken}:{taken}"})

    assert text == f"port {taken} is held by {holder(taken)}"
    assert held({"port": 0, "worker_port": "0"}) == ""
