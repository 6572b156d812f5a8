"""Build an environment beside its prefix from wheels that have arrived, prove it, and put it in place by renaming.

Until the rename nothing under the final name changes; afterwards the environment before it is kept as
``PREFIX.previous``. Runs on the node (standard library, Python >= 3.8).
"""

from __future__ import annotations

import errno
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import records, venvs
from provisioning.node.observe_environment import interpreter
from provisioning.node.store import damaged, forget, wishes
from provisioning.node.tools import Beat, RefusedError, run

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Bring the environment at ``args["prefix"]`` about.

    Parameters
    ----------
    args : dict
        ``prefix``, ``python`` (minor version), ``store`` (folder), ``wheels`` ([path in the store, size, sha256] of all
        files), ``uv`` (its path in the store), ``lock`` (text) and ``lock_digest``, ``installed`` and ``identity``
        (what must come out), ``compile`` (whether byte code is wanted), ``keep`` (what must stay in the store).
    channel : object
        Gets an event per step.
    """
    prefix, store = Path(args["prefix"]), Path(args["store"])
    staging = prefix.parent / (".%s.staging" % prefix.name)
    prefix.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # the lock on the prefix is ours: what lies here is the rest of an attempt that died
    remove(staging)
    try:
        staging.mkdir(mode=0o755)
        channel.event({"title": "check wheels", "done": 0, "total": 4})
        wheels = _lay_out(store, args["wheels"], staging / "wheels")
        uv = store / args["uv"]
        uv.chmod(0o755)
        fresh = staging / prefix.name
        channel.event({"title": "install", "done": 1, "total": 4})
        _install(str(uv), args, wheels, fresh, lambda: channel.event({"title": "install", "done": 1, "total": 4}))
        channel.event({"title": "prove", "done": 2, "total": 4})
        _prove(str(uv), args, fresh)
        seal(fresh, args["lock_digest"], args["identity"], compiled=bool(args["compile"]))
        channel.event({"title": "switch", "done": 3, "total": 4})
        _switch(fresh, prefix)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RefusedError(
                "no space left while the environment was built in %s" % staging,
                "free some space there and run it again",
            ) from error
        raise
    finally:
        remove(staging)
    forget(store, wishes(store, prefix, args["keep"]))
    return {"identity": args["identity"]}


def seal(prefix: Path, lock: str, identity: str, *, compiled: bool) -> None:
    """Note in the environment what it was made from."""
    facts = {"lock": lock, "identity": identity, "compiled": compiled, "python": venvs.version_of(prefix)}
    venvs.write_marker(prefix, dict(facts, time=time.time()))


def _lay_out(store: Path, wheels: list[list[Any]], folder: Path) -> Path:
    """Link the wheels into one folder, each proven by its digest."""
    wrong = damaged(store, wheels)
    if wrong:
        raise RefusedError(
            "%d files are missing or damaged in %s: %s" % (len(wrong), store, ", ".join(wrong[:5])),
            "run it again: they are sent anew",
        )
    folder.mkdir()
    for path, _, _ in wheels:
        if path.endswith(".whl"):
            (folder / path.split("/")[-1]).symlink_to(store / path)
    return folder


def _install(uv: str, args: dict[str, Any], wheels: Path, fresh: Path, beat: Beat) -> None:
    base = interpreter(args["python"])
    if base is None:
        raise RefusedError("there is no Python %s" % args["python"], "install python%s there" % args["python"])
    lock = fresh.parent / "lock.txt"
    lock.write_text(args["lock"], encoding="utf-8")
    common = ["-q", "--no-cache", "--no-config"]
    make = [uv, "venv", *common, "--relocatable", "--prompt", fresh.name, "--python", base["path"], str(fresh)]
    reused = _reusable(Path(args["prefix"]), base)
    sources = ["--offline", "--no-index", "--find-links", str(wheels), "--require-hashes", "--no-build"]
    wishes = ["--compile-bytecode"] if args["compile"] else []
    wishes += ["--allow-empty-requirements"] if not args["lock"].strip() else []
    python = ["--python", str(fresh / "bin" / "python")]
    if reused:
        # most of an environment is the same after a new lock: what is, need not be compiled again
        shutil.copytree(args["prefix"], str(fresh), symlinks=True, ignore=shutil.ignore_patterns(venvs.MARKER))
        # an installer takes a package for current when its version is, whatever it holds
        there = records.of_folder(venvs.site_packages(fresh))
        other = [key for key, digest in args["installed"].items() if there.get(key, digest) != digest]
        wishes += [option for key in other for option in ("--reinstall-package", key.split("==")[0])]
    else:
        run(make)
    run([uv, "pip", "sync", *common, *python, *sources, "--link-mode", "copy", *wishes, str(lock)], beat)


def _reusable(prefix: Path, base: dict[str, str]) -> bool:
    """Return whether what is there now may serve as a basis: ours, of this interpreter, and every file as promised."""
    marker = venvs.read_marker(prefix)
    if not marker or prefix.is_symlink() or venvs.version_of(prefix) != base["version"]:
        return False
    same = (prefix / "bin" / "python").resolve() == Path(base["path"])
    return same and not venvs.edited(prefix, marker["files"], deep=True)


def _prove(uv: str, args: dict[str, Any], fresh: Path) -> None:
    """Refuse what does not fit together or is not what the wheels hold."""
    run([uv, "pip", "check", "-q", "--no-cache", "--no-config", "--python", str(fresh / "bin" / "python")])
    installed, wanted = records.of_folder(venvs.site_packages(fresh)), args["installed"]
    if records.identity_of(installed) != args["identity"]:
        odd = sorted(key for key in set(wanted) | set(installed) if wanted.get(key) != installed.get(key))
        raise RefusedError(
            "what was installed is not what the wheels hold: %s" % ", ".join(odd[:5]),
            "report this with the lock: an installer that changes files is not supported",
        )


def _switch(fresh: Path, prefix: Path) -> None:
    previous = prefix.parent / (prefix.name + ".previous")
    replaces = prefix.is_dir() and any(prefix.iterdir())
    if replaces:
        remove(previous)
        prefix.rename(previous)
    elif prefix.is_dir():
        prefix.rmdir()
    fresh.rename(prefix)
    try:
        _starts(prefix)
    except (OSError, ValueError, RefusedError):
        prefix.rename(fresh)
        if replaces:
            previous.rename(prefix)
        raise


def _starts(prefix: Path) -> None:
    """Start the interpreter under its final name and ask it where it lives; refuse anything else."""
    python = prefix / "bin" / "python"
    answer = run([str(python), "-I", "-B", "-c", "import json, sys; print(json.dumps(sys.prefix))"])
    if json.loads(answer) != str(prefix):
        raise RefusedError(
            "%s says that it lives in %s" % (python, answer.strip()), "choose a prefix without symbolic links"
        )


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing when there is none."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(str(path))
