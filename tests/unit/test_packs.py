"""Packs of wheels: what is in them is what pip would install, and nothing else is ever written."""

import csv
import importlib.util
import json
import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from pathlib import Path

import pytest
from environment_lab import MINOR
from wheelwright import hash_of, make_wheel

from provisioning.errors import ProvisionError
from provisioning.node import packs, records, venvs
from provisioning.node.codec import RAW, ZLIB, ZSTD, offered
from provisioning.resources.environment.packing import Order, Writer, pack
from provisioning.resources.environment.packs import codec_for, packs_of
from provisioning.resources.environment.unfolding import Unfolded
from provisioning.resources.environment.wheels import Wheel, keep, wheel_store

SITE = f"lib/python{MINOR}/site-packages"
TAG = sys.implementation.cache_tag
EVERY_KIND = {
    "small/__init__.py": b"def main():\n    print('small')\n",
    "small/deep/data.bin": bytes(range(256)) * 30,
    "small/empty.py": b"",
    "small/template.py": b"{{ name }} = \n",
    "small/name with 'quotes'.txt": b"odd",
    "small-1.0.data/purelib/extra.py": b"y = 1\n",
    "small-1.0.data/platlib/fast.so": b"\x7fELF",
    "small-1.0.data/scripts/tool": b"#!python\nimport sys\nprint(sys.prefix)\n",
    "small-1.0.data/scripts/binary": b"\x7fELF\0\0",
    "small-1.0.data/headers/small.h": b"#define SMALL 1\n",
    "small-1.0.data/data/share/man/small.1": b".TH small\n",
    "small-1.0.data/data/bin/plain": b"#!python\n",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(wheel: Path, *, kind: int = ZLIB) -> list[list[object]]:
    """Make both packs of a wheel beside it; return them as a node gets them."""
    files, code = wheel.with_suffix(".files.pack"), wheel.with_suffix(".code.pack")
    pack(Order(str(wheel), hash_of(wheel), MINOR, kind, str(files), str(code)))
    return [[file.name, file.stat().st_size, hash_of(file)] for file in (files, code)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_is_installed_is_what_pip_installs(tmp_path):
    wheel = make_wheel(tmp_path, "small", "1.0", dict(EVERY_KIND), entry="small:main")
    packs.unpack(tmp_path, [packed(wheel)[:1]], tmp_path / "ours")
    theirs = tmp_path / "theirs"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", theirs], check=True)
    before = set(tree(theirs))
    pip = [sys.executable, "-m", "pip", "--python", str(theirs / "bin" / "python"), "install", "-q", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-compile", "--no-warn-script-location", wheel], check=True)
    ours, other = tree(tmp_path / "ours"), {path: data for path, data in tree(theirs).items() if path not in before}
    info = f"{SITE}/small-1.0.dist-info"
    assert set(other) - set(ours) == {f"{info}/REQUESTED", f"{info}/direct_url.json"}  # what a person asked of pip
    assert set(ours) - set(other) == set()
    own = {f"{info}/INSTALLER", f"{info}/RECORD", "bin/tool", "bin/small-say"}
    assert {path: data for path, data in ours.items() if path not in own} == {
        path: other[path] for path in set(ours) - own
    }

    def rows(files: dict[str, bytes]) -> dict[str, list[str]]:
        return {row[0]: row[1:] for row in csv.reader(files[f"{info}/RECORD"].decode().splitlines())}

    listed = rows(ours)
    assert set(rows(other)) - set(listed) == {"small-1.0.dist-info/REQUESTED", "small-1.0.dist-info/direct_url.json"}
    for path in ("../../../bin/tool", "../../../bin/small-say", "small-1.0.dist-info/INSTALLER"):
        assert listed[path] != rows(other)[path]
    same = set(listed) - {"../../../bin/tool", "../../../bin/small-say", "small-1.0.dist-info/INSTALLER"}
    assert {path: listed[path] for path in same} == {path: rows(other)[path] for path in same}
    assert records.of_folder(tmp_path / "ours" / SITE) == dict([records.of_wheel(wheel)])
    for path in ours:
        executable = bool((tmp_path / "ours" / path).stat().st_mode & stat.S_IXUSR)
        assert executable == path.startswith("bin/") - (path == "bin/plain"), path


def test_every_file_of_a_record_has_the_hash_that_is_promised(tmp_path):
    wheel = make_wheel(tmp_path, "small", "1.0", dict(EVERY_KIND), entry="small:main")
    packs.unpack(tmp_path, [packed(wheel)], tmp_path)
    promises = venvs.promised(tmp_path, tmp_path / SITE)
    assert len(promises) == len(EVERY_KIND) + 5
    assert {path: venvs.digest_of(tmp_path / path, promise) for path, promise in promises.items()} == promises


def test_byte_code_is_that_of_the_modules_in_site_packages_that_compile(tmp_path):
    wheel = make_wheel(tmp_path, "small", "1.0", dict(EVERY_KIND))
    packs.unpack(tmp_path, [packed(wheel)], tmp_path)
    made = sorted(str(file.relative_to(tmp_path / SITE)) for file in tmp_path.rglob("*.pyc"))
    assert made == [
        f"__pycache__/extra.{TAG}.pyc",
        f"small/__pycache__/__init__.{TAG}.pyc",
        f"small/__pycache__/empty.{TAG}.pyc",
    ]
    assert packs.magic_of(tmp_path / "small-1.0-py3-none-any.code.pack") == importlib.util.MAGIC_NUMBER.hex()
    ask = "import small, extra; print(small.__cached__)"
    said = subprocess.check_output(
        [sys.executable, "-v", "-B", "-c", ask], env={"PYTHONPATH": str(tmp_path / SITE)}, stderr=-2
    )
    assert b"small/__pycache__/__init__." + TAG.encode() + b".pyc matches" in said


@pytest.mark.parametrize("kind", [RAW, ZLIB, ZSTD])
def test_large_files_cross_blocks(tmp_path, kind):
    if kind == ZSTD and ZSTD not in offered():
        assert codec_for([ZSTD, ZLIB]) == ZLIB
        return
    large = b"".join(number.to_bytes(4, "big") for number in range(packs.BLOCK // 2))
    files = {"small/a.bin": large, "small/b.bin": b"b", "small/c.bin": b"", "small/d.bin": large[::-1]}
    wheel = make_wheel(tmp_path, "small", "1.0", dict(files))
    packs.unpack(tmp_path, [packed(wheel, kind=kind)], tmp_path / "out")
    assert {path: (tmp_path / "out" / SITE / path).read_bytes() for path in files} == files
    index = packs.read_index(tmp_path / "small-1.0-py3-none-any.files.pack")
    assert all(size <= packs.BLOCK for _, _, size in index["blocks"])
    assert len(index["blocks"]) > 3


def test_of_two_wheels_with_one_path_the_later_is_written_with_its_own_byte_code(tmp_path):
    one = make_wheel(tmp_path, "one", "1.0", {"shared/both.py": b"x = 1\n", "shared/one.py": b"x = 1\n"})
    two = make_wheel(tmp_path, "two", "1.0", {"shared/both.py": b"{{ x }\n", "shared/two.py": b"x = 2\n"})
    wheels = [packed(one), packed(two)]
    for number, order in enumerate((wheels, wheels[::-1])):
        packs.unpack(tmp_path, order, tmp_path / str(number))
    shared = tmp_path / "0" / SITE / "shared"
    assert (shared / "both.py").read_bytes() == b"{{ x }\n"
    assert {file.name for file in shared.rglob("*.pyc")} == {
        f"one.{TAG}.pyc",
        f"two.{TAG}.pyc",
    }  # that of `one` is stale
    shared = tmp_path / "1" / SITE / "shared"
    assert (shared / "both.py").read_bytes() == b"x = 1\n"
    assert len(list(shared.rglob("*.pyc"))) == 3


@pytest.mark.parametrize(
    "files",
    [
        {"../../../../bin/sh": b""},
        {"/etc/passwd": b""},
        {"small-1.0.data/data/../../out": b""},
        {"small-1.0.data/scripts/../../out": b"#!python\n"},
        {"small//twice": b""},
        {"small-1.0.data/strange/file": b""},
    ],
)
def test_a_wheel_that_reaches_out_of_its_environment_is_refused(tmp_path, files):
    wheel = make_wheel(tmp_path, "small", "1.0", files)
    with pytest.raises(ProvisionError, match=r"small-1.0-py3-none-any.whl cannot be installed: .*; choose another"):
        packed(wheel)


@pytest.mark.parametrize(
    "text",
    [
        b"[console_scripts]\n../../x = small:main\n",
        b"[console_scripts]\nx = small:main; import os\n",
        b"[console_scripts]\nx = small\n",
        b"[gui_scripts]\n = small:main\n",
        b"console_scripts\n",
        b"[console_scripts]\nx = sm\xffall:main\n",
    ],
)
def test_entry_points_that_name_no_function_are_refused(tmp_path, text):
    wheel = make_wheel(tmp_path, "small", "1.0", {"small-1.0.dist-info/entry_points.txt": text, "small.py": b""})
    with pytest.raises(ProvisionError, match=r"cannot be installed: its entry"):
        packed(wheel)


def test_entry_points_with_extras_and_attributes_start(tmp_path):
    text = b"[console_scripts]\nDeep.Name = small.sub:Class.main [extra]\n[gui_scripts]\nwindow=small.sub:run\n"
    body = b"class Class:\n    @staticmethod\n    def main():\n        return 3\ndef run():\n    return 4\n"
    files = {"small/__init__.py": b"", "small/sub.py": body, "small-1.0.dist-info/entry_points.txt": text}
    wheel = make_wheel(tmp_path, "small", "1.0", files)
    packs.unpack(tmp_path, [packed(wheel)], tmp_path)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    for name, status in (("Deep.Name", 3), ("window", 4)):
        done = subprocess.run(
            [tmp_path / "bin" / name], env={**os.environ, "PYTHONPATH": str(tmp_path / SITE)}, check=False
        )
        assert done.returncode == status


def test_a_wheel_that_changed_in_the_store_is_named(tmp_path):
    wheel = make_wheel(tmp_path, "small", "1.0")
    stored = Wheel(wheel_store(), keep(wheel, wheel_store()))
    stored.file.write_bytes(stored.file.read_bytes() + b"x")
    with pytest.raises(ProvisionError, match=r"small-1.0-py3-none-any.whl is not what was fetched; remove it"):
        packs_of([stored], MINOR, ZLIB, wheel_store())


def test_a_wheel_is_packed_once_for_each_codec(tmp_path):
    wheel = Wheel(wheel_store(), keep(make_wheel(tmp_path, "small", "1.0"), wheel_store()))
    (first,) = packs_of([wheel], MINOR, ZLIB, wheel_store())
    before = [(wheel_store() / entry.path).stat().st_mtime_ns for entry in first.entries]
    assert packs_of([wheel], MINOR, ZLIB, wheel_store()) == [first]
    assert [(wheel_store() / entry.path).stat().st_mtime_ns for entry in first.entries] == before
    (wheel_store() / first.files.path).unlink()
    assert packs_of([wheel], MINOR, ZLIB, wheel_store()) == [first]
    if ZSTD in offered():
        (other,) = packs_of([wheel], MINOR, ZSTD, wheel_store())
        assert other.files.path != first.files.path


def test_packs_are_the_same_bytes_whoever_makes_them(tmp_path):
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        made.append(packed(make_wheel(tmp_path / folder, "small", "1.0", dict(EVERY_KIND))))
    assert made[0] == made[1]


def broken(file: Path, index: object) -> Path:
    text = zlib.compress(json.dumps(index).encode())
    file.write_bytes(packs.FORMAT + text + packs.LENGTH.pack(len(text)))
    return file


@pytest.mark.parametrize(
    "files",
    [[["../out", 0, False]], [["/out", 0, False]], [["a", "x", False]], [["a", 0]], "files", [[1, 0, False]], None],
)
def test_an_index_that_makes_no_sense_writes_nothing(tmp_path, files):
    file = broken(tmp_path / "bad.pack", {"files": files, "blocks": [], "magic": ""})
    with pytest.raises(packs.DamagedError, match=r"bad.pack has no index"):
        packs.unpack(tmp_path, [[[file.name, 0, hash_of(file)]]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", packs.FORMAT, b"timeeval.pack/2\n\0\0\0\0", packs.FORMAT + b"\xff" * 4])
def test_what_is_no_pack_is_named(tmp_path, content):
    (tmp_path / "bad.pack").write_bytes(content)
    with pytest.raises(packs.DamagedError, match=r"bad.pack"):
        packs.unpack(tmp_path, [[["bad.pack", 0, ""]]], tmp_path / "out")


def test_files_that_the_blocks_do_not_fill_are_damage(tmp_path):
    file = broken(tmp_path / "bad.pack", {"files": [["a", 1, False]], "blocks": [], "magic": ""})
    with pytest.raises(packs.DamagedError, match=r"ends early"):
        packs.unpack(tmp_path, [[[file.name, 0, hash_of(file)]]], tmp_path / "out")


def test_a_pack_writes_through_no_link(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "victim")
    with Writer(tmp_path / "a.pack", ZLIB) as writer:
        writer.add("a", [b"x"])
        writer.finish("")
    with pytest.raises(FileExistsError):
        packs.unpack(tmp_path, [[["a.pack", 0, hash_of(tmp_path / "a.pack")]]], tmp_path / "out")
    assert not (tmp_path / "victim").exists()


def test_the_wheels_of_this_very_environment_unfold(tmp_path):
    """Every distribution that is installed here, rebuilt as a wheel, comes out as its RECORD says."""
    made = 0
    for info in sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info")):
        name, version = info.name.removesuffix(".dist-info").rsplit("-", 1)
        wheel = tmp_path / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, _ in records.parse((info / "RECORD").read_text()):
                if (
                    not path.startswith("../")
                    and "__pycache__" not in path
                    and (info.parent / path).stat().st_size < 1 << 20
                ):
                    archive.write(info.parent / path, path)
        with zipfile.ZipFile(wheel) as archive:
            unfolded = Unfolded(archive, MINOR)
            assert f"{SITE}/{info.name}/METADATA" in unfolded.files
            made += 1
        wheel.unlink()
    assert made > 20
