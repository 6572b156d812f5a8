"""A run that another host drives: what travels there, what the program there does with it, and the note here."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from click.testing import CliRunner

from provisioning import inventory
from provisioning.errors import NodeError
from provisioning.inventory import Cluster, DatasetFolder, Environment, Image, Limits, Node, Ports, Push
from provisioning.launch import Session
from provisioning.receipt import Proven, Receipt, load, save
from provisioning.transplant import sources_beside, transplanted
from timeeval.cli import results_command, run_command
from timeeval.cluster import luggage
from timeeval.cluster.lodging import Lodging
from timeeval.errors import TimeEvalError
from timeeval.run import local_code
from timeeval.run.driven import FILE_NAME, Driven
from timeeval.run.driver import Driver
from timeeval.run.provenance import state_of_code

NOTED = ".timeeval/collected.jsonl"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPq9hP7CmVgFhkNhPrZqGyPTqYIzxTQJxlzI3ofjI9b7"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKsQcbXwrL0lbbwfs0pLFsMvxRZ7Ex0mX0MQ2dUzXbRL"
PROOF = Receipt(
    cluster="lab",
    node="n1",
    time=1000.0,
    tool="0.1.0",
    machine_id="m",
    boot_id="b",
    kernel="6.1",
    machine="x86_64",
    libc="glibc 2.36",
    clock_offset=7.0,
    python="3.11.2",
    prefix="/srv/env",
    lock="l",
    environment="e",
    docker=None,
    datasets={},
    images={},
)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster as a laptop sees it: reached by an ssh configuration and a key of its own."""
    home = tmp_path / "laptop"
    (home / "data").mkdir(parents=True)
    (home / "data" / "datasets.csv").write_text("", encoding="utf-8")
    config = home / "ssh_config"
    config.write_text(
        "Host n1\n HostName 10.0.0.1\nHost n2\n HostName 10.0.0.2\n Port 2222\nHost *\n User anna\n"
        f" UserKnownHostsFile {home / 'mine'}\n",
        encoding="utf-8",
    )
    (home / "known_hosts").write_text(f"10.0.0.1 {KEY}\n[10.0.0.2]:2222 {KEY}\n", encoding="utf-8")
    (home / "mine").write_text(f"@revoked [10.0.0.2]:2222 {OTHER}\n", encoding="utf-8")
    key = home / "id"
    key.write_text("PRIVATE", encoding="utf-8")
    shared = tmp_path / "nodes"
    (shared / "data").mkdir(parents=True)
    (shared / "data" / "datasets.csv").write_text("", encoding="utf-8")
    nodes = (Node("n1", key=key), Node("n2", key=key, slots=3))
    environment = Environment(PurePosixPath(sys.prefix), "3.11", requirements=(config,), projects=(home,))
    return Cluster(
        name="lab",
        file=home / "cluster.toml",
        nodes=nodes,
        driver=Node("local", is_driver=True),
        scheduler=Node("local", is_driver=True),
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath(tmp_path / "state"),
        known_hosts=home / "known_hosts",
        ssh_config=config,
        groups={"fast": ("n2",)},
        datasets=(DatasetFolder(home / "data", PurePosixPath(shared / "data"), mode=0o640),),
        environment=environment,
        environments=(environment,),
        images=(Image("timeeval/one:1", home),),
        push=Push("registry", "lab:5000", by_context=True),
        ports=Ports(8786, (30000, 30100)),
        limits=Limits(uploads=3),
    )


def prove(cluster: Cluster) -> None:
    data = {str(cluster.datasets[0].path): Proven("d", {"datasets.csv": ("aa", 0, 5, 7, 9)})}
    save(cluster, dataclasses.replace(PROOF, datasets=data))
    save(cluster, dataclasses.replace(PROOF, node="n2", clock_offset=5.0))


