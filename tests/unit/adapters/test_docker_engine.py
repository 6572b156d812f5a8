"""How we get along with an engine that misbehaves: the real SDK against a small engine of our own on a socket."""

import json
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from timeeval.adapters.docker import engine, usage
from timeeval.adapters.docker.usage import Kills
from timeeval.errors import DockerAdapterInternalError, DockerAlgorithmFailedError, DockerMemoryError

SETTINGS = {"name": "timeeval-x", "image": "lof:1", "command": ["execute-algorithm", "{}"], "detach": True}


class Engine(ThreadingMixIn, UnixStreamServer):
    """One container, and a list of misbehaviours."""

    daemon_threads = True

    def __init__(self, path):
        self.state = {"Status": "created", "ExitCode": 0, "OOMKilled": False, "Error": ""}
        self.requests = []
        self.present = False
        self.ended = threading.Event()
        self.cut_waits = 0
        self.down_until = 0.0
        self.create_seconds = 0.0
        self.start_failure = None
        self.remove_failure = None
        self.log = b"\xffsaid\n"
        self.plans = []
        super().__init__(str(path), Handler)

    def end(self, code=0, **state):
        self.state |= {"Status": "exited", "ExitCode": code, **state}
        self.ended.set()

    def later(self, seconds, action):
        """Do something a while after the container was started."""
        self.plans.append(threading.Timer(seconds, action))

    def go_down(self, seconds):
        self.down_until = time.monotonic() + seconds

    def handle_error(self, request, client_address):
        """Say nothing: clients that go away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *args):
        """Say nothing."""

    def answer(self, status, document=None, raw=None):
        body = raw if raw is not None else b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self):  # noqa: C901, PLR0912 - a table of requests
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        place = self.server
        place.requests.append((self.command, path.rpartition("/")[2]))
        if time.monotonic() < place.down_until:
            self.close_connection = True
            return
        match self.command, path.rpartition("/")[2]:
            case "GET", "version":
                self.answer(200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10"})
            case "POST", "create":
                place.present = True
                time.sleep(place.create_seconds)
                self.answer(201, {"Id": "abc", "Warnings": []})
            case "GET", "json":
                document = {"Id": "abc", "Name": "/timeeval-x", "State": place.state, "Config": {"Tty": False}}
                self.answer(200 if place.present else 404, document if place.present else {"message": "no such thing"})
            case "POST", "start" if place.start_failure:
                self.answer(*place.start_failure)
            case "POST", "start":
                place.state["Status"] = "running"
                for plan in place.plans:
                    plan.start()
                self.answer(204)
            case "POST", "wait" if place.cut_waits:
                place.cut_waits -= 1
                self.close_connection = True
            case "POST", "wait":
                place.ended.wait(20)
                self.answer(200, {"StatusCode": place.state["ExitCode"]})
            case "POST", "stop":
                place.end(137)
                self.answer(204)
            case "GET", "logs" if place.log is None:
                self.answer(501, {"message": "configured logging driver does not support reading"})
            case "GET", "logs":
                self.answer(200, raw=struct.pack(">BxxxL", 1, len(place.log)) + place.log)
            case "DELETE", _ if place.remove_failure:
                self.answer(*place.remove_failure)
            case "DELETE", _:
                place.present = False
                self.answer(204)
            case _:
                self.answer(404, {"message": "no such thing"})

    do_GET = do_POST = do_DELETE = handle_request  # noqa: N815 - names of the base class


@pytest.fixture
def server(tmp_path, monkeypatch):
    path = tmp_path / "engine.sock"
    with Engine(path) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setattr(engine, "_POLL_SECONDS", 0.1)
        monkeypatch.setattr(engine, "_ABSENCE_SECONDS", 1.0)
        yield running
        running.ended.set()
        running.shutdown()
        for ending in (thread, *(plan for plan in running.plans if plan.is_alive())):
            ending.join()


def run(answer_seconds=5, seconds=10.0):
    with engine.connect(answer_seconds) as client:
        return engine.run_to_end(client, dict(SETTINGS), seconds=seconds, grace=1, memory_limit=1024)


def test_a_long_run_is_waited_for_in_short_requests(server, capsys):
    server.later(0.5, lambda: server.end(3, Error="e"))
    end = run()
    assert (end.code, end.error, end.timed_out, end.oom_killed) == (3, "e", False, False)
    assert server.requests.count(("POST", "wait")) > 1
    assert not server.present
    assert "\ufffdsaid\n" in capsys.readouterr().out


def test_connections_that_are_cut_do_not_end_a_run(server):
    server.cut_waits = 3
    server.later(0.3, server.end)
    assert run().code == 0


def test_an_engine_may_restart_meanwhile(server):
    server.later(0.2, lambda: server.go_down(0.5))
    server.later(0.9, lambda: server.end(4))
    assert run().code == 4


def test_an_engine_that_does_not_come_back(server):
    server.later(0.2, lambda: server.go_down(60))
    with pytest.raises(DockerAdapterInternalError, match="cannot be watched"):
        run(seconds=30.0)


def test_time_is_over(server):
    end = run(seconds=0.3)
    assert end.timed_out
    assert ("POST", "stop") in server.requests
    assert not server.present


def test_logs_that_cannot_be_had_do_not_hide_the_end(server, capsys):
    server.log = None
    server.end(5)
    assert run().code == 5
    assert "gives no logs" in capsys.readouterr().out


def test_a_container_that_cannot_be_removed_is_named(server, caplog):
    server.remove_failure = (500, {"message": "device is busy"})
    server.end(0)
    assert run().code == 0
    assert "docker rm -f timeeval-x" in caplog.text
    assert "device is busy" in caplog.text


def test_an_answer_that_comes_too_late_leaves_no_container(server):
    server.create_seconds = 1.5
    with pytest.raises(DockerAdapterInternalError, match="can be created"):
        run(answer_seconds=1)
    assert not server.present


@pytest.mark.parametrize(
    ("ended", "counted", "expected"),
    [((137, False), True, True), ((137, False), False, False), ((137, True), False, True), ((0, False), True, False)],
)
def test_a_kill_that_the_kernel_counted_is_believed_where_the_engine_says_nothing(
    server, monkeypatch, ended, counted, expected
):
    @contextmanager
    def metered(*arguments):
        with usage.metered(*arguments):
            yield Kills(counted)

    usage.taken()
    monkeypatch.setattr(engine, "metered", metered)
    server.later(0.05, lambda: server.end(ended[0], OOMKilled=ended[1]))
    end = run()
    assert (end.code, end.oom_killed) == (ended[0], expected)
    assert usage.taken() == usage.Usage(None, 1024 if expected else None)


@pytest.mark.parametrize(
    ("failure", "state", "kind", "message"),
    [
        ({"message": "exec: not found"}, {"ExitCode": 127}, DockerAlgorithmFailedError, "no command to start"),
        ({"message": "exec: denied"}, {"ExitCode": 126}, DockerAlgorithmFailedError, "no command to start"),
        (
            {"message": "crun: no such file: OCI runtime attempted to invoke a command that was not found"},
            {"ExitCode": 0},
            DockerAlgorithmFailedError,
            "no command to start",
        ),
        (
            {"message": "runc: exec: permission denied: OCI permission denied"},
            {"ExitCode": 0},
            DockerAlgorithmFailedError,
            "no command to start",
        ),
        ({"message": "init was OOM-killed"}, {"ExitCode": 128}, DockerMemoryError, "exceeded memory limit of 1024"),
        ({"message": "broken pipe"}, {"ExitCode": 0, "OOMKilled": True}, DockerMemoryError, "exceeded memory limit"),
        (
            {"message": "no space left"},
            {"ExitCode": 128},
            DockerAdapterInternalError,
            "cannot be started: no space left",
        ),
    ],
)
def test_starts_that_fail(server, failure, state, kind, message):
    server.start_failure = (500, failure)
    server.state |= state
    with pytest.raises(kind, match=message):
        run()
    assert not server.present


def test_what_has_gone_needs_no_removal(server, caplog):
    server.remove_failure = (404, {"message": "no such container"})
    server.end(0)
    assert run().code == 0
    assert caplog.text == ""
