import ast
import asyncio
import dataclasses
import hashlib
import io
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from processes import alive

from provisioning import frames
from provisioning.errors import NodeError, UnreachableError
from provisioning.inventory import Cluster, Limits, Node
from provisioning.launch import Ahead, Conversation, Session, open_session, start
from provisioning.sources import collect
from provisioning.wires import LocalWire

NODE = Node("local", is_driver=True)
TALK = "node_programs.talk"
BANNER = "echo welcome; printf 'no newline at the end'; "


@pytest.fixture
def session() -> Session:
    return Session(NODE, timeout=20)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(NODE,),
        driver=NODE,
        scheduler=NODE,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
        limits=Limits(command_timeout=20),
    )


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_a_program_tells_events_and_returns_a_result(session: Session) -> None:
    events: list[dict[str, Any]] = []
    result = session.call(TALK, {"action": "echo", "events": 3, "text": "grüße"}, on_event=events.append)
    assert result == {"said": "GRÜSSE!", "stdin": ""}
    assert events == [{"number": 0}, {"number": 1}, {"number": 2}]


@pytest.mark.parametrize(
    "command",
    [
        ["/bin/sh"],
        ["dash"],
        ["bash"],
        ["bash", "--posix"],
        ["sh", "-c", BANNER + "exec /bin/sh"],
        ["bash", "-c", BANNER + "echo to stderr >&2; /bin/sh"],
        ["sh", "-c", "head -c 100000 /dev/zero; exec /bin/sh"],
        ["env", "-i", "/bin/sh"],
        ["env", "PYTHONPATH=/nowhere", "PYTHONHOME=/nowhere", "LC_ALL=tlh", "DOCKER_HOST=tcp://elsewhere", "/bin/sh"],
    ],
)
def test_whatever_the_login_shell_does_before(command: list[str]) -> None:
    assert shutil.which(command[0]), f"{command[0]} must be installed to test it"
    with Conversation(LocalWire(command), "n", TALK, {"action": "echo", "events": 1, "text": "a"}, 20) as talk:
        assert talk.receive() == {"number": 0}
        assert talk.receive() is None
        assert talk.result == {"said": "A!", "stdin": ""}


def test_the_program_finds_itself_in_a_known_environment() -> None:
    command = ["env", "DOCKER_HOST=tcp://x", "PYTHONPATH=/x", "PATH=/mine", "/bin/sh", "-c", "umask 077; exec /bin/sh"]
    with Conversation(LocalWire(command), "n", TALK, {"action": "environment", "secret": "hunter2"}, 20) as talk:
        assert talk.receive() is None
        assert talk.result is not None
        told = talk.result
    assert told["umask"] == 0o022
    assert told["cwd"] == "/"
    assert told["environ"]["PATH"].startswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/mine")
    assert told["environ"]["LC_ALL"] == "C.UTF-8"
    assert {"DOCKER_HOST", "PYTHONPATH"} & told["environ"].keys() == set()
    assert "hunter2" not in told["cmdline"] + str(told["environ"])


def test_data_and_events_flow_at_the_same_time(session: Session) -> None:
    # More of both than any pipe holds: who waits for the other would hang.
    content = os.urandom(1 << 20) * 8
    told = session.call(TALK, {"action": "digest"}, data=io.BytesIO(content))
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    pieces = (content[start : start + 7] for start in range(0, 700, 7))
    assert session.call(TALK, {"action": "digest"}, data=pieces)["sha256"] == hashlib.sha256(content[:700]).hexdigest()


def test_a_source_of_data_that_fails_is_the_error(session: Session) -> None:
    def source() -> Iterator[bytes]:
        yield b"first"
        raise FileNotFoundError("the layer is gone")

    with pytest.raises(FileNotFoundError, match="the layer is gone"):
        session.call(TALK, {"action": "digest"}, data=source())


def test_what_a_program_raises(session: Session) -> None:
    with pytest.raises(NodeError, match="talk failed: KeyError: 'gone'") as caught:
        session.call(TALK, {"action": "raise"})
    assert (caught.value.host, caught.value.kind) == ("local", "KeyError")
    assert caught.value.details is not None
    assert 'raise KeyError("gone")' in caught.value.details


