"""Local projects built to wheels: the same content gives the same bytes, and is not built twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.kept import cache_folder
from provisioning.resources.environment.wheels import Wheel, keep, note_down, noted, run, uv_binary, wheel_store
from provisioning.scan import scan

if TYPE_CHECKING:
    from provisioning.manifest import Entry

# 1980-01-01, the first moment an entry of a zip archive can have
EPOCH = "315532800"

_BY_PRODUCTS = frozenset(
    (
        *(".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", ".eggs", "__pycache__", "build", "dist"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".sandbox", ".timeeval", "node_modules"),
    )
)


def build(project: Path) -> Wheel:
    """Return the wheel of a local project, built unless its content has been built before.

    The project is built from a copy, so that nothing is left in it and nothing left in it by an earlier build gets in.

    Parameters
    ----------
    project : Path
        Folder with a ``pyproject.toml`` or ``setup.py``.

    Raises
    ------
    ProvisionError
        When it is no project or cannot be built.
    """
    if not any((project / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise ProvisionError(
            f"{project} is no Python project: it has neither pyproject.toml nor setup.py",
            remedy="name its folder under [environment] projects in the cluster file",
        )
    paths = sorted(files(project))
    digest = content(project, paths)
    note, store = cache_folder() / "projects" / f"{digest}.json", wheel_store()
    known = noted(note, store)
    if known is None:
        known = _build(project, paths, store)
        note_down(note, known)
    return Wheel(store, known)


def files(project: Path) -> Iterator[str]:
    """Give the files that belong to a project: what git tracks or would, else all but the by-products of builds."""
    listed = (
        subprocess.run(
            [
                "git",
                "-C",
                str(project),
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
                "--deduplicate",
            ],
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    if listed is not None and listed.returncode == 0 and listed.stdout:
        yield from (path for path in os.fsdecode(listed.stdout).split("\0") if path and (project / path).is_file())
        return
    for folder, folders, names in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in _BY_PRODUCTS and not name.endswith(".egg-info"))
        below = Path(folder).relative_to(project)
        yield from ((below / name).as_posix() for name in sorted(names) if not name.endswith((".pyc", ".pyo")))


def content(project: Path, paths: list[str]) -> str:
    """Return the sha256 (hex) of a project's files: names, bytes, and which may be executed."""
    manifest = scan(project, paths, cache=cache_folder() / "scans")
    executable = [path for path in paths if os.access(project / path, os.X_OK)]
    return hashlib.sha256(json.dumps([manifest.digest, executable]).encode()).hexdigest()


def _build(project: Path, paths: list[str], store: Path) -> Entry:
    with tempfile.TemporaryDirectory(prefix="timeeval-build-") as scratch:
        copy, out = Path(scratch, "project"), Path(scratch, "out")
        for path in paths:
            target = copy / path
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(project / path, target)
            target.chmod(0o755 if os.access(project / path, os.X_OK) else 0o644)
        run(
            [uv_binary(), "build", "--wheel", "--out-dir", str(out), "."],
            f"building a wheel of {project}",
            f"make `uv build --wheel {project}` work",
            cwd=copy,
            extra={"SOURCE_DATE_EPOCH": EPOCH},
        )
        wheels = sorted(out.glob("*.whl"))
        if len(wheels) != 1:
            raise ProvisionError(
                f"{project} gives {len(wheels)} wheels, not one", remedy="name its folder, not a workspace"
            )
        return keep(wheels[0], store)
