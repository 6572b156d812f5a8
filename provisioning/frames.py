"""The driver's half of the line to a program on a node: what is sent first, and what comes back. No I/O.

A login shell may print anything before `/bin/sh` starts, and `/bin/sh` may read ahead of its first line. So the driver
sends that line alone and waits for a marker; from the marker on, both
sides speak in frames (`provisioning.node.bootstrap`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioning import kept
from provisioning.bare import bare
from provisioning.node.bootstrap import CONTROL, DATA, HEAD, LARGEST
from provisioning.sources import packed

if TYPE_CHECKING:
    from provisioning.sources import Pack

__all__ = ["FIRST_LINE", "SHELL", "Decoder", "bootstrap", "control", "data", "opening", "request"]

SHELL: Final = "/bin/sh"
"""All that a login shell ever gets from us: bash, dash, tcsh and fish read it alike."""

MARKER: Final = b"\0timeeval-node/1 "
MOST_NOISE = 1 << 20

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHONS = "python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8"
# The loader reads not one byte more than the bootstrap: what follows on the line belongs to frames. A Python that is
# too old hands the very same command on to newer ones. No site module: programs for nodes use the standard library.
_LOADER = f"""\
import os, struct, sys, zlib
if sys.version_info < (3, 8):
    command = open("/proc/self/cmdline").read().split(chr(0))[1:-1]
    for name in "{_PYTHONS}".split()[1:]:
        check = [name, "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 8))"]
        if os.spawnvp(os.P_WAIT, name, check) == 0: os.execvp(name, [name] + command)
    os.write(1, b"\\0timeeval-node/1 no-python\\n")
    raise SystemExit(127)
def take(n):
    b = b""
    while len(b) < n:
        p = os.read(0, n - len(b))
        if not p: raise SystemExit(1)
        b += p
    return b
def piece(): return take(struct.unpack(">I", take(4))[0])
os.write(1, b"\\0timeeval-node/1 ready\\n")
source, code, own = piece(), b"", None
if source[:1] == b"/":
    try: from _sha256 import sha256
    except ImportError: from hashlib import sha256
    import _frozen_importlib_external as loading, marshal
    name = source.decode()
    def kept(name):
        file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        seen = os.fstat(file), os.lstat(name[:name.rindex("/")])
        body = os.read(file, 1 << 20)
        os.close(file)
        return body, all(s.st_uid == os.getuid() and not s.st_mode & 0o22 for s in seen)
    try:
        code, ours = kept(name + "-" + sys.implementation.name + loading.MAGIC_NUMBER.hex())
        if not ours or sha256(source[-64:] + code[64:]).hexdigest().encode() != code[:64]: code = b""
    except OSError: pass
    try: source = code or kept(name)[0]
    except OSError: pass
    known = code or sha256(source).hexdigest() == name[-64:]
    os.write(1, b"+" if known else b"-")
    if not known: source = piece()
if code: made = marshal.loads(code[64:])
else:
    texts = zlib.decompress(source).split(b"\\0")
    names = [name.decode() for name in texts[::2]]
    made = [(n, compile(t, n.replace(".", "/") + ".py", "exec")) for n, t in zip(names, texts[1::2])]
    own = source, made
for name, code in made:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
raise SystemExit(module.run(own=own))
"""

_PARTS = ("quick", "programs", "bootstrap")
"""Modules that the loader makes, in this order: nothing can be imported before the last of them runs."""

FIRST_LINE: Final = (
    "cd /; umask 022; "
    "unset ENV BASH_ENV LANGUAGE PYTHONPATH PYTHONHOME DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH; "
    f'export LC_ALL=C.UTF-8 DOCKER_CONTEXT=default "PATH={_PATH}${{PATH:+:$PATH}}"; '
    f"for p in {_PYTHONS}; do "
    'command -v "$p" >/dev/null 2>&1 '
    f"&& exec \"$p\" -I -S -X utf8 -c '{_LOADER}'; done; "
    "printf '\\000timeeval-node/1 no-python\\n'; exit 127\n"
).encode("ascii")


def opening(program: str, args: Mapping[str, Any], modules: Mapping[str, str]) -> bytes:
    """Make what follows the marker: the bootstrap's source and the request.

    Parameters
    ----------
    program : str
        Module with ``main(args, channel)``.
    args : mapping
        JSON values.
    modules : mapping of str to str
        Module name -> source, for all that the node does not have.

    Returns
    -------
    bytes
    """
    asked = {"program": program, "args": dict(args), "modules": bool(modules)}
    sources = data(_packed(tuple(modules.items()))) if modules else b""
    return bootstrap() + control(asked) + sources


def request(program: str, args: Mapping[str, Any], pack: Pack, keep: str | None, *, more: bool) -> bytes:
    """Make a request for a program that the node may have kept from another command.

    The node answers first whether it has it (``{"have": bool}``), and gets the pack as data if not.

    Parameters
    ----------
    program : str
    args : mapping
    pack : Pack
    keep : str or None
        Folder of the node's user alone for programs; None keeps none.
    more : bool
        Whether another request may follow on the same line.

    Returns
    -------
    bytes
    """
    asked = {"program": program, "args": dict(args), "modules": True, "pack": pack.digest, "more": more}
    return control(asked if keep is None else {**asked, "keep": keep, "own": bootstrap_digest()})


@functools.lru_cache(maxsize=1)
def bootstrap() -> bytes:
    """Make what the node's Python reads first, behind the marker."""
    files = {f"provisioning.node.{name}": Path(__file__).parent / "node" / f"{name}.py" for name in _PARTS}

    def make() -> tuple[bytes, list[str]]:
        texts = [part for name, file in files.items() for part in (name, bare(file.read_text(encoding="utf-8")))]
        return zlib.compress("\0".join(texts).encode(), 9), [__file__, *map(str, files.values())]

    source = kept.made("bootstrap", make)
    return len(source).to_bytes(4, "big") + source