def test_what_a_program_knows_a_remedy_for(session: Session) -> None:
    with pytest.raises(NodeError) as caught:
        session.call(TALK, {"action": "refuse"})
    assert str(caught.value) == "local: the disk is full; delete something"
    assert caught.value.kind == "RefusedError"


def test_a_program_that_dies_leaves_its_last_words(session: Session) -> None:
    with pytest.raises(NodeError, match="ended with status 3: last words"):
        session.call(TALK, {"action": "die"})


def test_a_silent_program_is_ended_with_its_children(session: Session) -> None:
    seen: list[dict[str, int]] = []
    with pytest.raises(NodeError, match="said nothing for 1 s"):
        session.call(TALK, {"action": "sleep"}, on_event=seen.append, timeout=1)
    assert gone(seen[0]["pid"])
    assert gone(seen[0]["child"])


def test_a_closed_line_ends_the_program_with_its_children(session: Session) -> None:
    with session.open(TALK, {"action": "sleep"}) as talk:
        told = talk.receive()
    assert told is not None
    assert gone(told["pid"])
    assert gone(told["child"])


def test_question_and_answer(session: Session) -> None:
    with session.open(TALK, {"action": "chat"}) as talk:
        talk.send({"a": 1})
        assert talk.receive() == {"heard": {"a": 1}}
        talk.send({"last": True})
        assert talk.receive() == {"heard": {"last": True}}
        assert talk.receive() is None
        assert talk.result == {"bye": True}


def test_a_node_without_python(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr(frames, "FIRST_LINE", frames.FIRST_LINE.replace(b"python3", b"no-such-python3"))
    with pytest.raises(NodeError, match=r"no Python 3\.8 or later") as caught:
        session.call(TALK, {"action": "chat"})
    assert caught.value.remedy == "install python3 there"


def test_a_python_that_is_too_old_hands_over_to_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, session: Session, tmp_path: Path
) -> None:
    newer = f"python3.{min(sys.version_info.minor, 13)}"
    for name in ("python3", newer):
        (tmp_path / name).symlink_to(sys.executable)
    only_old = frames.FIRST_LINE.replace(b"if sys.version_info < (3, 8)", b'if sys.executable.endswith("/python3")')
    only_old = only_old.replace(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bytes(tmp_path))
    monkeypatch.setattr(frames, "FIRST_LINE", only_old)
    assert session.call(TALK, {"action": "environment"})["cmdline"].startswith(newer)
    (tmp_path / newer).unlink()
    monkeypatch.setattr(frames, "FIRST_LINE", only_old.replace(b"${PATH:+:$PATH}", b""))
    with pytest.raises(NodeError, match=r"no Python 3\.8 or later"):
        session.call(TALK, {"action": "environment"})


def test_a_shell_that_refuses() -> None:
    with pytest.raises(NodeError, match="its login shell ended with status 1: This account is not available"):
        Conversation(LocalWire(["sh", "-c", "echo This account is not available; exit 1"]), "n", TALK, {}, 20)


def test_a_shell_that_prints_without_end() -> None:
    with pytest.raises(NodeError, match="prints without end"):
        Conversation(LocalWire(["sh", "-c", "yes | head -c 2000000"]), "n", TALK, {}, 20)


def test_only_a_constant_stands_on_a_command_line() -> None:
    assert frames.SHELL == "/bin/sh"
    assert frames.FIRST_LINE.count(b"{") == frames.FIRST_LINE.count(b"${PATH:+:$PATH}")


def test_the_decoder_takes_bytes_as_they_come() -> None:
    stream = b"banner\0" + frames.MARKER + b"ready\n" + frames.control({"a": 1}) + frames.control({"b": "x" * 300})
    decoder = frames.Decoder()
    messages = []
    for byte in stream:
        decoder.feed(bytes([byte]))
        if (message := decoder.message()) is not None:
            messages.append(message)
    assert decoder.noise == b"banner\0"
    assert decoder.word == "ready"
    assert messages == [{"a": 1}, {"b": "x" * 300}]


