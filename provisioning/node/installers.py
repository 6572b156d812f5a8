"""Two ways to install wheels into a new environment: by uv, and by the driver's pip where uv does not start.

Both get the same wheels and the same hashes, and neither needs anything of the node but an interpreter. Runs on the
node (standard library, Python >= 3.8).
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.node import venvs
from provisioning.node.tools import RefusedError, run

if TYPE_CHECKING:
    from provisioning.node.tools import Beat

_WHY = {
    errno.ENOENT: "it is built for another C library",
    errno.ENOEXEC: "it is built for another architecture",
    errno.EACCES: "the file system is mounted noexec",
}


class Uv:
    """Installs by uv.

    Parameters
    ----------
    program : Path
        Where it starts.
    cache : Path
        Folder for it to unpack wheels in, on the file system of the environment: what is linked is not copied.
    """

    name = "uv"

    def __init__(self, program: Path, cache: Path) -> None:
        self.program = str(program)
        self.common = ["-q", "--no-config", "--cache-dir", str(cache)]

    def install(self, base: str, fresh: Path, wheels: Path, lock: Path, beat: Beat) -> None:
        """Make an environment that may be moved, and put the wheels of a lock into it."""
        run([self.program, "venv", *self.common, "--relocatable", "--prompt", fresh.name, "--python", base, str(fresh)])
        sources = ["--offline", "--no-index", "--find-links", str(wheels), "--require-hashes", "--no-build"]
        wishes = ["--allow-empty-requirements", "--link-mode", "hardlink"]
        command = [self.program, "pip", "sync", *self.common, "--python", str(fresh / "bin" / "python")]
        run([*command, *sources, *wishes, str(lock)], beat)

    def check(self, fresh: Path) -> None:
        """Refuse packages that do not fit together."""
        run([self.program, "pip", "check", *self.common, "--python", str(fresh / "bin" / "python")])


class Pip:
    """Installs by pip, from an archive that Python runs: the node's own need not be there.

    Parameters
    ----------
    archive : Path
        The driver's pip.
    final : Path
        Where the environment will be: programs in its ``bin`` name the interpreter by its whole path.
    """

    name = "pip"

    def __init__(self, archive: Path, final: Path) -> None:
        self.archive = str(archive)
        self.final = final

    def install(self, base: str, fresh: Path, wheels: Path, lock: Path, beat: Beat) -> None:
        """Make an environment that is as if it had been made in its final place."""
        try:
            run([base, "-I", "-m", "venv", "--without-pip", "--prompt", fresh.name, str(fresh)])
        except RefusedError as error:
            if "No module named" not in str(error):
                raise
            raise RefusedError(
                "uv does not start here, and %s has no module venv" % base, "install the package python3-venv"
            ) from error
        if lock.read_text(encoding="utf-8").strip():
            command = [*self._pip(fresh), "install", "--no-index", "--find-links", str(wheels), "--require-hashes"]
            command += ["--no-deps", "--no-compile", "--no-cache-dir", "--no-warn-script-location", "-r", str(lock)]
            run(command, beat)
        _move_programs(fresh, self.final)

    def check(self, fresh: Path) -> None:
        """Refuse packages that do not fit together."""
        run([*self._pip(fresh), "check"])

    def _pip(self, fresh: Path) -> list[str]:
        python = str(fresh / "bin" / "python")
        return [python, "-I", "-B", self.archive, "--isolated", "--disable-pip-version-check", "--no-input", "-q"]


def choose(uv: Path, pip: Path, staging: Path, final: Path) -> Uv | Pip:
    """Return the installer that works here.

    Parameters
    ----------
    uv, pip : Path
        Both as they arrived.
    staging : Path
        Folder for scratch files on the file system of the environment.
    final : Path
        The environment's prefix.
    """
    copy = staging / "uv"
    for program in (uv, copy):
        # the store may lie on a file system from which nothing is started
        if program == copy:
            shutil.copyfile(str(uv), str(copy))
        program.chmod(0o755)
        if not why_not(program):
            return Uv(program, staging / "cache")
    return Pip(pip, final)


def why_not(program: Path) -> str:
    """Return why a program does not start; "" when it does."""
    try:
        done = subprocess.run(
            [str(program), "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=-1, check=False
        )
    except OSError as error:
        return _WHY.get(error.errno or 0, str(error))
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["status %d" % done.returncode]
    return words[0] if done.returncode else ""


def _move_programs(fresh: Path, final: Path) -> None:
    """Let what lies in ``bin`` name the final place, and RECORD files what it holds then."""
    changed = {}
    for file in sorted((fresh / "bin").iterdir()):
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        moved = content.replace(str(fresh).encode(), str(final).encode())
        if moved != content:
            file.write_bytes(moved)
            digest = base64.urlsafe_b64encode(hashlib.sha256(moved).digest()).rstrip(b"=").decode()
            changed["../../../bin/" + file.name] = ["sha256=" + digest, str(len(moved))]
    for record in venvs.site_packages(fresh).glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        if any(row and row[0] in changed for row in rows):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                [row[0], *changed.get(row[0], row[1:])] for row in rows if row
            )
            record.write_text(text.getvalue(), encoding="utf-8")
