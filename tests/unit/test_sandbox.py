from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioning.errors import UsageError
from provisioning.sandbox import files, images
from provisioning.sandbox.cli import sandbox
from provisioning.sandbox.cluster import STATE_FILE, Sandbox
from provisioning.sandbox.engine import Engine
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.layout import LABEL, SPEC_LABEL, NodeSpec, node_specs, run_argv, sandbox_name
from provisioning.sandbox.lifecycle import Plan, down, plan, project_of, up
from provisioning.sandbox.recipe import BASE_PLAIN, BASE_PYTHON, NODE, Recipe, digest_of

SUBNET = "172.30.0.0/16"


def specs(count: int = 3) -> list[NodeSpec]:
    return node_specs("box", SUBNET, count, "image:1")


def option(argv: list[str], name: str) -> list[str]:
    return [argv[place + 1] for place, word in enumerate(argv) if word == name]


def fake_docker(folder: Path, body: str) -> Engine:
    """A client whose answers are known, so that what is made of them can be judged without an engine."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return Engine(str(program))


def test_nodes_have_fixed_names_and_addresses():
    assert [(s.name, s.container, s.address) for s in specs(2)] == [
        ("node1", "box-node1", "172.30.0.11"),
        ("node2", "box-node2", "172.30.0.12"),
    ]


@pytest.mark.parametrize(("subnet", "count"), [(SUBNET, 0), (SUBNET, 65), ("10.1.2.0/28", 5)])
def test_node_counts_that_cannot_be_had_are_refused(subnet, count):
    with pytest.raises(UsageError, match=r"nodes"):
        node_specs("box", subnet, count, "image:1")


def test_two_folders_have_two_sandboxes(tmp_path):
    assert sandbox_name(tmp_path / "a") != sandbox_name(tmp_path / "b")
    assert sandbox_name(tmp_path / "a") == sandbox_name(tmp_path / "x" / ".." / "a")


def test_a_node_is_started_without_privileged_and_with_its_own_engine_volume():
    argv = run_argv(specs()[0], "box", 1)
    assert argv[:2] == ["run", "--detach"]
    assert "--privileged" not in argv
    assert option(argv, "--cap-drop") == ["SYS_RESOURCE"]
    assert "/var/lib/docker" in option(argv, "--volume")
    assert option(argv, "--ip") == ["172.30.0.11"]
    assert f"{LABEL}=box" in option(argv, "--label")
    assert not option(argv, "--publish")
    assert argv[-1] == "image:1"


def test_cgroup_versions_differ_in_namespace_and_mount():
    first, second = (run_argv(specs()[0], "box", version) for version in (1, 2))
    assert option(first, "--cgroupns") == ["host"]
    assert "/sys/fs/cgroup:/sys/fs/cgroup:rw" in option(first, "--volume")
    assert option(second, "--cgroupns") == ["private"]
    assert option(second, "--volume") == ["/var/lib/docker"]


def test_the_spec_label_changes_with_whatever_the_node_is_started_with():
    def label(argv):
        return next(value for value in option(argv, "--label") if value.startswith(SPEC_LABEL))

    base = specs()[0]
    other_image = NodeSpec(base.name, base.container, base.network, base.address, "image:2")
    labels = {label(run_argv(base, "box", 1)), label(run_argv(base, "box", 2)), label(run_argv(other_image, "box", 1))}
    assert len(labels) == 3
    assert label(run_argv(base, "box", 1)) in labels


def test_plan_creates_missing_replaces_changed_and_removes_surplus():
    wanted = specs(3)
    digests = {"box-node1": "a", "box-node2": "b", "box-node3": "c"}
    present = {"box-node1": "a", "box-node2": "OLD", "box-node4": "d"}
    assert plan(wanted, present, digests) == Plan(create=(wanted[1], wanted[2]), obsolete=("box-node2", "box-node4"))
    assert plan(wanted, digests, digests) == Plan((), ())


def test_digest_keeps_the_borders_of_its_parts():
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")


def test_a_recipes_tag_follows_content_mode_name_and_parent(tmp_path):
    def tag(parent="base:1"):
        return Recipe("repo", tmp_path).tag(parent)

    (tmp_path / "Dockerfile").write_text("FROM x\n", encoding="utf-8")
    entry = tmp_path / "entry.sh"
    entry.write_text("true\n", encoding="utf-8")
    seen = [tag(), tag("base:2")]
    entry.chmod(0o755)
    seen.append(tag())
    entry.write_text("false\n", encoding="utf-8")
    seen.append(tag())
    entry.rename(tmp_path / "start.sh")
    seen.append(tag())
    assert len(set(seen)) == 5
    assert tag() == seen[-1]


@pytest.mark.parametrize("recipe", [NODE, BASE_PYTHON, BASE_PLAIN])
def test_every_recipe_builds_on_the_base_it_is_given(recipe):
    lines = (recipe.context / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("ARG", "FROM"))] == ["ARG BASE", "FROM ${BASE}"]


@pytest.mark.parametrize(
    ("name", "text", "mirror"),
    [
        (
            "debian.sources",
            "Types: deb\n# http://old/debian\nURIs: http://m.example/debian\nSuites: x\n",
            "http://m.example/debian",
        ),
        (
            "a.list",
            "deb [signed-by=/k arch=amd64] https://m.example/debian/ bookworm main\n",
            "https://m.example/debian/",
        ),
        ("b.list", "deb http://m.example/debian-security x main\ndeb-src http://m.example/debian x\n", None),
        ("c.sources", "Types: deb\nURIs: https://deb.example/node_20.x\n", None),
    ],
)
def test_the_mirror_is_read_from_both_formats_of_apt(tmp_path, name, text, mirror):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert images.mirror_of([tmp_path / "missing", path]) == mirror


def test_cluster_file_is_toml_with_all_that_the_demo_prepares(tmp_path):
    folder = tmp_path / 'a "quoted" clone' / ".sandbox"
    text = files.cluster_toml("sandbox", specs(3), folder, folder.parent)
    read = tomllib.loads(text)
    assert read["cluster"]["hosts"] == ["node[1-3]"]
    assert read["host"]["node3"] == {"address": "172.30.0.13"}
    assert read["datasets"] == [{"source": "../examples/data/nab", "path": "/srv/timeeval/data/nab"}]
    assert read["environment"]["projects"] == [".."]
    assert [image["name"] for image in read["images"]] == [
        "timeeval-demo/subsequence-stats:1",
        "timeeval-demo/ar-forecast:1",
    ]
    assert str(tmp_path) not in text


def test_cluster_file_outside_a_clone_names_no_examples(tmp_path):
    read = tomllib.loads(files.cluster_toml("sandbox", specs(1), tmp_path, None))
    assert read["cluster"]["hosts"] == ["node1"]
    assert set(read) == {"cluster", "host"}


def test_ssh_itself_reads_the_configuration(tmp_path):
    folder = tmp_path / "with blank"
    folder.mkdir()
    (folder / "ssh_config").write_text(files.ssh_config(specs(2), folder), encoding="utf-8")
    done = subprocess.run(
        ["ssh", "-G", "-F", str(folder / "ssh_config"), "node2"], capture_output=True, text=True, check=True
    )
    read = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert read["hostname"] == "172.30.0.12"
    assert read["user"] == "bench"
    assert read["identityfile"].strip('"') == str(folder / "id_ed25519")
    assert read["userknownhostsfile"].strip('"') == str(folder / "known_hosts")
    assert read["stricthostkeychecking"] in {"true", "yes"}


def test_known_hosts_has_each_key_under_name_and_address():
    text = files.known_hosts(specs(1), {"node1": ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]})
    assert text == "node1,172.30.0.11 ssh-ed25519 AAAA\nnode1,172.30.0.11 ssh-rsa BBBB\n"


def test_a_file_is_written_only_when_it_differs(tmp_path):
    path = tmp_path / "file"
    assert files.write_if_changed(path, "one")
    before = path.stat().st_ino
    assert not files.write_if_changed(path, "one")
    assert path.stat().st_ino == before
    assert files.write_if_changed(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_loading_gives_the_nodes_that_up_wrote(tmp_path):
    (tmp_path / STATE_FILE).write_text(
        '{"name": "box", "nodes": [{"name": "node1", "container": "box-node1", "address": "172.30.0.11"}]}',
        encoding="utf-8",
    )
    cluster = Sandbox.load(tmp_path)
    assert cluster.node("node1").container == "box-node1"
    with pytest.raises(UsageError, match="no node9; use one of node1"):
        cluster.node("node9")


def test_loading_where_there_is_none_names_the_command(tmp_path):
    with pytest.raises(UsageError, match="sandbox up"):
        Sandbox.load(tmp_path)


def test_no_docker_at_all_is_an_error_that_says_what_to_install(tmp_path):
    with pytest.raises(SandboxError, match=r"no `.*nothing` command.*apt-get install docker.io"):
        Engine(str(tmp_path / "nothing")).facts()


def test_an_engine_that_does_not_answer_is_named_with_its_cause(tmp_path):
    engine = fake_docker(tmp_path, """echo '{"ServerErrors": ["permission denied"]}'; exit 1""")
    with pytest.raises(SandboxError, match=r"permission denied.*usermod -aG docker"):
        engine.facts()


@pytest.mark.parametrize(
    ("said", "obstacle"),
    [
        ('"OperatingSystem": "Docker Desktop"', "virtual machine"),
        ('"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]', "rootless"),
    ],
)
def test_engines_whose_containers_cannot_be_nodes_are_refused_at_once(tmp_path, said, obstacle):
    engine = fake_docker(tmp_path, f"""echo '{{"ServerVersion": "28", "CgroupVersion": "2", {said}}}'""")
    with pytest.raises(SandboxError, match=rf"{obstacle}.*use a Docker Engine that runs on Linux"):
        up(tmp_path / "box", nodes=1, consent=print, say=print, engine=engine)


def test_near_root_containers_are_asked_for(tmp_path, monkeypatch):
    def started(folder: Path, *, nodes: int | None, consent: Callable[[int], None], say: object) -> list[str]:
        consent(3)
        return ["started"]

    monkeypatch.setattr("provisioning.sandbox.lifecycle.up", started)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    words = ["up", "--dir", str(tmp_path)]
    refused = CliRunner().invoke(sandbox, words)
    assert isinstance(refused.exception, UsageError)
    assert "3 container(s)" in str(refused.exception)
    assert "--yes" in str(refused.exception)
    assert "started" in CliRunner().invoke(sandbox, [*words, "--yes"]).output


def test_a_network_whose_range_was_taken_in_between_is_tried_again(tmp_path):
    once = tmp_path / "once"
    engine = fake_docker(
        tmp_path,
        f"""case "$*" in
