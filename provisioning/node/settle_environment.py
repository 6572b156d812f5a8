"""Build an environment beside its prefix from wheels that have arrived, prove it, and put it in place by renaming.

Until the rename nothing under the final name changes; afterwards the environment before it is kept as
``PREFIX.previous``. Runs on the node (standard library, Python >= 3.8).
"""

from __future__ import annotations

import errno
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import bases, bytecode, installers, records, venvs
from provisioning.node.store import damaged, forget, wishes
from provisioning.node.switching import remove, switch
from provisioning.node.tools import Beat, RefusedError, run

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_COMPILE = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)"
STEPS = ("check wheels", "install", "byte code", "prove", "switch")


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Bring the environment at ``args["prefix"]`` about.

    Parameters
    ----------
    args : dict
        ``prefix``, ``python`` (minor version), ``store`` (folder), ``files`` ([path in the store, size, sha256] of all
        that is needed), ``base`` (the path in the store of an interpreter that came along, or None), ``uv`` and
        ``pip`` (their paths in the store), ``bytecode`` (paths of archives of byte code), ``lock`` (text) and
        ``lock_digest``, ``installed`` and ``identity`` (what must come out), ``keep`` (what must stay in the store).
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
        step("check wheels")
        wheels = _lay_out(store, args["files"], staging / "wheels")
        base = bases.base(args, prefix, staging, lambda: step("check wheels"))
        fresh = staging / prefix.name
        lock = staging / "lock.txt"
        lock.write_text(args["lock"], encoding="utf-8")
        installer = installers.choose(store / args["uv"], store / args["pip"], staging, prefix)
        step("install")
        with ThreadPoolExecutor(1) as beside:  # the installer is another process, which this one only waits for
            laid = beside.submit(_lay_out_bytecode, args, store, base, staging / "bytecode")
            try:
                installer.install(base["path"], fresh, wheels, lock, lambda: step("install"))
            except RefusedError:
                _refuse_damaged(store, args["files"])
                raise
            step("byte code")
            _compile(laid.result(), staging / "bytecode", fresh, lambda: step("byte code"))
        step("prove")
        installer.check(fresh)
        _prove(args, fresh)
        facts = {"lock": args["lock_digest"], "identity": args["identity"], "installer": installer.name}
        facts["compiled"] = bool(args["bytecode"])
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
    return {"identity": args["identity"], "installer": installer.name}


def seal(prefix: Path, facts: dict[str, Any], lock: str) -> None:
    """Note in the environment what it was made from."""
    (prefix / venvs.MARKER).mkdir(exist_ok=True)
    (prefix / venvs.MARKER / "lock.txt").write_text(lock, encoding="utf-8")
    venvs.write_marker(prefix, dict(facts, python=venvs.version_of(prefix), time=time.time()))


def _lay_out(store: Path, files: list[list[Any]], folder: Path) -> Path:
    """Link the wheels into one folder; what no installer compares with a hash is proven here."""
    if damaged(store, [row for row in files if not row[0].endswith(".whl")]):
        _refuse_damaged(store, files)
    folder.mkdir()
    for path, _, _ in files:
        if path.endswith(".whl"):
            (folder / path.split("/")[-1]).symlink_to(store / path)
    return folder


def _refuse_damaged(store: Path, files: list[list[Any]]) -> None:
    """Name files that are not what was sent: the next run sends them anew."""
    wrong = damaged(store, files)
    if wrong:
        raise RefusedError(
            "%d files are missing or damaged in %s: %s" % (len(wrong), store, ", ".join(wrong[:5])),
            "run it again: they are sent anew",
        )


def _lay_out_bytecode(args: dict[str, Any], store: Path, base: dict[str, str], scratch: Path) -> bytecode.Laid | None:
    """Unpack the driver's byte code; None when this interpreter reads no such byte code."""
    bundles = [store / path for path in args["bytecode"]]
    if any(bytecode.magic_of(bundle) != base["magic"] for bundle in bundles):
        return None
    return bytecode.lay_out(bundles, scratch)


def _compile(laid: bytecode.Laid | None, scratch: Path, fresh: Path, beat: Beat) -> None:
    """Put byte code into the environment: the driver's, or this interpreter's own where it reads no other."""
    if laid is None:
        run([str(fresh / "bin" / "python"), "-I", "-c", _COMPILE, str(venvs.site_packages(fresh))], beat)
    else:
        bytecode.place(laid, scratch, venvs.site_packages(fresh))


def _prove(args: dict[str, Any], fresh: Path) -> None:
    """Refuse what is not what the wheels hold."""
    installed, wanted = records.of_folder(venvs.site_packages(fresh)), args["installed"]
    if records.identity_of(installed) != args["identity"]:
        odd = sorted(key for key in set(wanted) | set(installed) if wanted.get(key) != installed.get(key))
        raise RefusedError(
            "what was installed is not what the wheels hold: %s" % ", ".join(odd[:5]),
            "report this with the lock: an installer that changes files is not supported",
        )
