"""The guard: what stands on a node between the driver and everything that a run starts there.

Its source is sent to the node and run by whatever Python (3.8 or newer) is found there, so it knows the standard
library only. It starts children of `timeeval.engines.worker_main` when told to, carries their JSON lines to the driver,
and promises one thing: when the driver says so or dies, when it is silent for longer than the lease, or when the guard
itself dies, nothing of the run is left on this node: no process, no container, no file below the run folder.

The guard belongs to no connection. `begin` leaves it behind with a door (`timeeval.engines.sockets`) at which the
driver's connections knock one after the other (`timeeval.engines.attach`); the newest one counts. Messages are numbered
on both sides and kept until the other one has them, so a new connection goes on where the last one broke. A connection
that ends while the driver's beats came was the driver's end, and is waited for `linger` seconds; one that ends, or is
silent, after beats were missing was cut, and the lease runs from the last beat.

Messages of the driver: ``{"do": "beat" | "spawn" | "tell" | "cancel" | "end" | "quit"}``; of the guard:
``{"is": "ready" | "beat" | "said" | "ended" | "cancelled" | "ending" | "done"}``.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import queue
import shutil
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from timeeval.engines import children, sockets, sweeping

PR_SET_CHILD_SUBREAPER = 36
MISSED_BEATS = 5
LOG = "guard.log"
ROOM = 1 << 20


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


def begin(args: dict[str, Any]) -> list[str]:
    """Leave a guard behind that belongs to no connection; return the dead runs that were swept before.

    Raises
    ------
    OSError
        If the run folder cannot be made.
    """
    runs = Path(args["state"]) / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    _demand_own(runs)
    swept = sweeping.sweep_dead(runs, args["node"])
    folder = sweeping.run_folder(args["state"], args["run"], args["node"])
    folder.mkdir(mode=0o700)
    try:
        _demand_room(folder)
        door = sockets.listen(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    parent = os.fork()
    if parent:
        door.close()
        os.waitpid(parent, 0)
        return swept
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            sweeping.shed(door.detach(), folder / LOG)
            Guard(args, socket.socket(fileno=3)).serve()
        status = 0
    except BaseException:  # noqa: BLE001 - there is nobody else to tell it to
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


class NoRoomError(OSError):
    """There is no room for a run; with it goes what a person can do."""

    remedy = "make room there (`timeeval-provision check` tells how much is free), or set another `state` folder"


def _demand_room(folder: Path) -> None:
    """Find out before anything starts whether logs and keys have room: a full disk would silence who could tell."""
    probe = folder / "room"
    try:
        probe.write_bytes(bytes(ROOM))
        probe.unlink()
    except OSError as error:
        raise NoRoomError(f"{folder.parent} has no room for a run: {error.strerror}") from error


def _demand_own(runs: Path) -> None:
    """Refuse a folder whose entries another user could exchange: keys and jobs pass through the door in it."""
    for folder, owners in ((runs, {os.getuid()}), (runs.parent, {os.getuid(), 0})):
        found = folder.stat()
        if folder.lstat().st_uid not in owners or found.st_uid not in owners:
            raise PermissionError(f"{folder} is not this user's own folder; set `state` in cluster.toml to one that is")
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise PermissionError(f"everybody may write to {folder}; take that away with `chmod o-w {folder}`")


class Guard:
    """The loop of the guard; every thread only feeds its queue, so that no slow reader can delay the lease."""

    def __init__(self, args: dict[str, Any], door: socket.socket) -> None:
        self.run: str = args["run"]
        self.lease = float(args["lease"])
        self.linger = float(args["linger"])
        self.beat = float(args["beat"])
        self.grace = float(args["grace"])
        self.python: str = args["python"]
        self.environment: dict[str, str] = args.get("environment", {})
        self.addresses: list[str] = list(args.get("addresses", []))
        self.folder = sweeping.run_folder(args["state"], self.run, args["node"])
        self.door = door
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.children: dict[str, children.Child] = {}
        self.sweeper = 0
        self.sweeper_pipe = -1
        # --- the line to the driver; what is said is kept until the driver has it
        self.line: sockets.Lines | None = None
        self.saying = threading.Lock()
        self.kept: collections.deque[dict[str, Any]] = collections.deque()
        self.said = 0
        self.taken = 0
        self.offset = 0.0
        self.heard = time.monotonic()
        self.hung_up: float | None = self.heard

    def serve(self) -> None:
        """Guard until the end; tell why it came and what had to be ended."""
        self._claim()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._fork_sweeper()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self.events.put(("over", f"guard got signal {received}")))
        signal.signal(signal.SIGCHLD, lambda _received, _frame: self.events.put(("child", None)))
        self._thread(self._open)
        reason = self._watch()
        self.say({"is": "ending", "reason": reason})
        self.say({"is": "done", "reason": reason, **self._end_all()})
        if self.line is not None:
            self.line.post(None)
            self.line.flushed(5.0)

    def say(self, message: dict[str, Any]) -> None:
        """Queue a message for the driver; a later connection gets it if this one does not carry it."""
        with self.saying:
            self.said += 1
            numbered = {**message, "n": self.said}
            self.kept.append(numbered)
            if self.line is not None:
                self.line.post(numbered)

    # --- starting -------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
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
            sweeping.shed(watched)
            if os.read(3, 1) != b"D":
                sweeping.sweep(self.run, self.folder)
            status = 0
        finally:
            os._exit(status)

    def _thread(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        return thread

    # --- the driver's connections ---------------------------------------------------------------------------------

    def _open(self) -> None:
        while True:
            connection, _ = self.door.accept()
            if sockets.is_own(connection):
                self._thread(self._listen, sockets.Lines(connection))
            else:
                connection.close()

    def _listen(self, line: sockets.Lines) -> None:
        kind = "attach"
        with contextlib.suppress(ValueError):  # half a line: its connection broke
            while True:
                message = line.receive()
                if message is None:
                    break
                self.events.put((kind, (line, message)))
                kind = "message"
        self.events.put(("hang up", (line, None)))

    def _attach(self, line: sockets.Lines, hello: dict[str, Any]) -> None:
        with self.saying:
            if self.line is not None:
                self.line.close()
            self.line, self.hung_up = line, None
            self.offset = time.monotonic() - hello["at"]
            self._note(hello)
            candidates = [*self.addresses, *os.environ.get("SSH_CONNECTION", "").split()[2:3]]
            ready = {
                "is": "ready",
                "pid": os.getpid(),
                "boot": sweeping.boot_id(),
                "address": bindable(candidates),
                "swept": hello.get("swept", []),
                "logout": hello.get("logout"),
                "ack": self.taken,
            }
            for message in (ready, *self.kept):
                line.post(message)

    def _note(self, message: dict[str, Any]) -> None:
        """Count a sign of life from when it was sent: what lay in a buffer during a cut prolongs no lease."""
        self.offset = min(self.offset, time.monotonic() - message["at"])
        self.heard = message["at"] + self.offset
        while self.kept and self.kept[0]["n"] <= message["ack"]:
            self.kept.popleft()

    def _take(self, line: sockets.Lines, message: dict[str, Any]) -> bool:
        """Obey a message unless it was obeyed before; return whether it was the last one."""
        if line is not self.line:
            return False
        with self.saying:
            self._note(message)
        if message["do"] == "beat":
            line.post({"is": "beat", "at": message["at"], "ack": self.taken})
            return False
        if message["n"] <= self.taken:
            return False
        self.taken = message["n"]
        if message["do"] == "quit":
            return True
        self._obey(message)
        return False

    # --- serving --------------------------------------------------------------------------------------------------

    def _watch(self) -> str:
        while True:
            over, reason = self._end_of_waiting()
            try:
                kind, value = self.events.get(timeout=max(0.0, over - time.monotonic()))
            except queue.Empty:
                return reason
            if kind == "over":
                return str(value)
            if kind == "child":
                self._reap()
            elif kind == "buried":
                self._forget(value)
            elif kind == "attach":
                self._attach(*value)
            elif kind == "message":
                if self._take(*value):
                    return "the driver asked for it"
            elif value[0] is self.line:
                self._hang_up()

    def _end_of_waiting(self) -> tuple[float, str]:
        over, reason = self.heard + self.lease, f"the driver was silent for {self.lease:g} s"
        if self.hung_up is not None and self.hung_up + self.linger < over:
            return self.hung_up + self.linger, "the driver is gone"
        return over, reason

    def _hang_up(self) -> None:
        with self.saying:
            self.line = None
        if time.monotonic() - self.heard < MISSED_BEATS * self.beat:
            self.hung_up = time.monotonic()

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
        try:
            child = children.spawn(name, self.python, self.folder, self.environment)
        except OSError as error:
            self.say({"is": "ended", "child": name, "status": None, "tail": f"{self.python}: {error.strerror}"})
            return
        self.children[name] = child
        child.inbox.put({**spec, "parent": os.getpid(), "folder": str(self.folder)})
        self._thread(child.write)
        child.hearer = self._thread(self._hear, child)

    def _hear(self, child: children.Child) -> None:
        for message in child.lines():
            self.say({"is": "said", "child": child.name, "message": message})

    def _reap(self) -> None:
        for child in self.children.values():
            if not child.dead and child.popen.poll() is not None:
                child.dead = True
                self._thread(self._clean_up_after, child)
        sweeping.bury_orphans()

    def _clean_up_after(self, child: children.Child) -> None:
        """End what a dead child left, so that another may take its place when its end is told."""
        child.inbox.put(None)
        if child.hearer is not None:
            child.hearer.join(1.0)  # its last words come before the news of its end
        if child.has_workers:
            others = [other for other in list(self.children.values()) if other is not child and other.has_workers]
            sweeping.clean_up_after(child.name, self.run, alone=all(other.dead for other in others))
        self.events.put(("buried", child))

    def _forget(self, child: children.Child) -> None:
        if self.children.get(child.name) is child:
            del self.children[child.name]
        last = children.tail(child.log)
        self.say({"is": "ended", "child": child.name, "status": child.popen.returncode, "tail": last})

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
