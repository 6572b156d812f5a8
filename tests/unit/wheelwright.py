"""Make small wheels and projects without any build tool, for tests."""

import base64
import hashlib
import zipfile
from pathlib import Path

BACKEND = """
import sys, pathlib
sys.path.insert(0, {tests!r})
from wheelwright import make_wheel

def build_wheel(directory, config_settings=None, metadata_directory=None):
    files = {{p.as_posix(): p.read_bytes() for p in sorted(pathlib.Path("pkg").rglob("*.py"))}}
    return make_wheel(pathlib.Path(directory), {name!r}, {version!r}, files, requires={requires!r}).name
"""


def make_wheel(
    folder: Path, name: str, version: str, files=None, *, requires=(), tags="py3-none-any", python=">=3.8", entry=None
):
    """Write a wheel whose bytes depend on its content alone."""
    files = dict(files or {f"{name}/__init__.py": f"version = {version!r}\n".encode()})
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tags}\n".encode()
    files.setdefault(
        f"{info}/entry_points.txt", f"[console_scripts]\n{name}-say = {entry or name + ':version'}\n".encode()
    )
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"{name}-{version}-{tags}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), content)
    return wheel


def make_project(folder: Path, name: str, version: str, requires=()):
    """Write a project that builds itself: no build tool, no network."""
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("answer = 42\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    tests = str(Path(__file__).parent)
    (folder / "backend.py").write_text(BACKEND.format(tests=tests, name=name, version=version, requires=list(requires)))
    return folder


def hash_of(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
