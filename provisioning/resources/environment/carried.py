"""What travels beside the wheels, so that nodes need nothing but an interpreter: uv and pip."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.kept import cache_folder
from provisioning.resources.environment.target import Target, of_driver
from provisioning.resources.environment.wheels import keep, note_down, noted, pip, run, uv_binary

if TYPE_CHECKING:
    from provisioning.manifest import Entry

_PIP_MAIN = "import sys\n\nfrom pip._internal.cli.main import main\n\nsys.exit(main())\n"


def download(wishes: Sequence[str], target: Target, out: Path) -> None:
    """Let the driver's pip fetch wheels for a target.

    Raises
    ------
    ProvisionError
        When one is not to be had.
    """
    command = [*pip(), "download", "-q", "--no-deps", "--only-binary", ":all:", "--dest", str(out)]
    run(
        [*command, *target.pip_options(), *wishes],
        f"fetching wheels for {target}",
        "choose versions that have wheels for this platform, or let pip find your own by PIP_FIND_LINKS",
    )


def uv_for(target: Target, store: Path) -> Entry:
    """Return the uv that runs on a target: the driver's own where it fits, else the one in the wheel of its version."""
    version = run([uv_binary(), "--version"], "asking uv for its version", "install uv again on the driver").split()[1]

    def make(program: Path) -> None:
        driver = of_driver()
        if (driver.machine, driver.libc) == (target.machine, target.libc):
            shutil.copyfile(uv_binary(), program)
            return
        download([f"uv=={version}"], target, program.parent)
        with zipfile.ZipFile(next(program.parent.glob("*.whl"))) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            program.write_bytes(archive.read(name))

    return _once(f"uv-{target.slug}-{version}", "uv", make, store)


def pip_archive(store: Path) -> Entry:
    """Return the driver's pip as an archive that any Python runs."""
    pip()  # names the remedy when there is none
    version = importlib.metadata.version("pip")
    spec = importlib.util.find_spec("pip")
    assert spec is not None  # noqa: S101 - the line above
    assert spec.origin is not None  # noqa: S101 - pip is a package of files
    package = Path(spec.origin).parent

    def make(archive: Path) -> None:
        files = sorted(file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in [
                ("__main__.py", _PIP_MAIN.encode()),
                *((file.relative_to(package.parent).as_posix(), file.read_bytes()) for file in files),
            ]:
                made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, compress_type=zipfile.ZIP_DEFLATED)

    return _once(f"pip-{version}", f"pip-{version}.pyz", make, store)


def _once(what: str, name: str, make: Callable[[Path], None], store: Path) -> Entry:
    """Return the entry of a file that is made unless the store still holds it."""
    note = cache_folder() / "wheelhouses" / f"{what}.json"
    known = noted(note, store)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="timeeval-carried-") as scratch:
        file = Path(scratch, name)
        make(file)
        entry = keep(file, store)
    note_down(note, entry)
    return entry
