"""What can go wrong on a node before, between and after verifications: one clear line each, and the gate holds.

The nodes are verified once; each test harms one of them, asks the gate and the commands, and mends what it harmed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from practice import ROOT, Commands

from provisioning import locks, receipt
from provisioning.errors import NotVerifiedError, ProvisionError
from provisioning.gate import quick
from provisioning.inventory import Cluster, load
from provisioning.launch import open_session
from provisioning.resources.base import DatasetNeed, Needs
from provisioning.resources.environment.project import files

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

NODES = ("node1", "node2")
FILE = "datasets.csv"
SSHD = "/etc/ssh/sshd_config"
# not the times of files, which a file server would tell; with the monotonic clock left alone, sleeping fails (EINVAL)
WRONG_CLOCK = (
    f"cp {SSHD} {SSHD}.kept; lib=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1); "
    f'echo "SetEnv LD_PRELOAD=$lib FAKETIME=+300s NO_FAKE_STAT=1" >> {SSHD}; '
    "kill -HUP $(cat /run/sshd.pid)"
)
RIGHT_CLOCK = f"mv {SSHD}.kept {SSHD}; kill -HUP $(cat /run/sshd.pid)"
END_LOGINS = "; pkill -f '^sshd: [a-z]'; sleep 1"  # commands keep their connections for each other


@dataclass
class Scene:
    """Nodes that were verified, under a name of their own for receipts."""

    cluster: Cluster
    sandbox: Sandbox
    commands: Commands
    kept: Path

    def call(self, verb: str, *args: str, limit: str = "node[1-2]") -> tuple[int, dict[str, dict[str, Any]]]:
        argv = [verb, "--cluster", self.cluster.file, "--json", "--limit", limit, *args]
        done = self.commands.run("timeeval-provision", *argv, seconds=200)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows, done.stderr
        return done.returncode, {row["node"]: row for row in rows}

    def refusal(self, name: str) -> str:
        """What the gate says of a node; "" when it lets it run."""
        data = DatasetNeed(PurePosixPath(self.cluster.datasets[0].path), (), (FILE,))
        needs = Needs((data,), tuple(image.name for image in self.cluster.images))
        found = quick(self.cluster, [self.cluster.node(name)], needs)[name]
        if isinstance(found, ProvisionError):
            assert isinstance(found, NotVerifiedError), found
            return found.message
        return ""

    def root(self, name: str, script: str) -> str:
        return self.sandbox.node(name).exec(["sh", "-ec", script]).stdout

    @contextlib.contextmanager
    def harmed(self, name: str, do: str, undo: str) -> Iterator[None]:
        self.root(name, do)
        try:
            yield
        finally:
            self.root(name, undo)

    @property
    def data(self) -> str:
        return str(self.cluster.datasets[0].path)

    @property
    def packages(self) -> str:
        assert self.cluster.environment is not None
        return f"{self.cluster.environment.prefix}/lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def verified(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two nodes, made ready and verified once for all tests here."""
    base, name, own = (
        f"/srv/timeeval/test-faults-{os.getpid()}",
        f"faults-{os.getpid()}",
        tmp_path_factory.mktemp("own"),
    )
    # a copy, as it is now: whoever edits this clone meanwhile makes the nodes differ from it, and rightly so
    for path in files(ROOT):
        (own / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, own / "project" / path)
    shutil.copytree(ROOT / "examples" / "data" / "nab", own / "nab")
    text = sandbox.cluster_file.read_text(encoding="utf-8")
    for old, new in {
        'name = "sandbox"': f'name = "{name}"',
        'projects = [".."]': f'projects = ["{own}/project"]',
        'source = "../examples/data/nab"': f'source = "{own}/nab"',
        'path = "/srv/timeeval/data/nab"': f'path = "{base}/nab"',
        'results = "/srv/timeeval/results"': f'results = "{base}/results"',
    }.items():
        assert old in text
        text = text.replace(old, new)
    file = sandbox.cluster_file.with_name(f"{name}.toml")
    file.write_text(text, encoding="utf-8")
    commands = Commands(ROOT)
    scene = Scene(load(file), sandbox, commands, own / "receipts")
    done = commands.run("timeeval-provision", "up", "--cluster", file, "--limit", "node[1-2]", seconds=280)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(receipt.folder(scene.cluster), scene.kept)
    yield scene
    for node in sandbox.nodes:
        node.exec(["rm", "-rf", base])
    shutil.rmtree(file.parent / ".timeeval" / name, ignore_errors=True)
    file.unlink()


