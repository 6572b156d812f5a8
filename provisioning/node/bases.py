"""The interpreter that an environment is made with: the node's own, or one that came along. Python >= 3.8."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from provisioning.node.observe_environment import described, interpreter
from provisioning.node.switching import previous_of, remove
from provisioning.node.tools import Beat, RefusedError, run
from provisioning.node.tree import safe_path

_STANDALONE = "name the folder of a standalone build under python_from (python-build-standalone)"
_COMPILE = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)"


def base(args: dict[str, Any], prefix: Path, staging: Path, beat: Beat) -> dict[str, str]:
    """Return {"path", "version", "magic"} of the interpreter for ``args["python"]``.

    Parameters
    ----------
    args : dict
        ``python`` (minor version), ``store``, and ``base``: [path in the store, size, sha256] of one that came along,
        or None.
    prefix : Path
        The environment; the interpreter lies beside it, so that who sees the one sees the other.
    staging : Path
        Folder on the same file system.
    beat : callable
        A sign of life.
    """
    if not args["base"]:
        found = interpreter(args["python"])
        if found is None:
            raise RefusedError("there is no Python %s" % args["python"], "install python%s there" % args["python"])
        return found
    archive = Path(args["store"]) / args["base"][0]
    home = prefix.parent / ("%s.python-%s" % (prefix.name, archive.parent.name))
    program = home / "bin" / ("python" + args["python"])
    if described(str(program)) is None:
        fresh = staging / "python"
        _unpack(archive, fresh)
        moved = fresh / "bin" / program.name
        if described(str(moved)) is None:
            raise RefusedError("the interpreter that came along does not run here: %s" % _why(moved), _STANDALONE)
        run([str(moved), "-I", "-c", _COMPILE, str(fresh / "lib" / program.name)], beat)
        remove(home)
        fresh.rename(home)
    found = described(str(program))
    if found is None or not found["version"].startswith(args["python"] + "."):
        raise RefusedError("%s is not Python %s" % (program, args["python"]), "bring another interpreter")
    return found


def _why(program: Path) -> str:
    try:
        run([str(program), "-I", "-c", "pass"])
    except (RefusedError, OSError) as error:
        return str(error)
    return "it does not say what it is"


def forget(prefix: Path) -> None:
    """Remove interpreters that came along and that neither the environment nor the one before it uses."""
    used = {(each / "bin" / "python").resolve().parent.parent for each in (prefix, previous_of(prefix))}
    for home in prefix.parent.glob(prefix.name + ".python-*"):
        if home.resolve() not in used:
            shutil.rmtree(str(home))


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(str(archive)) as packed:
        for info in packed:
            safe_path(info.name)
            if info.issym():
                safe_path(str(PurePosixPath(info.name).parent / info.linkname))
            elif not info.isreg():
                raise ValueError("%s in %s is neither a file nor a link" % (info.name, archive))
            packed.extract(info, str(folder), set_attrs=not info.issym(), **_TRUSTED)


# its names and links have been looked at; later versions of Python warn unless told so
_TRUSTED: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