@pytest.mark.parametrize(
    "garbage", [b"oops, a print\n", b"\xff\xff\xff\xffJ", b"\0\0\0\2J[]", b"\0\1\0\0J" + b"[" * 65536]
)
def test_what_is_no_frame_is_refused(garbage: bytes) -> None:
    decoder = frames.Decoder()
    decoder.feed(frames.MARKER + b"ready\n" + garbage)
    with pytest.raises(ValueError, match="no message"):
        decoder.message()


@pytest.mark.parametrize(
    "message",
    [{"event": 5}, {"event": None}, {"error": "x"}, {"error": []}, {"result": None}, {"result": [1]}, {}, {"have": 1}],
)
def test_what_is_no_answer_is_the_nodes_error(session: Session, message: dict[str, Any]) -> None:
    with pytest.raises(NodeError, match="talk said what makes no sense") as caught:
        session.call(TALK, {"action": "say", "message": message})
    assert caught.value.host == NODE.name
    assert caught.value.remedy is not None


def test_an_error_that_says_little_is_still_told(session: Session) -> None:
    with pytest.raises(NodeError, match="talk failed: it does not say why"):
        session.call(TALK, {"action": "say", "message": {"error": {"remedy": ""}}})


def test_sources_are_the_closure_of_imports() -> None:
    assert set(collect(TALK)) == {TALK, "node_programs.helper"}
    assert set(collect("provisioning.node.run_rsync")) == {"provisioning.node.run_rsync"}


def test_a_program_that_needs_other_packages_is_refused_on_the_driver() -> None:
    with pytest.raises(ValueError, match="imports pytest, which no node has"):
        collect("test_launch")
    with pytest.raises(ValueError, match="no module"):
        collect("node_programs.missing")