def arrived(cluster: Cluster, folder: Path) -> Cluster:
    for path, content in transplanted(cluster, cluster.nodes[0]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return inventory.load(folder / "cluster.toml")


def test_a_cluster_is_the_same_for_a_driver_among_its_hosts(cluster: Cluster, tmp_path: Path) -> None:
    prove(cluster)

    there = arrived(cluster, tmp_path / "there")

    assert there.driver.name == there.scheduler.name == "n1"
    assert [node.is_driver for node in there.nodes] == [True, False]
    second = there.nodes[1]
    assert (second.address, second.port, second.user, second.slots) == ("10.0.0.2", 2222, "anna", 3)
    assert [node.key for node in there.nodes] == [None, None]
    assert there.ssh_config is None
    other = {"file", "nodes", "driver", "scheduler", "known_hosts", "ssh_config", "datasets", "images"}
    for name in {field.name for field in dataclasses.fields(Cluster)} - other - {"environment", "environments"}:
        assert getattr(there, name) == getattr(cluster, name), name
    path = cluster.datasets[0].path
    assert there.datasets == (DatasetFolder(Path(path), path, mode=0o640),)
    assert there.images == (Image("timeeval/one:1"),)
    assert there.environment == Environment(PurePosixPath(sys.prefix), "3.11")


def test_pinned_host_keys_hold_for_the_new_driver(cluster: Cluster, tmp_path: Path) -> None:
    prove(cluster)
    known = (arrived(cluster, tmp_path / "there").known_hosts).read_text(encoding="utf-8")
    assert known.splitlines() == [f"n2,[10.0.0.2]:2222 {KEY}", f"@revoked n2,[10.0.0.2]:2222 {OTHER}"]


def test_proofs_travel_with_clocks_as_the_new_driver_sees_them(cluster: Cluster, tmp_path: Path) -> None:
    prove(cluster)
    there = arrived(cluster, tmp_path / "there")
    proofs = {node.name: load(there, node) for node in there.nodes}
    assert {name: proof and proof.clock_offset for name, proof in proofs.items()} == {"n1": 0.0, "n2": -2.0}
    assert proofs["n1"] == dataclasses.replace(load(cluster, cluster.nodes[0]) or PROOF, clock_offset=0.0)


def test_nothing_of_this_machine_is_told(cluster: Cluster, tmp_path: Path) -> None:
    prove(cluster)
    files = transplanted(cluster, cluster.nodes[0])
    told = files["cluster.toml"] + files["known_hosts"]
    assert b"PRIVATE" not in b"".join(files.values())
    assert str(tmp_path / "laptop").encode() not in told


def test_data_beside_the_script_have_their_place(cluster: Cluster, tmp_path: Path) -> None:
    assert sources_beside(cluster, tmp_path / "laptop") == {"data": str(cluster.datasets[0].path)}
    assert sources_beside(cluster, tmp_path / "elsewhere") == {}


# --- what the script needs -------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "lab/run.py": "import helper_of_lab, numpy\nraise RuntimeError('it does not run here')\n",
        "lab/helper_of_lab.py": "def late():\n    import parts_of_lab.deep\n",
        "lab/parts_of_lab/__init__.py": "",
        "lab/parts_of_lab/deep.py": "",
        "lab/experiment.toml": '[[algorithm]]\nfunction = "helper_of_lab:late"\n',
        "settings/a.json": "{}",
        "settings/deep/b.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


MODULES = {"lab/helper_of_lab.py", "lab/parts_of_lab/__init__.py", "lab/parts_of_lab/deep.py"}


def test_the_scripts_own_modules_go_along_unimported(project: Path) -> None:
    before = list(sys.path)
    found = luggage.files_of(Path("lab/run.py"), [Path("settings")])
    assert found.keys() == {"lab/run.py", *MODULES, "settings/a.json", "settings/deep/b.json"}
    assert sys.path == before
    assert "helper_of_lab" not in sys.modules


def test_those_of_an_experiment_file_do_too(project: Path) -> None:
    assert luggage.files_of(Path("lab/experiment.toml"), []).keys() == {"lab/experiment.toml", *MODULES}
    assert local_code.of_script(Path("lab/experiment.toml")).keys() >= {"helper_of_lab"}


def test_a_script_elsewhere_keeps_its_neighbours(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = luggage.files_of(project / "lab" / "run.py", [])
    assert found.keys() == {f"beside/{name.removeprefix('lab/')}" for name in {"lab/run.py", *MODULES}}
    with pytest.raises(TimeEvalError, match=r"has no place on another host\. Start from a folder above it"):
        luggage.files_of(project / "lab" / "run.py", [project / "settings"])


def test_the_state_of_the_code_goes_along(
    cluster: Cluster, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove(cluster)
    script = Path("lab/run.py")
    earlier = tmp_path / "earlier"
    for name in ("journal.sqlite", "journal.sqlite.lock", FILE_NAME, "slow/scores.ts", ".timeeval/incoming/x/y", NOTED):
        (earlier / name).parent.mkdir(parents=True, exist_ok=True)
        (earlier / name).touch()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    there = tmp_path / "arrived"
    files = luggage.files_of(script, [])
    with (
        luggage.packed(cluster, cluster.nodes[0], script, files, earlier) as packed,
        tarfile.open(fileobj=packed, mode="r|gz") as archive,
    ):
        archive.extractall(there, filter="data")
    assert {path.relative_to(there).as_posix() for path in (there / "results").rglob("*") if path.is_file()} == {
        "results/1/journal.sqlite",
        "results/1/slow/scores.ts",
        f"results/1/{NOTED}",
    }
    here = state_of_code(script.resolve().parent)
    assert here is not None
    monkeypatch.chdir(there / "work")
    assert state_of_code(there / "work" / "lab") == here


# --- the program there -----------------------------------------------------------------------------------------------


@pytest.fixture
def lodging(cluster: Cluster, tmp_path: Path) -> Lodging:
    """A lodging on this machine, spoken to through the very program that hosts run."""
    folder = tmp_path / "state" / "driven" / "2026-1"
    note = Driven("n1", str(folder), str(cluster.file), None, "all")
    return Lodging(cluster, Session(cluster.nodes[0], 20), note)


def archive(files: dict[str, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    made.seek(0)
    return made


def test_what_arrives_lies_in_a_private_folder(lodging: Lodging, cluster: Cluster) -> None:
    data = str(cluster.datasets[0].path)
    lodging.settle(archive({"cluster.toml": b"x", "work/a/run.py": b"y" * 300_000}), {"a/data": data})
    folder = Path(lodging.note.folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    assert (folder / "work/a/run.py").stat().st_mode & 0o777 == 0o600
    assert (folder / "work/a/run.py").read_bytes() == b"y" * 300_000
    assert (folder / "work/a/data/datasets.csv").is_file()


def test_a_new_start_replaces_everything_but_results(lodging: Lodging) -> None:
    lodging.settle(archive({"old": b"1", "work/old": b"1"}), {})
    run = Path(lodging.note.results) / "2026"
    run.mkdir()
    (run / "results.csv").touch()
    (run / ".timeeval").mkdir()
    (run / NOTED).touch()
    lodging.settle(archive({"work/new": b"2"}), {})
    folder = Path(lodging.note.folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "results/2026/results.csv",
        f"results/2026/{NOTED}",
        "work/new",
    }
    assert lodging.runs() == {"2026": [NOTED, "results.csv"]}


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "work/./a"])
def test_nothing_is_written_elsewhere(lodging: Lodging, name: str, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="n1: lodge failed: ValueError"):
        lodging.settle(archive({name: b"evil"}), {})
    assert list(tmp_path.rglob("outside")) == []


def test_links_are_no_files(lodging: Lodging) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        member = tarfile.TarInfo("work/a")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member)
    made.seek(0)
    with pytest.raises(NodeError, match="'work/a' is no file"):
        lodging.settle(made, {})


@pytest.mark.parametrize(
    "folder", ["/home/me", "{state}/driven", "{state}/driven/..", "{state}/driven/a/b", "{state}/x"]
)
def test_a_note_leads_nowhere_but_to_runs(lodging: Lodging, cluster: Cluster, folder: str) -> None:
    note = dataclasses.replace(lodging.note, folder=folder.format(state=cluster.state))
    with pytest.raises(TimeEvalError, match=r"n1: .* is no folder of a run there"):
        Lodging(cluster, lodging.session, note)


def test_a_host_without_the_environment_is_refused(lodging: Lodging, cluster: Cluster) -> None:
    nowhere = dataclasses.replace(cluster, environment=Environment(PurePosixPath("/nowhere"), "3.11"))
    with pytest.raises(NodeError, match="n1: it has no /nowhere/bin/python; timeeval-provision create-envs"):
        Lodging(nowhere, lodging.session, lodging.note).settle(archive({}), {})
    assert not Path(lodging.note.folder).exists()


def test_a_folder_whose_driver_lives_is_left_alone(lodging: Lodging) -> None:
    lodging.settle(archive({"kept": b"1"}), {})
    run = Path(lodging.note.results) / "2026"
    run.mkdir()
    driver = Driver.this()
    driver.write(run)

    actions: list[Callable[[], Any]] = [lambda: lodging.settle(archive({}), {}), lodging.runs, lodging.remove]
    for action in actions:
        with pytest.raises(NodeError, match=rf"n1: the run of this folder goes on here \(process {driver.pid}\)"):
            action()
    assert (Path(lodging.note.folder) / "kept").is_file()

    for ended in ({"exit_code": 0}, {"boot": "another"}, {"started": 1}, {"pid": 2**22 + 1}):
        dataclasses.replace(driver, **ended).write(run)
        assert lodging.runs() == {"2026": ["driver.json"]}
    lodging.remove()
    assert not Path(lodging.note.folder).parent.exists()


def test_commands_there_speak_here_and_end_with_their_status(lodging: Lodging) -> None:
    lodging.settle(archive({}), {})
    out: list[str] = []
    err: list[str] = []
    status = lodging.speak(["timeeval-results", "watch", lodging.note.results], out.append, err.append)
    assert status == 2
    assert out == []
    assert "there is no run in" in "".join(err)
    assert lodging.speak(["timeeval-results", "--help"], out.append, err.append) == 0
    assert any("watch" in line for line in out)


# --- the note and the commands here ----------------------------------------------------------------------------------


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Driven.of(tmp_path) is None
    note = Driven("n1", "/srv/state/driven/x", "/home/me/my cluster.toml", "gpu", "scores")
    note.write(tmp_path)
    assert Driven.of(tmp_path) == note
    (tmp_path / FILE_NAME).write_text('{"host": "n1"}', encoding="utf-8")
    with pytest.raises(TimeEvalError, match=r"driven\.json cannot be read"):
        Driven.of(tmp_path)


def test_what_a_host_says_is_told_with_paths_of_this_machine(tmp_path: Path) -> None:
    note = Driven("n1", "/srv/driven/x-1", "/home/me/my cluster.toml", None, "all")
    said = (
        "`timeeval-run … --resume /srv/driven/x-1/results/2026_11_25_22_00_00-2` goes on; run `up --cluster "
        'after /srv/driven/x-1/cluster.toml`; File "/srv/driven/x-1/work/lab/run.py"'
    )
    assert note.told_here(said, Path("/home/me/results/r")) == (
        "`timeeval-run … --resume /home/me/results/r-2` goes on; run `up --cluster "
        "after '/home/me/my cluster.toml'`; File \"lab/run.py\""
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--on", "n1"], "--on names a host of a cluster; name the cluster with --cluster"),
        (["--on", "n1", "--local"], "--on and --local exclude each other"),
        (["--on", "n1", "--scheduler", "tls://h:1"], "--on and --scheduler exclude each other"),
        (["--on", "n1", "--cluster", "script.py", "--needs"], "--on and --needs exclude each other"),
        (["--with", "script.py"], "--with belongs to --on"),
    ],
)
def test_options_that_contradict_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").touch()
    done = CliRunner().invoke(run_command, ["script.py", *arguments])
    assert done.exit_code == 2
    assert text in done.stderr


def test_a_run_elsewhere_is_resumed_nowhere_else(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    file = write_cluster(cluster)
    Driven("n2", "/srv/x", str(file), None, "all").write(folder)
    (tmp_path / "script.py").touch()
    done = CliRunner().invoke(run_command, [str(tmp_path / "script.py"), "--resume", str(folder), "--on", "n1"])
    assert done.exit_code == 2
    assert f"the run of {folder} lives on n2, not on n1" in done.stderr
    done = CliRunner().invoke(run_command, [str(tmp_path / "script.py"), "--resume", str(folder), "--local"])
    assert done.exit_code == 2
    assert "is driven by n2" in done.stderr


def test_a_host_that_is_none_or_this_machine_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    file = write_cluster(cluster, 'driver = "n2"')
    (tmp_path / "script.py").touch()
    for host, text in (("n9", "has no host 'n9'. Its hosts: n[1-2]"), ("n2", "n2: it is this machine")):
        arguments = [
            str(tmp_path / "script.py"),
            "--cluster",
            str(file),
            "--on",
            host,
            "--results",
            str(tmp_path / "r"),
        ]
        done = CliRunner().invoke(run_command, arguments)
        assert done.exit_code == 2
        assert text in done.stderr
    assert not (tmp_path / "r").exists()


def write_cluster(cluster: Cluster, more: str = "") -> Path:
    cluster.file.write_text(
        f'[cluster]\nname = "lab"\nhosts = ["n1", "n2"]\nresults = "/srv/results"\n{more}\n'
        f'[environment]\nprefix = {json.dumps(sys.prefix)}\npython = "3.11"\n',
        encoding="utf-8",
    )
    return cluster.file


def test_a_host_that_is_not_reached_is_told_and_what_is_here_stays(cluster: Cluster, tmp_path: Path) -> None:
    text = f'ssh_config = "ssh_config"\n[host."n1"]\naddress = "127.0.0.1"\nport = {free_port()}\n'
    folder = tmp_path / "r"
    folder.mkdir()
    Driven("n1", "/srv/x", str(write_cluster(cluster, text)), None, "all").write(folder)
    for verb in ("show", "watch", "stop", "fetch"):
        done = CliRunner().invoke(results_command, [verb, str(folder)])
        assert done.exit_code == 8, done.output
        assert "timeeval-results: n1: 127.0.0.1:" in done.stderr
    assert Driven.of(folder) is not None


def free_port() -> int:
    probe = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])"
    return int(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, text=True).stdout)
