import threading
import time

import pytest

from provisioning.errors import NodeError, ProvisionError
from provisioning.inventory import Node
from provisioning.parallel import for_each

NODES = [Node(f"n{number}") for number in range(8)]


def test_one_nodes_failure_is_its_own() -> None:
    def work(node: Node) -> str:
        if node.name == "n1":
            raise NodeError("the disk is full")
        if node.name == "n2":
            raise ZeroDivisionError("x")
        return node.name.upper()

    seen: list[str] = []
    found = for_each(NODES, work, parallel=3, progress=lambda node, _: seen.append(node.name))
    assert list(found) == [node.name for node in NODES]
    assert sorted(seen) == list(found)
    assert found["n0"] == "N0"
    full, defect = found["n1"], found["n2"]
    assert isinstance(full, NodeError)
    assert full.host == "n1"
    assert isinstance(defect, ProvisionError)
    assert defect.exit_code == 1
    assert "ZeroDivisionError" in str(defect)
    assert "in work" in (defect.details or "")


def test_no_more_at_a_time_than_asked_for() -> None:
    running, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(3, timeout=10)

    def work(node: Node) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if int(node.name[1:]) < 6:
            together.wait()
        with lock:
            running[0] -= 1

    assert set(for_each(NODES, work, parallel=3).values()) == {None}
    assert most[0] == 3


def test_who_is_not_done_in_time_is_left_behind() -> None:
    release = threading.Event()
    found = for_each(NODES[:2], lambda node: node.name == "n0" or release.wait(30), parallel=2, timeout=0.3)
    release.set()
    assert found["n0"] is True
    assert "was not done within 0.3 s" in str(found["n1"])


def test_an_interrupt_is_raised_at_once() -> None:
    release = threading.Event()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def work(node: Node) -> None:
        if node.name != "n0":
            release.wait(30)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for_each(NODES, work, parallel=8, progress=interrupt)
    release.set()
    # Not a matter of speed: the other threads would have been waited for until their 30 s are over.
    assert time.monotonic() - began < 20
