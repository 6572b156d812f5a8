"""Programs on real nodes: whatever the login shell does, and whatever becomes of the driver."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioning.errors import NodeError
from provisioning.inventory import load
from provisioning.launch import open_session, start
from provisioning.rsh import handover

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox
    from provisioning.sandbox.node import SandboxNode

PROGRAMS = Path(__file__).resolve().parents[1] / "unit"
TALK = "node_programs.talk"
BANNER = "Welcome! All use is logged, quota: 93 - please clean up."

DRIVER = """
import sys
from pathlib import Path
from provisioning.inventory import load
from provisioning.launch import open_session
cluster = load(Path(sys.argv[1]))
with open_session(cluster, cluster.node("node1")) as session:
    def tell(event):
        print(event["pid"], event["child"], flush=True)
    session.call("node_programs.talk", {"action": "sleep"}, on_event=tell)
"""


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAMS))


@pytest.fixture(params=["tcsh", "fish", "dash", "bash"])
def shell(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    with sandbox.login_shell("node1", request.param, "" if request.param == "dash" else BANNER):
        yield request.param


def runs(node: SandboxNode, pid: str) -> bool:
    return node.exec(["kill", "-0", pid], check=False).returncode == 0


def test_every_stack_passes_every_login_shell(sandbox: Sandbox, shell: str, tmp_path: Path) -> None:
    cluster = load(sandbox.cluster_file)
    node = cluster.node("node1")
    content = os.urandom(300_000)
    with open_session(cluster, node) as session:
        told = session.call(TALK, {"action": "digest"}, data=io.BytesIO(content))
        assert told["sha256"] == hashlib.sha256(content).hexdigest()
        assert session.call(TALK, {"action": "echo", "events": 0, "text": "a"})["said"] == "A!"

    async def chat() -> None:
        process = await start(cluster, node, TALK, {"action": "chat"})
        await process.send({"last": True})
        assert await process.receive() == {"heard": {"last": True}}
        assert await process.receive() is None
        await process.close()

    asyncio.run(chat())
    (tmp_path / "it's $HOME").write_bytes(content)
    target = f"/tmp/timeeval-shell-{os.getpid()}"
    with handover(cluster, node) as given:
        there = ["rsync", "-s", "-r", f"{tmp_path}/", f"node:{target}/"]
        back = ["rsync", "-s", "-r", "--remove-source-files", f"node:{target}/", f"{tmp_path}/back/"]
        for argv in (there, back):
            done = subprocess.run(argv, env=os.environ | given.env, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), shell
    assert (tmp_path / "back" / "it's $HOME").read_bytes() == content
    sandbox.node("node1").exec(["rm", "-r", target])


def test_secrets_are_seen_by_no_other_user(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)

    async def run() -> str:
        process = await start(cluster, cluster.node("node1"), TALK, {"action": "chat", "secret": "hunter2hunter2"})
        await process.send({"hello": 1})
        await process.receive()
        everything = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
        told = await asyncio.to_thread(sandbox.node("node1").exec, ["sh", "-c", everything], check=False)
        await process.close()
        return str(told.stdout)

    told = asyncio.run(run())
    assert "timeeval-node/1" in told
    assert "hunter2hunter2" not in told


def test_a_killed_driver_leaves_nothing_running(sandbox: Sandbox) -> None:
    argv = [sys.executable, "-c", DRIVER, str(sandbox.cluster_file)]
    environment = os.environ | {"PYTHONPATH": str(PROGRAMS)}
    node = sandbox.node("node1")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        program, child = driver.stdout.readline().split()
        assert runs(node, program)
        assert runs(node, child)
        driver.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (runs(node, program) or runs(node, child)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not runs(node, program)
    assert not runs(node, child)


def test_errors_of_a_program_name_the_node(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)

    def fail(action: str) -> NodeError:
        with open_session(cluster, cluster.node("node3")) as session, pytest.raises(NodeError) as caught:
            session.call(TALK, {"action": action})
        return caught.value

    assert str(fail("refuse")) == "node3: the disk is full; delete something"
    assert "talk failed: KeyError: 'gone'" in str(fail("raise"))
    assert "ended with status 3: last words" in str(fail("die"))


def test_many_programs_share_one_connection(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)
    with open_session(cluster, cluster.node("node1")) as session:
        lock = session.open(TALK, {"action": "chat"})
        answers: list[dict[str, Any]] = [
            session.call(TALK, {"action": "echo", "events": 1, "text": str(number)}) for number in range(5)
        ]
        lock.send({"last": True})
        assert lock.receive() == {"heard": {"last": True}}
        assert lock.receive() is None
    assert [answer["said"] for answer in answers] == ["0!", "1!", "2!", "3!", "4!"]
