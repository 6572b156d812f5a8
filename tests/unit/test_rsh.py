import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from provisioning.errors import UnreachableError
from provisioning.inventory import Cluster, Limits, Node
from provisioning.rsh import VARIABLE, Handover, handover

NODE = Node("local", is_driver=True)
NOBODY = Node("nobody", address="127.0.0.1", port=1)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(NOBODY,),
        driver=NODE,
        scheduler=NODE,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
        limits=Limits(connect_timeout=3),
    )


@pytest.fixture
def local(cluster: Cluster) -> Iterator[Handover]:
    with handover(cluster, NODE) as given:
        yield given


def rsync(given: Handover, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = ["rsync", "-s", "-r", *map(str, arguments)]
    return subprocess.run(argv, env=os.environ | given.env, capture_output=True, text=True, check=False)


def test_files_travel_both_ways_with_names_that_a_shell_would_break(local: Handover, tmp_path: Path) -> None:
    names = ["plain", "with blank", "$(touch pwned)", "quote'\"", "ünïcode", "-rf", "a;b&c|d"]
    source, target, back = (tmp_path / name for name in ("so urce", "tar $get", "back"))
    source.mkdir()
    for name in names:
        (source / name).write_bytes(name.encode() + os.urandom(200_000))
    listing = tmp_path / "list"
    listing.write_text("\0".join(names))
    there = rsync(local, "--from0", f"--files-from={listing}", f"{source}/", f"node:{target}/")
    assert (there.returncode, there.stderr) == (0, "")
    again = rsync(local, f"node:{target}/", f"{back}/")
    assert (again.returncode, again.stderr) == (0, "")
    assert sorted(entry.name for entry in back.iterdir()) == sorted(names)
    assert all((source / name).read_bytes() == (back / name).read_bytes() for name in names)
    assert local.error() is None


def test_a_node_that_is_not_reached_is_explained(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with handover(cluster, NOBODY) as given:
        assert rsync(given, tmp_path / "f", "node:/tmp/never").returncode != 0
        error = given.error()
    assert isinstance(error, UnreachableError)
    assert "nobody: 127.0.0.1:1 refuses the connection" in str(error)


def test_what_rsync_itself_complains_about_reaches_its_caller(local: Handover, tmp_path: Path) -> None:
    done = rsync(local, f"node:{tmp_path}/missing", tmp_path)
    assert done.returncode == 23
    assert "No such file or directory" in done.stderr
    assert local.error() is None


def test_nothing_but_rsyncs_server_side_is_started(local: Handover) -> None:
    for command in (["id"], ["rsync", "--daemon"], ["rsync"], []):
        argv = [sys.executable, "-m", "provisioning.rsh", "node", *command]
        done = subprocess.run(argv, env=os.environ | local.env, capture_output=True, text=True, check=False)
        assert done.returncode == 255
        assert "nothing else" in done.stderr


def test_the_handover_is_private_and_short_lived(cluster: Cluster) -> None:
    with handover(cluster, NOBODY) as given:
        file = Path(given.env[VARIABLE])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.exists()