info*) echo '{{"ServerVersion": "20.10", "CgroupVersion": "1"}}' ;;
image*) echo sha256:1 ;;
*--subnet*) [ -e {once} ] || {{ touch {once}; echo "Pool overlaps" >&2; exit 1; }}; touch {once}.made ;;
inspect*) if [ -e {once} ] || [ -e {once}.asked ]; then
    echo '[{{"IPAM": {{"Config": [{{"Subnet": "{SUBNET}"}}]}}}}]'; else touch {once}.asked; echo '[]'; fi ;;
esac""",
    )

    def refuse(count: int) -> None:
        raise UsageError("far enough")

    with pytest.raises(UsageError, match="far enough"):
        up(tmp_path / "box", nodes=1, consent=refuse, say=print, engine=engine)
    assert (tmp_path / "once.made").exists()


def test_a_failed_call_shows_the_end_of_what_the_client_said(tmp_path):
    engine = fake_docker(tmp_path, "echo first; echo the cause >&2; exit 7")
    with pytest.raises(SandboxError, match=r"`.*docker run` failed with exit status 7:\n    the cause"):
        engine.run("run")
    with pytest.raises(SandboxError, match=r"first\n.*the cause"):
        engine.run("build")


def test_a_client_that_hangs_is_ended(tmp_path):
    with pytest.raises(SandboxError, match="no answer within"):
        fake_docker(tmp_path, "exec sleep 30").run("ps", timeout=0.2)


def test_refused_consent_leaves_everything_as_it_was(tmp_path):
    log = tmp_path / "calls"
    engine = fake_docker(
        tmp_path,
        f"""echo "$*" >>{log}