@pytest.fixture
def scene(verified: Scene) -> Iterator[Scene]:
    """The nodes with the receipts that they got when all was well."""
    shutil.rmtree(receipt.folder(verified.cluster))
    shutil.copytree(verified.kept, receipt.folder(verified.cluster))
    yield verified
    verified.commands.close()


def findings(row: dict[str, Any]) -> str:
    told = [f"{finding['severity']}: {finding['message']}; {finding['remedy']}" for finding in row["findings"]]
    return "\n".join([*told, (row["error"] or {}).get("message", "")])


@pytest.mark.timeout(400)
def test_verified_nodes_may_run(scene: Scene) -> None:
    assert {name: scene.refusal(name) for name in NODES} == dict.fromkeys(NODES, "")
    assert "verified" in "\n".join(explain(scene, "node1"))


def explain(scene: Scene, name: str) -> list[str]:
    done = scene.commands.run("timeeval-provision", "explain", name, "--cluster", scene.cluster.file)
    return done.stdout.splitlines()


def test_a_clock_that_is_five_minutes_off(scene: Scene) -> None:
    # Containers have the kernel's one clock. What sshd starts gets another from the C library, whatever the program:
    # the shells and interpreters of our commands and all that they start.
    with scene.harmed("node2", WRONG_CLOCK + END_LOGINS, RIGHT_CLOCK + END_LOGINS):
        date = subprocess.run(scene.sandbox.ssh_argv("node2", "date", "+%s"), capture_output=True, check=True)
        assert 290 < int(date.stdout) - time.time() < 310
        assert "its clock is +300 s off this machine's" in scene.refusal("node2")
        code, rows = scene.call("check")
        assert code == 16
        assert "error: its clock is +" in findings(rows["node2"])
        assert rows["node1"]["state"] == "ok"
        code, rows = scene.call("verify", limit="node2")
        assert code == 16
        assert "its clock is +" in findings(rows["node2"])
    # set right again, it still has to be verified: nobody knows what was measured by the wrong one
    assert "it is not verified since" in scene.refusal("node2")


def test_a_cloned_machine_id(scene: Scene) -> None:
    keep = "cp /etc/machine-id /etc/machine-id.kept"
    other = scene.root("node1", "cat /etc/machine-id").strip()
    with scene.harmed("node2", f"{keep}; echo {other} > /etc/machine-id", "cat /etc/machine-id.kept > /etc/machine-id"):
        code, rows = scene.call("check")
        assert code == 0
        assert "has the machine-id of node1: one is a clone of the other" in findings(rows["node2"])
        assert "systemd-machine-id-setup" in findings(rows["node2"])
        assert "it is another machine than the one that was verified" in scene.refusal("node2")


def test_a_docker_socket_without_permission(scene: Scene) -> None:
    with scene.harmed("node2", "chmod 600 /var/run/docker.sock", "chmod 660 /var/run/docker.sock"):
        assert "permission denied" in scene.refusal("node2")
        code, rows = scene.call("verify", limit="node2")
        assert code == 16
        assert "permission denied" in findings(rows["node2"])
        assert "add this user to the group docker and log in anew" in findings(rows["node2"])


def test_a_package_that_is_half_installed(scene: Scene) -> None:
    where = f"{scene.packages}/tqdm"
    aside = f"mkdir -p /root/half && mv {where}/std.py {where}/utils.py /root/half/"
    with scene.harmed("node2", aside, f"mv /root/half/* {where}/"):
        assert "tqdm/std.py is missing" in scene.refusal("node2")
        code, rows = scene.call("verify", limit="node2")
        assert code == 16
        error = rows["node2"]["error"]
        assert "tqdm/std.py is missing" in error["message"]
        assert "tqdm/utils.py is missing" in error["message"]
        assert error["remedy"].startswith("timeeval-provision create-envs --cluster")


