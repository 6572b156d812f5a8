"""Build an environment beside its prefix from packs that have arrived, prove it, and put it in place by renaming.

Until the rename nothing under the final name changes; afterwards the environment before it is kept as
``PREFIX.previous``. Runs on the node (standard library, Python >= 3.8).
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import bases, packs, records, skeleton, venvs
from provisioning.node.store import damaged, forget, wishes
from provisioning.node.switching import remove, switch
from provisioning.node.tools import Beat, RefusedError, run

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_COMPILE = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)"
STEPS = ("interpreter", "install", "byte code", "prove", "switch")


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Bring the environment at ``args["prefix"]`` about.

    Parameters
    ----------
    args : dict
        ``prefix``, ``python`` (minor version), ``store`` (folder), ``wheels`` (of each the packs that it comes in, as
        [path in the store, size, sha256]: its files, then its byte code), ``base`` (an interpreter that came along, in
        the same form, or None), ``lock`` (text) and ``lock_digest``, ``installed`` and ``identity`` (what must come
        out), ``keep`` (what must stay in the store).
    channel : object
        Gets an event per step.
    """
    prefix, store = Path(args["prefix"]), Path(args["store"])
    staging = prefix.parent / (".%s.staging" % prefix.name)
    prefix.parent.mkdir(mode=0o755, parents=True, exist_ok=True)

    def step(title: str) -> None:
        channel.event({"title": title, "done": STEPS.index(title), "total": len(STEPS)})

    # the lock on the prefix is ours: what lies here is the rest of an attempt that died
    remove(staging)
    try:
        staging.mkdir(mode=0o755)
        step("interpreter")
        if args["base"]:
            _refuse_damaged(store, [args["base"]])
        base = bases.base(args, prefix, staging, lambda: step("interpreter"))
        fresh = staging / prefix.name
        step("install")
        skeleton.make(fresh, base, prefix)
        own = _install(store, args["wheels"], base["magic"], fresh, lambda: step("install"))
        if own:
            step("byte code")
            site_packages = str(venvs.site_packages(fresh))
            run([str(fresh / "bin" / "python"), "-I", "-c", _COMPILE, site_packages], lambda: step("byte code"))
        step("prove")
        _prove(args, fresh)
        facts = {"lock": args["lock_digest"], "identity": args["identity"], "compiled": own or _with_code(args)}
        seal(fresh, facts, args["lock"])
        step("switch")
        switch(fresh, prefix)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RefusedError(
                "no space left while the environment was built in %s" % staging,
                "free some space there and run it again",
            ) from error
        raise
    finally:
        remove(staging)
    bases.forget(prefix)
    forget(store, wishes(store, prefix, args["keep"]))
    return {"identity": args["identity"]}


def seal(prefix: Path, facts: dict[str, Any], lock: str) -> None:
    """Note in the environment what it was made from."""
    (prefix / venvs.MARKER).mkdir(exist_ok=True)
    (prefix / venvs.MARKER / "lock.txt").write_text(lock, encoding="utf-8")
    venvs.write_marker(prefix, dict(facts, python=venvs.version_of(prefix), time=time.time()))


def _install(store: Path, wheels: list[list[list[Any]]], magic: str, fresh: Path, beat: Beat) -> bool:
    """Unpack wheels, with the driver's byte code if this interpreter reads it; return whether it needs its own."""
    try:
        own = any(packs.magic_of(store / row[0]) != magic for rows in wheels for row in rows[1:])
        packs.unpack(store, [rows[:1] for rows in wheels] if own else wheels, fresh, beat)
    except (packs.DamagedError, FileNotFoundError) as error:
        _refuse_damaged(store, [row for rows in wheels for row in rows])
        raise RefusedError("what arrived cannot be unpacked: %s" % error, "report this with the lock") from error
    return own


def _with_code(args: dict[str, Any]) -> bool:
    return any(rows[1:] for rows in args["wheels"])


def _refuse_damaged(store: Path, files: list[list[Any]]) -> None:
    """Name files that are not what was sent: the next run sends them anew."""
    wrong = damaged(store, files)
    if wrong:
        raise RefusedError(
            "%d files are missing or damaged in %s: %s" % (len(wrong), store, ", ".join(wrong[:5])),
            "run it again: they are sent anew",
        )


def _prove(args: dict[str, Any], fresh: Path) -> None:
    """Refuse what is not what the wheels hold."""
    installed, wanted = records.of_folder(venvs.site_packages(fresh)), args["installed"]
    if records.identity_of(installed) != args["identity"]:
        odd = sorted(key for key in set(wanted) | set(installed) if wanted.get(key) != installed.get(key))
        raise RefusedError(
            "what was installed is not what the wheels hold: %s" % ", ".join(odd[:5]),
            "report this with the lock: an installer that changes files is not supported",
        )
