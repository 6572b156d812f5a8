"""What ``ssh -G`` said of a node in an earlier command: believed as long as no file has changed that it was read from.

Only OpenSSH reads its configuration. Here it is looked at for one thing: whether the answer depends on anything but
files, as ``Match exec`` does, or a variable of the environment. What does, or is not understood, is asked each time.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import re
import time
from typing import Any

from provisioning import kept
from provisioning.node import tree

__all__ = ["keep", "recall"]

AT_REST_SECONDS = 60
"""Files that are older have not changed since ssh was asked."""

_READ = re.compile(r"^debug1: Reading configuration data (.+)$", re.MULTILINE)
_NOTHING = re.compile(r"^debug1: (.+) line (\d+): include (.+) matched no files$", re.MULTILINE)
_LONGEST = 190
"""Of a path, where OpenSSH begins to cut what it says."""

Answer = dict[str, list[str]]


def recall(name: str, options: tuple[str, ...]) -> Answer | None:
    """Return what was said; None where it has to be asked."""
    known = kept.recall(_file(name, options))
    try:
        if known is None or any(_stamp(file) != stamp for file, stamp in known["files"].items()):
            return None
        return {str(keyword): [str(value) for value in values] for keyword, values in known["answer"].items()}
    except (AttributeError, KeyError, TypeError):
        return None


def keep(name: str, options: tuple[str, ...], log: str, answer: Answer) -> None:
    """Keep an answer, if it depends on nothing but files; `log` is what ``ssh -v`` said of these."""
    files = _sources(log, options)
    if files is None:
        return
    stamps = {file: _stamp(file) for file in files}
    newest = max((stamp[2] for stamp in stamps.values() if stamp is not None), default=0)
    if time.time_ns() - newest > AT_REST_SECONDS * 1_000_000_000:
        kept.keep(_file(name, options), {"files": stamps, "answer": answer})


def _file(name: str, options: tuple[str, ...]) -> Any:  # noqa: ANN401 - a Path, which is imported by kept
    mark = hashlib.sha256("\0".join([name, *options]).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return kept.cache_folder() / "ssh" / f"{mark}.json"


@functools.lru_cache(maxsize=256)
def _stamp(file: str) -> list[int] | None:
    """Return what tells whether a file or folder is what it was, once a command; None where there is none."""
    try:
        return tree.stamp(os.stat(file))  # noqa: PTH116 - of each node's, whenever a command begins
    except OSError:
        return None


def _sources(log: str, options: tuple[str, ...]) -> list[str] | None:
    """Return all that an answer depends on; None where that is more than files and folders."""
    read = _READ.findall(log)
    import shutil

    program = shutil.which("ssh")
    if program is None or any(len(file) >= _LONGEST for file in read):
        return None
    sources, home = [program, *read], pwd.getpwuid(os.getuid()).pw_dir
    if "-F" not in options:
        # this user's own may be absent now; where the system has its configuration is known only if it was read
        own = f"{home}/.ssh/config"
        if not set(read) - {own}:
            return None
        sources.append(own)
    elif not read:
        return None
    nothing = _NOTHING.findall(log)
    for file in read:
        try:
            with open(file, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
                lines = stream.read().splitlines()
        except OSError:
            return None
        for number, line in enumerate(lines, 1):
            patterns = [pattern for where, at, pattern in nothing if (where, at) == (file, str(number))]
            if not _plain(line, len(patterns)):
                return None
            sources += [_above(home + pattern[1:] if pattern.startswith("~/") else pattern) for pattern in patterns]
    return sources


def _plain(line: str, nothing: int) -> bool:
    """Return whether a line means the same at any time; `nothing` of the files that it includes were not there."""
    keyword, *values = re.split(r"[\s=]+", line.strip().lower()) or [""]
    if keyword.startswith("#"):
        return True
    if keyword == "include":
        # of those that are there others may come or go in other folders
        return len(values) == nothing and not re.search(r"[*?\[\"][^\s]*/|~\w", line)
    return keyword != "match" and not keyword.startswith("canonical") and "${" not in line and '"' not in keyword


def _above(pattern: str) -> str:
    """Return the folder that tells when a file appears that an ``Include`` would find."""
    folder = os.path.dirname(pattern)  # noqa: PTH120
    while folder and not os.path.isdir(folder):  # noqa: PTH112
        folder = os.path.dirname(folder)  # noqa: PTH120
    return folder or "/"