def test_a_package_that_was_edited_as_if_nothing_had_happened(scene: Scene) -> None:
    # the same size and times: no short look can see it, reading does
    module = f"{scene.packages}/tqdm/std.py"
    edit = f"cp -p {module} /root/std.py; sed -i 's/tqdm/tpdm/' {module}; touch -r /root/std.py {module}"
    with scene.harmed("node2", edit, f"cp -p /root/std.py {module}"):
        assert scene.refusal("node2") == ""
        code, rows = scene.call("verify", "--deep", limit="node2")
        assert code == 16
        assert "tqdm/std.py was changed" in rows["node2"]["error"]["message"]
        assert "create-envs --deep" in rows["node2"]["error"]["remedy"]
        assert "tqdm/std.py was changed" in scene.refusal("node2")
    assert any("tqdm/std.py was changed" in line for line in explain(scene, "node2"))


def test_a_layer_that_rots_on_disk(scene: Scene) -> None:
    victim = "$(ls -d /var/lib/docker/overlay2/*/diff/etc/debian_version | head -n 1)"
    rot = f"v={victim}; echo $v > /root/rotten; cp -p $v /root/layer-file; echo x >> $v"
    with scene.harmed(
        "node1", rot, "cat /root/layer-file > $(cat /root/rotten); touch -r /root/layer-file $(cat /root/rotten)"
    ):
        assert scene.refusal("node1") == ""
        code, rows = scene.call("verify", "--deep", limit="node1")
        assert code == 16
        assert "etc/debian_version" in findings(rows["node1"])
        assert "on disk have changed" in scene.refusal("node1")


def test_an_operator_who_vanishes_frees_the_locks(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(locks, "SILENCE_SECONDS", 5.0)
    folder = PurePosixPath(scene.data)
    file = locks.within(folder)
    free = ["flock", "--nonblock", str(file), "true"]
    node = scene.sandbox.node("node2")
    with open_session(scene.cluster, scene.cluster.node("node2")) as session, ExitStack() as stack:
        locks.hold(stack, session, {str(folder): file})
        assert node.exec(free, check=False).returncode == 1
        assert any(f"{folder} is being changed by" in line for line in explain(scene, "node2"))
        with scene.sandbox.cut_off("node2"):
            wait_until(lambda: node.exec(free, check=False).returncode == 0)
    assert any("nobody changes anything on it" in line for line in explain(scene, "node2"))


def test_a_killed_operator_and_a_rebooted_node_leave_no_lock(scene: Scene) -> None:
    folder = PurePosixPath(scene.data)
    program = (
        "import sys; from contextlib import ExitStack; from pathlib import Path, PurePosixPath\n"
        "from provisioning.inventory import load; from provisioning.launch import open_session\n"
        "from provisioning.locks import hold, within\n"
        "cluster, folder = load(Path(sys.argv[1])), PurePosixPath(sys.argv[2])\n"
        "sessions = [open_session(cluster, cluster.node(name)) for name in ('node1', 'node2')]\n"
        "stack = ExitStack()\n"
        "for session in sessions: hold(stack, session, {str(folder): within(folder)})\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )

    argv = [sys.executable, "-c", program, str(scene.cluster.file), str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as operator:
        assert operator.stdout is not None
        assert operator.stdout.readline() == "held\n"
        scene.root("node2", f"touch {folder}/{FILE}")
        scene.root("node1", f"rm {folder}/{FILE}")
        code, rows = scene.call("sync-datasets", limit="node1")
        assert code == 32
        assert f"process {operator.pid}" in rows["node1"]["error"]["message"]
        with scene.sandbox.off("node2"):
            pass
        operator.kill()
    scene.sandbox.wait()
    deadline = time.monotonic() + 60
    while (answer := scene.call("sync-datasets"))[0] == 32:
        assert time.monotonic() < deadline, answer
    assert answer[0] == 0, answer
    assert "it was started anew after it was verified" in scene.refusal("node2")


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.1)