@pytest.mark.parametrize("private", [{"_sha2"}, {"_sha256", "_sha512"}], ids=["3.11", "3.12"])
def test_programs_travel_from_a_driver_of_any_version(private: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdlib_module_names", sys.stdlib_module_names - private)
    for file in Path(frames.__file__).with_name("node").glob("*.py"):
        assert collect.__globals__["_collect"].__wrapped__(f"provisioning.node.{file.stem}")


@pytest.mark.parametrize(
    "file", sorted(Path(frames.__file__).with_name("node").glob("*.py")), ids=lambda file: file.stem
)
def test_programs_for_nodes_are_written_for_the_oldest_python(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    # New spellings of types may stand in annotations only, and those are never evaluated then.
    assert future or len(tree.body) <= 1


def test_a_session_with_the_drivers_own_node_needs_no_connection(cluster: Cluster) -> None:
    with open_session(cluster, NODE) as session:
        assert session.call(TALK, {"action": "nothing"}) == {}


def test_long_lived_programs(cluster: Cluster) -> None:
    async def run() -> None:
        process = await start(cluster, NODE, TALK, {"action": "chat"})
        await process.send({"a": 1})
        assert await process.receive() == {"heard": {"a": 1}}
        await process.send({"last": True})
        assert await process.receive() == {"heard": {"last": True}}
        assert await process.receive() is None
        assert process.result == {"bye": True}
        assert await process.wait() == 0
        await process.close()

    asyncio.run(run())


def test_long_lived_programs_that_fail(cluster: Cluster) -> None:
    async def run(action: str, error: type[Exception], message: str) -> None:
        process = await start(cluster, NODE, TALK, {"action": action})
        with pytest.raises(error, match=message):
            await process.receive()
        await process.close()

    asyncio.run(run("raise", NodeError, "KeyError: 'gone'"))
    asyncio.run(run("die", NodeError, "ended with status 3: last words"))


def test_closing_a_long_lived_program_ends_it_with_its_children(cluster: Cluster) -> None:
    async def run() -> dict[str, Any]:
        process = await start(cluster, NODE, TALK, {"action": "sleep"})
        told = await process.receive()
        await process.close()
        assert told is not None
        return told

    told = asyncio.run(run())
    assert gone(told["pid"])
    assert gone(told["child"])


def test_nobody_listens(cluster: Cluster) -> None:
    node = Node("nobody", address="127.0.0.1", port=1)
    cluster = dataclasses.replace(cluster, nodes=(node,))
    with pytest.raises(UnreachableError, match=r"nobody: 127\.0\.0\.1:1 refuses the connection"):
        open_session(cluster, node)
    with pytest.raises(UnreachableError, match=r"nobody: 127\.0\.0\.1:1 refuses the connection"):
        asyncio.run(start(cluster, node, TALK, {}))


def test_who_listens_and_says_nothing_is_given_up(cluster: Cluster) -> None:
    """As a machine does that has run out of memory: the kernel answers, nobody else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node("dumb", address="127.0.0.1", port=server.getsockname()[1])
        limits = dataclasses.replace(cluster.limits, connect_timeout=1)
        cluster = dataclasses.replace(cluster, nodes=(node,), limits=limits)
        for attempt in (lambda: open_session(cluster, node), lambda: asyncio.run(start(cluster, node, TALK, {}))):
            with pytest.raises(UnreachableError, match=r"^dumb: .*did not answer within") as caught:
                attempt()
            assert caught.value.remedy


@pytest.fixture(params=["when it is wanted", "ahead"])
def by_ssh(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], Session]:
    """Reach a node by an `ssh` that counts its starts, and then does what a test says."""
    real = shutil.which("ssh")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    node = Node("far", address="127.0.0.1", port=1)

    def opened(what: str) -> Session:
        program = tmp_path / "ssh"
        program.write_text(f'#!/bin/sh\n[ "$1" = -G ] && exec {real} "$@"\necho >> {tmp_path}/starts\n{what}\n')
        program.chmod(0o755)
        alone = dataclasses.replace(cluster, nodes=(node,))
        if request.param != "ahead":
            return open_session(alone, node)
        with Ahead(alone, alone.nodes) as ahead:
            return ahead.open(node)

    return opened


def test_who_was_called_ahead_and_is_not_needed_is_hung_up_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -G ] && exec {shutil.which("ssh")} "$@"\necho $$ >> {tmp_path}/pids\nexec /bin/sh\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    nodes = tuple(Node(f"far{number}", address="127.0.0.1", port=1) for number in range(3))
    two = dataclasses.replace(cluster, nodes=nodes, limits=dataclasses.replace(cluster.limits, parallel=2))
    with Ahead(two, nodes) as ahead, ahead.open(nodes[0]):
        pass
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2  # never more at a time than the cluster file allows
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with Ahead(two, nodes, begin=False):
        pass
    assert len((tmp_path / "pids").read_text().split()) == 2


def test_a_login_is_the_begin_of_the_first_program(by_ssh: Callable[[str], Session], tmp_path: Path) -> None:
    with by_ssh("exec /bin/sh") as session:
        for count in (1, 2):
            assert session.call(TALK, {"action": "nothing"}) == {}
            assert len((tmp_path / "starts").read_text().splitlines()) == count


def test_who_is_not_let_in_by_openssh_is_told_why(by_ssh: Callable[[str], Session]) -> None:
    with pytest.raises(UnreachableError, match=r"far: .* does not let"):
        by_ssh("echo 'me@far: Permission denied (publickey).' >&2; exit 255")


def test_a_server_of_old_algorithms_is_told_although_openssh_is_silent_about_it(
    by_ssh: Callable[[str], Session],
) -> None:
    negotiation = "Unable to negotiate with 127.0.0.1 port 1: no matching host key type found. Their offer: ssh-rsa"
    with pytest.raises(UnreachableError, match=r"far: .* only algorithms that are no longer safe"):
        by_ssh(f"case \"$*\" in *LogLevel=INFO*) echo '{negotiation}' >&2 ;; esac; exit 255")


def test_a_connection_of_openssh_that_ends_is_lost(by_ssh: Callable[[str], Session], tmp_path: Path) -> None:
    end = tmp_path / "end"
    os.mkfifo(end)
    with (
        by_ssh(f"exec 3<&0; /bin/sh <&3 & read line < {end}; kill -9 $!; exit 255") as session,
        session.open(TALK, {"action": "chat"}) as talk,
    ):
        end.write_text("now\n")
        with pytest.raises(UnreachableError, match="the connection was lost while"):
            talk.receive()


def test_what_still_runs_ends_with_its_session(by_ssh: Callable[[str], Session]) -> None:
    with by_ssh("exec /bin/sh") as session:
        told = session.open(TALK, {"action": "sleep"}).receive()
    assert told is not None
    assert gone(told["pid"])
    assert gone(told["child"])
