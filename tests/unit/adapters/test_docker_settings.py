import grp
import os

import pytest

from timeeval.adapters.docker.settings import (
    THREAD_VARIABLES,
    ContainerOptions,
    EngineFacts,
    container_settings,
    device_requests,
    thread_variables,
    user_variables,
)


@pytest.fixture
def settings(tmp_path):
    def build(facts=EngineFacts(), **options):  # noqa: B008 - frozen
        return container_settings(
            name="n",
            image="i:1",
            command=["execute-algorithm", "{}"],
            dataset=tmp_path / "folder" / "series.csv",
            results=tmp_path / "results",
            memory=500,
            cpus=0.25,
            labels={"timeeval.run": "r"},
            group="akita",
            options=ContainerOptions(**options),
            facts=facts,
        )

    return build


def test_limits(settings):
    built = settings()
    assert built["mem_limit"] == built["memswap_limit"] == 500
    assert built["nano_cpus"] == 250_000_000
    assert built["labels"] == {"timeeval.run": "r"}
    assert built["network_mode"] == "none"
    assert built["command"] == ["execute-algorithm", "{}"]
    assert "platform" not in built
    assert "device_requests" not in built


def test_swappiness_is_for_cgroup_v1_only(settings):
    assert settings(EngineFacts(cgroup_version=1))["mem_swappiness"] == 0
    assert "mem_swappiness" not in settings(EngineFacts(cgroup_version=2))


def test_the_dataset_is_mounted_alone_and_read_only(settings, tmp_path):
    data, results = settings()["mounts"]
    assert (data["Target"], data["Source"]) == ("/data/series.csv", str(tmp_path / "folder" / "series.csv"))
    assert (data["Type"], data["ReadOnly"]) == ("bind", True)
    assert (results["Target"], results["Source"]) == ("/results", str(tmp_path / "results"))
    assert not results.get("ReadOnly")


def test_the_folder_can_be_mounted(settings, tmp_path):
    data, _ = settings(mount_folder=True)["mounts"]
    assert (data["Target"], data["Source"], data["ReadOnly"]) == ("/data", str(tmp_path / "folder"), True)


def test_a_linked_dataset_keeps_its_name(settings, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere.csv").write_text("x")
    (tmp_path / "folder" / "series.csv").symlink_to(tmp_path / "elsewhere.csv")
    data, _ = settings()["mounts"]
    assert (data["Target"], data["Source"]) == ("/data/series.csv", str(tmp_path / "elsewhere.csv"))


def test_own_variables_win(settings):
    environment = settings(environment={"OMP_NUM_THREADS": "7", "X": "1"})["environment"]
    assert (environment["OMP_NUM_THREADS"], environment["X"], environment["MKL_NUM_THREADS"]) == ("7", "1", "1")


def test_platform_and_gpus(settings):
    built = settings(platform="linux/arm64", gpus=2)
    assert built["platform"] == "linux/arm64"
    assert [request["Count"] for request in built["device_requests"]] == [2]


@pytest.mark.parametrize(("cpus", "threads"), [(0.25, "1"), (1.0, "1"), (1.9, "1"), (2.0, "2"), (16.5, "16")])
def test_threads_are_in_line_with_cpus(cpus, threads):
    assert thread_variables(cpus) == dict.fromkeys(THREAD_VARIABLES, threads)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (None, None),
        ("all", {"Count": -1}),
        (1, {"Count": 1}),
        (["0", 3], {"DeviceIDs": ["0", "3"]}),
        (("GPU-abc",), {"DeviceIDs": ["GPU-abc"]}),
    ],
)
def test_gpu_requests(gpus, expected):
    requests = device_requests(gpus)
    if expected is None:
        assert requests is None
        return
    (request,) = requests
    assert request["Capabilities"] == [["gpu"]]
    assert expected.items() <= request.items()


@pytest.mark.parametrize("gpus", [0, -1, "some", True])
def test_wrong_gpu_requests(gpus):
    with pytest.raises(ValueError, match="not a choice of GPUs"):
        device_requests(gpus)


def test_root_and_rootless_engines_need_no_user(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert user_variables("akita", rootless=False) == {}
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert user_variables("akita", rootless=True) == {}


def test_files_belong_to_user_and_group(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 4321)
    assert user_variables("no-such-group-here", rootless=False) == {"LOCAL_UID": "1234", "LOCAL_GID": "4321"}
    group = grp.getgrall()[0]
    assert user_variables(group.gr_name, rootless=False) == {"LOCAL_UID": "1234", "LOCAL_GID": str(group.gr_gid)}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, EngineFacts()),
        ({"CgroupVersion": "2", "NCPU": 8}, EngineFacts(cgroup_version=2, cpus=8)),
        ({"CgroupVersion": "1", "MemoryLimit": True, "SecurityOptions": ["name=seccomp"]}, EngineFacts()),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, EngineFacts(rootless=True)),
        ({"MemoryLimit": False, "SecurityOptions": None}, EngineFacts(limits_memory=False)),
    ],
)
def test_what_an_engine_says(info, expected):
    assert EngineFacts.from_info(info) == expected
