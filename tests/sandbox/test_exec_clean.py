"""`exec` and `clean` on real nodes: one command everywhere, and everything of ours away again."""

import json
import os
from pathlib import Path

import pytest

NODES = ("node1", "node2", "node3")


@pytest.fixture
def call(commands):
    def run(*args, seconds=200):
        done = commands.run("timeeval-provision", *args, seconds=seconds)
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


def test_equal_output_is_shown_once_and_a_node_that_is_off_is_named(call, sandbox, cluster_file):
    with sandbox.off("node3"):
        code, lines, _ = call("exec", "--cluster", cluster_file, "--", "id", "--user", "--name")
    assert code == 8
    assert lines[:2] == ["node[1-2]:", "bench"]
    assert lines[2].startswith("error node3: ")
    script = 'case $(hostname) in node2) echo "other $1"; exit 3;; *) echo "$1";; esac'
    code, lines, _ = call("exec", "--cluster", cluster_file, "--", "sh", "-c", script, "sh", "a  'b' $(x)")
    assert code == 4
    assert lines == ["node[1,3]:", "a  'b' $(x)", "node2: ended with status 3", "other a  'b' $(x)"]


def test_what_falls_silent_is_ended_on_its_node(call, sandbox, cluster_file):
    mark = f"sleep 98{os.getpid()}"
    code, lines, _ = call(
        "exec", "--cluster", cluster_file, "--limit", "node2", "--silence", "1", "--", "sh", "-c", f"echo on; {mark}; :"
    )
    assert (code, lines) == (4, ["node2: said nothing for 1 s and was ended", "on"])
    assert sandbox.node("node2").exec(["pgrep", "-f", mark], check=False).returncode == 1


@pytest.fixture
def scene(sandbox, cluster_variant, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "unit"))
    from wheelwright import hash_of, make_wheel

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()
    wheel = make_wheel(tmp_path / "index", "dep", "1.0")
    (tmp_path / "demo.lock").write_text(f"dep==1.0 --hash=sha256:{hash_of(wheel)}\n")
    (tmp_path / "nab").mkdir()
    (tmp_path / "nab" / "one.csv").write_text("timestamp,value,is_anomaly\n1,2,0\n")
    index = "collection_name,dataset_name,train_path,test_path\nNAB,one,,one.csv\n"
    (tmp_path / "nab" / "datasets.csv").write_text(index)
    base = f"/srv/timeeval/test-clean-{os.getpid()}"
    file = cluster_variant(
        {
            'name = "sandbox"': f'name = "clean-{os.getpid()}"',
            'state = "/srv/timeeval/state"': f'state = "{base}/state"',
            'results = "/srv/timeeval/results"': f'results = "{base}/results"',
            'source = "../examples/data/nab"': f'source = "{tmp_path}/nab"',
            'path = "/srv/timeeval/data/nab"': f'path = "{base}/nab"',
            'prefix = "/srv/timeeval/envs/demo"': f'prefix = "{base}/envs/demo"',
            '"../requirements/runtime.lock"': f'"{tmp_path}/demo.lock"',
            'projects = [".."]': "projects = []",
            'name = "timeeval-demo/subsequence-stats:1"': 'name = "timeeval-test/none:1"',
            'name = "timeeval-demo/ar-forecast:1"': 'name = "timeeval-test/none:2"',
        }
    )
    yield file, base
    for node in sandbox.nodes:
        node.exec(["rm", "-rf", base])


def test_everything_of_ours_goes_and_nothing_else(call, sandbox, scene):
    file, base = scene
    code, lines, said = call("sync-datasets", "--cluster", file)
    assert code == 0, (lines, said)
    code, lines, said = call("create-envs", "--cluster", file)
    assert code == 0, (lines, said)
    node = sandbox.node("node2")
    own = "echo mine > $1/nab/mine.csv; mkdir -p $1/results/run; echo 1 > $1/results/run/r"
    node.exec(["sh", "-ec", own, "sh", base])

    code, lines, said = call("clean", "--all", "--cluster", file)
    assert code == 2, lines
    assert f"would remove node[1-3]: environment {base}/envs/demo" in said
    assert "say --yes" in said
    assert node.exec(["ls", f"{base}/envs/demo/bin/python"]).returncode == 0

    code, lines, said = call("clean", "--all", "--yes", "--json", "--cluster", file)
    rows = {row["node"]: row for row in map(json.loads, lines)}
    assert code == 0, (lines, said)
    assert rows.keys() == set(NODES)
    assert all(not row["failed"] for row in rows.values())
    for name in ("node1", "node3"):
        assert sandbox.node(name).exec(["find", base, "-type", "f"]).stdout == ""
    left = sorted(node.exec(["find", base, "-type", "f"]).stdout.split())
    assert left == [f"{base}/nab/mine.csv", f"{base}/results/run/r"]
    code, lines, _ = call("clean", "--all", "--yes", "--cluster", file, "--limit", "node1")
    assert (code, lines) == (0, ["nothing of ours is there"])
