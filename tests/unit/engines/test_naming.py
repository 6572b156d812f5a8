"""Which nodes a script means."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from provisioning.inventory import Cluster, Environment, Node
from timeeval import cluster as clusters
from timeeval.errors import TimeEvalError
from timeeval.proof import Claim, Proof
from timeeval.remote_configuration import RemoteConfiguration

NODES = (Node("node1", address="10.0.0.1"), Node("node2", address="10.0.0.2"), Node("node3", address="10.0.0.3"))
LOCAL = Node("local", is_driver=True)


def cluster(nodes=NODES, driver=LOCAL, scheduler=None, **more):
    return Cluster(
        "lab", Path("/lab/cluster.toml"), nodes, driver, scheduler or nodes[0], PurePosixPath("/srv/results"),
        PurePosixPath("/srv/state"), Path("/lab/known_hosts"),
        environment=Environment(PurePosixPath("/srv/envs/demo"), "3.11"), **more,
    )  # fmt: skip


def names(nodes):
    return [node.name for node in nodes]


def test_a_script_without_hosts_leaves_the_choice_to_the_command_line():
    assert names(clusters.choose(cluster(), (), (), RemoteConfiguration())) == ["node1", "node2", "node3"]
    assert names(clusters.choose(cluster(), ["node[2-3]"], ["node3"], None)) == ["node2"]


def test_worker_hosts_limit_by_name_or_address():
    remote = RemoteConfiguration(worker_hosts=["10.0.0.3", "node1"])

    assert names(clusters.choose(cluster(), (), (), remote)) == ["node1", "node3"]
    assert names(clusters.choose(cluster(), (), ["node1"], remote)) == ["node3"]


def test_an_unknown_worker_host_names_both_files():
    with pytest.raises(
        TimeEvalError, match=r"worker_hosts names 192\.0\.2\.9, .*cluster\.toml \(node1, node2, node3\)"
    ):
        clusters.choose(cluster(), (), (), RemoteConfiguration(worker_hosts=["192.0.2.9"]))


def test_nothing_left_is_an_error():
    with pytest.raises(TimeEvalError, match="leave no host"):
        clusters.choose(cluster(), ["node1"], (), RemoteConfiguration(worker_hosts=["node2"]))


def test_localhost_is_the_driver_where_that_is_a_host():
    driver = replace(NODES[1], is_driver=True)
    lab = cluster((NODES[0], driver, NODES[2]), driver)

    assert names(clusters.choose(lab, (), (), RemoteConfiguration())) == ["node2"]
    assert clusters.scheduler_of(lab, RemoteConfiguration()).name == "node2"
    assert clusters.scheduler_of(cluster(), RemoteConfiguration()).name == "node1"


def test_the_scripts_scheduler_wins_and_must_be_known():
    assert clusters.scheduler_of(cluster(), RemoteConfiguration(scheduler_host="10.0.0.2")).name == "node2"
    with pytest.raises(TimeEvalError, match="scheduler_host names 192"):
        clusters.scheduler_of(cluster(), RemoteConfiguration(scheduler_host="192.0.2.1"))


def test_a_host_knows_its_interpreter_and_address():
    host = clusters.host_of(cluster(), NODES[1])

    assert (host.python, host.addresses, host.slots) == ("/srv/envs/demo/bin/python", ("10.0.0.2",), 1)


def test_a_cluster_without_environment_says_so():
    with pytest.raises(TimeEvalError, match=r"no \[environment\]"):
        clusters.host_of(replace(cluster(), environment=None), NODES[0])


def test_the_results_folder_is_the_same_for_a_resumption_and_no_other_drivers(monkeypatch):
    first = clusters.remote_results(cluster(), Path("/home/me/results/2026_01_01"))

    assert first.parent == PurePosixPath("/srv/results")
    assert first == clusters.remote_results(cluster(), Path("/home/me/results/2026_01_01"))
    assert first != clusters.remote_results(cluster(), Path("/home/you/results/2026_01_01"))
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert first != clusters.remote_results(cluster(), Path("/home/me/results/2026_01_01"))


def test_a_dedicated_scheduler_gets_no_workers():
    head = Node("head", address="10.0.0.9")
    engine = clusters.make_engine(cluster(scheduler=head), NODES, "run", results_path=Path("/results/x"))

    assert engine.slots == {"node1": 1, "node2": 1, "node3": 1, "head": 0}


def test_a_dedicated_scheduler_is_reached_and_its_log_collected_like_the_others():
    head = Node("head", address="10.0.0.9")
    lab = cluster(scheduler=head)
    remote = RemoteConfiguration(kwargs_overwrites={"connect_options": {"port": 2200}})
    remote.update_logging_path(Path("/results/x"))

    engine = clusters.make_engine(lab, NODES[:2], "run", results_path=Path("/results/x"), remote=remote)
    depot = clusters.make_depot(lab, NODES[:2], Path("/results/x"), remote)

    assert {name: node.port for name, node in engine._launcher._nodes.items()} == dict.fromkeys(
        ("node1", "node2", "head"), 2200
    )
    assert {name: node.port for name, node in depot._nodes.items()} == dict.fromkeys(("node1", "node2", "head"), 2200)
    assert [PurePosixPath(file).name for file in depot._logs.values()] == [
        "dask-node1.log",
        "dask-node2.log",
        "dask-head.log",
    ]


def test_a_scheduler_that_is_a_host_but_not_chosen_has_no_part_in_the_run():
    remote = RemoteConfiguration()
    depot = clusters.make_depot(cluster(), NODES[1:], Path("/results/x"), remote)

    assert set(depot._logs) == {"node2", "node3"}


def test_a_scripts_user_must_not_contradict_the_cluster_file():
    lab = cluster((replace(NODES[0], user="bench"),))
    remote = RemoteConfiguration(kwargs_overwrites={"connect_options": {"username": "root"}})

    with pytest.raises(TimeEvalError, match=r"node1: .*user root, the cluster file says bench"):
        clusters.make_engine(lab, lab.nodes, "run", results_path=Path("/results/x"), remote=remote)


CLAIM = Claim("ssh", verified=True, mend="mend {}".format, equal="make them equal")


class Receipt:
    """As much of a receipt as a proof reads."""

    def __init__(self, image="sha256:1", digest="d1"):
        self.image = image
        self.datasets = {"/srv/data": type("Proven", (), {"files": {"a.csv": (digest, 1, 2, 3)}})}
        for name in ("time", "tool", "machine_id", "boot_id", "kernel", "machine", "libc", "clock_offset", "python"):
            setattr(self, name, name)
        self.lock = self.environment = self.docker = None
        self.records = {}

    def to_json(self):
        return {"image": self.image}

    def find(self, name):
        return self.image

    def common(self, name):
        return self.image


def test_a_proof_knows_files_by_both_their_paths():
    proof = Proof.of(
        {"node1": Receipt(), "node2": Receipt()},
        {"img:1": Receipt.find},
        {"/srv/data": Path("/home/data")},
        [],
        CLAIM,
    )

    assert proof.image_ids == {"img:1": "sha256:1"}
    assert proof.data_digests == {Path("/srv/data/a.csv"): "d1", Path("/home/data/a.csv"): "d1"}
    assert set(proof.to_json()["nodes"]) == {"node1", "node2"}


@pytest.mark.parametrize("other", [Receipt(image="sha256:2"), Receipt(digest="d2")])
def test_nodes_with_different_things_under_one_name_are_no_proof(other):
    with pytest.raises(TimeEvalError, match="node2"):
        Proof.of({"node1": Receipt(), "node2": other}, {"img:1": Receipt.find}, {}, [], CLAIM)
