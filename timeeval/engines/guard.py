"""The guard: what stands on a node between the driver and everything that a run starts there.

Its source is sent to the node and run by whatever Python (3.8 or newer) is found there, so it knows the standard
library only. It starts children of `timeeval.engines.worker_main` when told to, carries their JSON lines to the driver,
and promises one thing: when the driver says so, dies, falls silent for longer than the lease, or when the guard itself
dies, nothing of the run is left on this node: no process, no container, no file below the run folder.

Messages of the driver: ``{"do": "beat" | "spawn" | "tell" | "cancel" | "end" | "quit"}``; of the guard:
``{"is": "ready" | "said" | "ended" | "cancelled" | "ending" | "done"}``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from timeeval.engines import sweeping

MINDS_DRIVER = True  # for the launcher: the end of the driver is answered here
TAIL_BYTES = 4096
PR_SET_CHILD_SUBREAPER = 36


def bindable(candidates: Iterable[str]) -> str | None:
    """Return the first address of `candidates` that belongs to this machine."""
    for address in candidates:
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((address, 0))
        except OSError:
            continue
        return address
    return None


def tail(path: Path) -> str:
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


class Channel(Protocol):
    """The launcher's line to the driver."""

    def receive(self) -> dict[str, Any] | None:
        """Return the next message of the driver, None when there will be none."""
        ...

    def event(self, message: dict[str, Any]) -> None:
        """Send a message to the driver."""
        ...