def bootstrap_kept(keep: str) -> bytes:
    """Name the bootstrap by its digest, for a node that may have it in its folder for programs.

    The node answers with one byte, see `Decoder.answer`; without it, it wants `bootstrap`.
    """
    name = f"{keep}/{bootstrap_digest()}".encode()
    return len(name).to_bytes(4, "big") + name


@functools.lru_cache(maxsize=1)
def bootstrap_digest() -> str:
    """Return the sha256 (hex) of the bootstrap as it travels."""
    return hashlib.sha256(bootstrap()[4:]).hexdigest()


@functools.lru_cache(maxsize=32)
def _packed(modules: tuple[tuple[str, str], ...]) -> bytes:
    return packed(dict(modules))


def control(message: Mapping[str, Any]) -> bytes:
    """Make a control frame."""
    body = json.dumps(message).encode("ascii")
    if len(body) > LARGEST:
        raise ValueError(f"a message of {len(body)} bytes is too large: send it as data")
    return HEAD.pack(len(body), CONTROL) + body


def data(piece: bytes) -> bytes:
    """Make a data frame; an empty piece ends the data."""
    return HEAD.pack(len(piece), DATA) + piece


class Decoder:
    """Cuts the bytes that come from a node into noise, marker and messages.

    Attributes
    ----------
    word : str or None
        What stood behind the marker (``ready`` or ``no-python``); None before it came.
    noise : bytes
        What came before the marker: a banner, or the complaint of a shell.
    """

    def __init__(self) -> None:
        self.word: str | None = None
        self.noise = b""
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take bytes as they come.

        Raises
        ------
        ValueError
            When the other side does not speak as agreed.
        """
        self._buffer += piece
        if self.word is None:
            self._find_marker()

    def _find_marker(self) -> None:
        start = self._buffer.find(MARKER)
        end = self._buffer.find(b"\n", start) if start >= 0 else -1
        if end < 0:
            self.noise = bytes(self._buffer)
            if len(self._buffer) > MOST_NOISE:
                raise ValueError("the login shell prints without end")
            return
        self.noise = bytes(self._buffer[:start])
        self.word = self._buffer[start + len(MARKER) : end].decode("ascii", "replace")
        del self._buffer[: end + 1]

    def answer(self) -> bool | None:
        """Give the answer to `bootstrap_kept`: whether the node has it; None when it has not come yet."""
        if self.word is None or not self._buffer:
            return None
        known = self._buffer[:1] == b"+"
        if not known and self._buffer[:1] != b"-":
            raise ValueError("the node sent what is no answer")
        del self._buffer[:1]
        return known

    def message(self) -> dict[str, Any] | None:
        """Give the next message, or None when it has not come in full yet.

        Raises
        ------
        ValueError
            When the other side does not speak as agreed.
        """
        if self.word is None or len(self._buffer) < HEAD.size:
            return None
        length, kind = HEAD.unpack_from(self._buffer)
        if kind != CONTROL or length > LARGEST:
            raise ValueError("the node sent what is no message")
        if len(self._buffer) < HEAD.size + length:
            return None
        body = bytes(self._buffer[HEAD.size : HEAD.size + length])
        del self._buffer[: HEAD.size + length]
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:  # the latter: brackets without end
            raise ValueError("the node sent what is no message") from error
        if not isinstance(message, dict):
            raise ValueError("the node sent what is no message")
        return message

    def rest(self) -> bytes:
        """Give what came behind the last message, for who goes on without frames."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