case "$1" in
info) echo '{{"ServerVersion": "20.10", "CgroupVersion": "1"}}' ;;
inspect) echo '[{{"IPAM": {{"Config": [{{"Subnet": "{SUBNET}"}}]}}}}]' ;;
image) echo sha256:1 ;;
esac""",
    )

    def refuse(count: int) -> None:
        raise UsageError(f"{count} refused")

    with pytest.raises(UsageError, match="2 refused"):
        up(tmp_path / "box", nodes=2, consent=refuse, say=print, engine=engine)
    calls = log.read_text(encoding="utf-8").splitlines()
    assert not [call for call in calls if call.startswith(("run ", "rm "))]


def test_down_removes_only_what_carries_the_sandboxs_own_label(tmp_path):
    log = tmp_path / "calls"
    engine = fake_docker(tmp_path, f'echo "$*" >>{log}; [ "$1" != ps ] || echo box-node1; [ "$2" != ls ] || echo box')
    removed = down(tmp_path, engine=engine)
    calls = log.read_text(encoding="utf-8").splitlines()
    assert calls[0].startswith(f"ps --all --filter label={LABEL}={sandbox_name(tmp_path)} ")
    assert "rm --force --volumes box-node1" in calls
    assert "network rm box" in calls
    assert removed == ["box-node1 removed", "box removed"]


def test_banners_that_could_be_more_than_text_are_refused(tmp_path):
    (tmp_path / STATE_FILE).write_text(
        '{"name": "box", "nodes": [{"name": "node1", "container": "c", "address": "172.30.0.11"}]}', encoding="utf-8"
    )
    node = Sandbox.load(tmp_path, fake_docker(tmp_path, "exit 9")).node("node1")
    with pytest.raises(UsageError, match="banner"):
        node.set_login_shell("tcsh", "it's")
    with pytest.raises(UsageError, match="zsh"):
        node.set_login_shell("zsh")


def test_the_project_is_found_from_a_folder_below_it(tmp_path):
    root = Path(__file__).resolve().parents[2]
    assert project_of(root / ".sandbox") == root
    assert project_of(tmp_path / ".sandbox") is None


def test_status_without_a_sandbox_raises_the_error_of_the_house(tmp_path):
    result = CliRunner().invoke(sandbox, ["status", "--dir", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