class Child:
    """One process of the run: its JSON lines in both directions, its log file, its end."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.popen = popen
        self.log = log
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.hearer: threading.Thread | None = None
        self.dead = False

    def write(self) -> None:
        """Carry messages to the child until it is gone (a thread's work: the child may be slow to read)."""
        with contextlib.suppress(OSError, ValueError):
            while True:
                message = self.inbox.get()
                if message is None:
                    break
                self.popen.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
                self.popen.stdin.flush()  # type: ignore[union-attr]
        with contextlib.suppress(OSError):
            self.popen.stdin.close()  # type: ignore[union-attr]

    def lines(self) -> Iterator[Any]:
        """Yield what the child says; what is no JSON is a person's print and none of ours."""
        for line in self.popen.stdout:  # type: ignore[union-attr]
            with contextlib.suppress(ValueError):
                yield json.loads(line)


class Guard:
    """The loop of the guard; every thread only feeds its queue, so that no slow reader can delay the lease."""

    def __init__(self, args: dict[str, Any], channel: Channel) -> None:
        self.run: str = args["run"]
        self.lease = float(args["lease"])
        self.grace = float(args["grace"])
        self.python: str = args["python"]
        self.environment: dict[str, str] = args.get("environment", {})
        self.addresses: list[str] = list(args.get("addresses", []))
        self.runs = Path(args["state"]) / "runs"
        self.node: str = args["node"]
        self.folder = self.runs / f"{self.run}@{self.node}"
        self.channel = channel
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.children: dict[str, Child] = {}
        self.sweeper = 0
        self.sweeper_pipe = -1

    def serve(self) -> dict[str, Any]:
        """Guard until the end; returns why it came and what had to be ended."""
        self.runs.mkdir(parents=True, exist_ok=True)
        swept = sweeping.sweep_dead(self.runs, self.node)
        self._claim()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._fork_sweeper()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self.events.put(("over", f"guard got signal {received}")))
        signal.signal(signal.SIGCHLD, lambda _received, _frame: self.events.put(("child", None)))
        self._thread(self._listen)
        speaker = self._thread(self._speak)
        candidates = [*self.addresses, *os.environ.get("SSH_CONNECTION", "").split()[2:3]]
        self.say({"is": "ready", "pid": os.getpid(), "swept": swept, "address": bindable(candidates)})
        reason = self._watch()
        self.say({"is": "ending", "reason": reason})
        result = {"is": "done", "reason": reason, **self._end_all()}
        self.say(result)
        self.outbox.put(None)
        speaker.join(5.0)
        return result

    def say(self, message: dict[str, Any]) -> None:
        """Queue a message for the driver."""
        self.outbox.put(message)

    # --- starting -------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        if self.runs.stat().st_uid != os.getuid():
            raise PermissionError(
                f"{self.runs} belongs to another user; set `state` in cluster.toml to a folder of yours"
            )
        self.folder.mkdir(mode=0o700)
        me = sweeping.processes()[os.getpid()]
        owner = {"run": self.run, "pid": me.pid, "started": me.started, "boot": sweeping.boot_id()}
        (self.folder / "guard.json").write_text(json.dumps(owner))

    def _fork_sweeper(self) -> None:
        """Leave a process behind that sees the guard's death as the end of a pipe and then cleans up in its place."""
        watched, self.sweeper_pipe = os.pipe()
        self.sweeper = os.fork()
        if self.sweeper:
            sweeping.adopt(self.sweeper)
            os.close(watched)
            return
        status = 1
        try:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):  # an SSH channel ends when nobody holds its ends any more
                os.dup2(nothing, descriptor)
            os.dup2(watched, 3)
            os.closerange(4, 4096)
            if os.read(3, 1) != b"D":
                sweeping.sweep(self.run, self.folder)
            status = 0
        finally:
            os._exit(status)

    def _thread(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        return thread

    def _listen(self) -> None:
        while True:
            try:
                message = self.channel.receive()
            except Exception as error:  # noqa: BLE001 - whatever ends the channel ends the run here
                self.events.put(("over", f"channel to the driver failed: {error!r}"))
                return
            if message is None:
                self.events.put(("over", "the driver is gone"))
                return
            self.events.put(("message", message))

    def _speak(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                message = self.outbox.get()
                if message is None:
                    return
                self.channel.event(message)

    # --- serving --------------------------------------------------------------------------------------------------

    def _watch(self) -> str:
        heard = time.monotonic()
        while True:
            try:
                kind, value = self.events.get(timeout=max(0.0, heard + self.lease - time.monotonic()))
            except queue.Empty:
                return f"the driver was silent for {self.lease:g} s"
            if kind == "over":
                return str(value)
            if kind == "child":
                self._reap()
                continue
            if kind == "buried":
                self._forget(value)
                continue
            heard = time.monotonic()
            if value["do"] == "quit":
                return "the driver asked for it"
            self._obey(value)

    def _obey(self, message: dict[str, Any]) -> None:
        action = message["do"]
        if action == "spawn":
            self._spawn(message["child"], message["spec"])
        elif action == "tell":
            child = self.children.get(message["child"])
            if child is not None:
                child.inbox.put(message["message"])
        elif action == "end":
            child = self.children.get(message["child"])
            if child is None:
                self.say({"is": "ended", "child": message["child"], "status": None, "tail": ""})
            else:
                sweeping.kill([*sweeping.descendants(child.popen.pid, sweeping.processes()), child.popen.pid])
        elif action == "cancel":
            self._thread(self._cancel, message["attempt"], message["slot"], message["pid"])

    def _cancel(self, attempt: str, slot: str, worker: int) -> None:
        """End a slot's worker, what it started, and the containers of its attempt; the nanny makes a new worker."""
        table = sweeping.processes()
        ended = 0
        if worker in sweeping.descendants(os.getpid(), table):  # a pid that is not below us is not ours to kill
            ended = sweeping.kill([worker, *sweeping.descendants(worker, table)])
        # What a worker left behind when it died has become our child, and knows its slot only by its environment.
        ended += sweeping.kill(sweeping.marked(**{sweeping.RUN_MARK: self.folder.name, sweeping.SLOT_MARK: slot}))
        containers, problem = sweeping.remove_containers(f"{sweeping.ATTEMPT_LABEL}={attempt}")
        self.say(
            {"is": "cancelled", "attempt": attempt, "processes": ended, "containers": containers, "problem": problem}
        )

    def _spawn(self, name: str, spec: dict[str, Any]) -> None:
        log = self.folder / f"{name}.log"
        environment = {
            "PATH": sweeping.PATH,
            "HOME": str(Path.home()),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder),
            **self.environment,
            sweeping.RUN_MARK: self.folder.name,
        }
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            popen = sweeping.start(
                [self.python, "-s", "-P", "-m", "timeeval.engines.worker_main"],
                env=environment,
                stderr=descriptor,
                cwd=self.folder,
                new_session=True,
            )
        except OSError as error:
            self.say({"is": "ended", "child": name, "status": None, "tail": f"{self.python}: {error.strerror}"})
            return
        finally:
            os.close(descriptor)
        child = self.children[name] = Child(name, popen, log)
        child.inbox.put({**spec, "parent": os.getpid(), "folder": str(self.folder)})
        self._thread(child.write)
        child.hearer = self._thread(self._hear, child)

    def _hear(self, child: Child) -> None:
        for message in child.lines():
            self.say({"is": "said", "child": child.name, "message": message})

    def _reap(self) -> None:
        for child in self.children.values():
            if not child.dead and child.popen.poll() is not None:
                child.dead = True
                self._thread(self._clean_up_after, child)
        sweeping.bury_orphans()

    def _clean_up_after(self, child: Child) -> None:
        """End what a dead child left, so that another may take its place when its end is told."""
        child.inbox.put(None)
        if child.hearer is not None:
            child.hearer.join(1.0)  # its last words come before the news of its end
        if child.name == "workers":
            table = sweeping.processes()
            for pid in sweeping.orphans():
                sweeping.kill([pid, *sweeping.descendants(pid, table)])
            sweeping.remove_containers(f"{sweeping.RUN_LABEL}={self.run}")
        self.events.put(("buried", child))

    def _forget(self, child: Child) -> None:
        if self.children.get(child.name) is child:
            del self.children[child.name]
        self.say({"is": "ended", "child": child.name, "status": child.popen.returncode, "tail": tail(child.log)})

    # --- ending ---------------------------------------------------------------------------------------------------

    def _end_all(self) -> dict[str, Any]:
        for child in self.children.values():
            child.popen.terminate()
        deadline = time.monotonic() + self.grace
        while any(child.popen.poll() is None for child in self.children.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = 0
        for _ in range(100):
            below = [pid for pid in sweeping.descendants(os.getpid(), sweeping.processes()) if pid != self.sweeper]
            if not below:
                break
            ended += sweeping.kill(below)
            for child in self.children.values():
                child.popen.poll()
            time.sleep(0.05)
        swept = sweeping.sweep(self.run, self.folder)
        os.write(self.sweeper_pipe, b"D")
        os.waitpid(self.sweeper, 0)
        return {**swept, "processes": ended + swept["processes"]}


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Run as a program of the launcher: `channel.receive()` and `channel.event()` reach the driver."""
    return Guard(args, channel).serve()


class LineChannel:
    """The channel where no launcher is between: JSON lines on stdin and stdout, unbuffered.

    A thread may still wait for stdin when the program ends, so there is no buffer that ending would have to lock.
    """

    def __init__(self) -> None:
        self.rest = b""

    def receive(self) -> dict[str, Any] | None:
        """Return the next message, None at the end."""
        while b"\n" not in self.rest:
            more = os.read(0, 1 << 16)
            if not more:
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def event(self, message: dict[str, Any]) -> None:
        """Send a message."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    lines = LineChannel()
    main(lines.receive() or {}, lines)
