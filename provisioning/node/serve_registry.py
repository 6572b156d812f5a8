"""A registry on this host's loopback for as long as the driver is there, then gone with all that it holds (>= 3.8)."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from provisioning.node.docker import docker
from provisioning.node.tools import RefusedError, environment

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

PROGRAM = "docker-registry"
IMAGE = "registry:2"
START_SECONDS = 20
_ADDRESS = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")
_REMEDY = "apt-get install docker-registry there, or have the image %s on the driver" % IMAGE


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Serve until the driver says ``end`` or is gone.

    Parameters
    ----------
    args : dict
        ``state``: folder on this host, below which the registry keeps its files; ``load``: whether the driver sends the
        registry's image as data.
    channel : Channel
        Told ``{"port"}`` once it listens, or ``{"absent"}`` when there is no registry to start.
    """
    _sweep(Path(args["state"]))
    if args["load"]:
        _load(channel)
    elif shutil.which(PROGRAM) is None and not _has_image():
        channel.event({"absent": "there is no %s and no image %s on this host" % (PROGRAM, IMAGE), "remedy": _REMEDY})
        return {}
    Path(args["state"]).mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="registry-", dir=args["state"]) as folder:
            if shutil.which(PROGRAM) is not None:
                _serve(Path(folder), channel)
            else:
                _contain(channel)
    finally:
        with contextlib.suppress(OSError):  # another one serves from there
            Path(args["state"]).rmdir()
    return {}


def _sweep(state: Path) -> None:
    """Remove what a registry has left that was killed together with who would have cleaned up after it."""
    for folder in state.glob("registry-*") if state.is_dir() else ():
        try:
            pid = int((folder / "pid").read_text())
            alive = PROGRAM.encode() in Path("/proc/%d/cmdline" % pid).read_bytes()
        except (OSError, ValueError):
            alive = False
        if not alive and time.time() - folder.stat().st_mtime > START_SECONDS:
            shutil.rmtree(str(folder), ignore_errors=True)


def _serve(folder: Path, channel: Channel) -> None:
    storage = {"filesystem": {"rootdirectory": str(folder / "files")}}
    # any free port: it tells which one it got, and nobody can take it in between
    http = {"addr": "127.0.0.1:0", "secret": secrets.token_hex(16)}
    settings = {"version": "0.1", "log": {"level": "info"}, "storage": storage, "http": http}
    (folder / "config.yml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    with subprocess.Popen(
        [PROGRAM, "serve", str(folder / "config.yml")],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        words = process.stderr
        assert words is not None  # noqa: S101 - it was asked for
        drain = threading.Thread(target=_drain, args=(words,), daemon=True)
        try:
            (folder / "pid").write_text(str(process.pid), encoding="utf-8")
            port = _listening(words)
            drain.start()
            _attend(channel, port)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
            if drain.ident is not None:
                drain.join()


def _listening(words: IO[bytes]) -> int:
    said = []
    for line in words:  # ends with the process
        said.append(line.decode("utf-8", "replace").strip())
        match = _ADDRESS.search(line)
        if match:
            return int(match[1])
    raise RefusedError("%s does not start: %s" % (PROGRAM, " ".join(said)[-500:]), "see whether it runs by hand")


def _drain(words: IO[bytes]) -> None:
    for _ in iter(lambda: words.read(1 << 16), b""):
        pass


def _attend(channel: Channel, port: int) -> None:
    channel.event({"port": port})
    while True:
        said = channel.receive()
        if said is None or said.get("do") == "end":
            return


def _has_image() -> bool:
    try:
        return bool(docker("image", "ls", "--quiet", IMAGE).strip())
    except RefusedError:
        return False


def _load(channel: Channel) -> None:
    with subprocess.Popen(
        ["docker", "load", "--quiet"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with process.stdin as stream:
            for piece in channel.data():
                stream.write(piece)
    if process.returncode != 0:
        raise RefusedError("the registry's image could not be loaded", _REMEDY)


def _contain(channel: Channel) -> None:
    """Serve from a container, whose storage goes with it."""
    name = "timeeval-registry-%s" % secrets.token_hex(6)
    options = ["--rm", "--detach", "--pull", "never", "--name", name, "--label", "timeeval.registry"]
    docker("run", *options, "--publish", "127.0.0.1::5000", IMAGE)
    try:
        published = docker("port", name, "5000/tcp").split()[0]
        _attend(channel, int(published.rpartition(":")[2]))
    finally:
        docker("rm", "--force", "--volumes", name)
