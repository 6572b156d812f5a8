"""The Docker adapter against the container engine of this machine."""

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from practice import unpacked

from timeeval.adapters import DockerAdapter
from timeeval.adapters.docker import remove_containers
from timeeval.adapters.docker.usage import taken
from timeeval.data_types import ExecutionType
from timeeval.durations import Duration
from timeeval.errors import (
    DockerAdapterInternalError,
    DockerAlgorithmFailedError,
    DockerMemoryError,
    DockerTimeoutError,
    ScoresError,
)
from timeeval.resource_constraints import MB, ResourceConstraints

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

# The algorithm is a shell script: it does what the parameter "do" in the JSON document says.
ENTRY_POINT = r"""#!/bin/sh
if [ "$1" != execute-algorithm ]; then exec "$@"; fi
document="$2"
case "$document" in
  *'"do": "count"'*) i=0; : > /results/docker-algorithm-scores.csv
    while [ $i -lt 10 ]; do echo $i >> /results/docker-algorithm-scores.csv; i=$((i+1)); done ;;
  *'"do": "echo"'*) printf '%s' "$document" > /results/document.json; env > /results/environment
    find /data -type f > /results/data; ls /sys/class/net > /results/net
    cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max > /results/memory 2>/dev/null
    echo 1 > /results/docker-algorithm-scores.csv; echo model > /results/model.pkl ;;
  *'"do": "fail"'*) echo 'this is why'; exit 3 ;;
  *'"do": "missing-command"'*) exec no-such-program ;;
  *'"do": "eat"'*) head -c 200000000 /dev/zero | tail -c 190000000 > /dev/null; exit $? ;;
  *'"do": "work"'*) a=$(head -c 8000000 /dev/zero | tr '\0' x); i=0
    while [ $i -lt 200000 ]; do i=$((i+1)); done; echo 1 > /results/docker-algorithm-scores.csv ;;
  *'"do": "eat-all"'*) sleep 1; a=xxxxxxxxxxxxxxxx; while true; do a="$a$a"; done ;;
  *'"do": "suicide"'*) kill -9 $$ ;;
  *'"do": "sleep"'*) echo started; trap 'exit 0' TERM; sleep 300 & wait ;;
  *'"do": "preliminary"'*) echo 7 > /results/docker-algorithm-scores.csv; trap 'exit 0' TERM; sleep 300 & wait ;;
  *'"do": "garbage"'*) printf 'a\nb\n' > /results/docker-algorithm-scores.csv ;;
  *'"do": "nan"'*) printf 'nan\nnan\n' > /results/docker-algorithm-scores.csv ;;
  *'"do": "link"'*) ln -s /etc/passwd /results/docker-algorithm-scores.csv ;;
  *'"do": "pipe"'*) mkfifo /results/docker-algorithm-scores.csv ;;
  *'"do": "bytes"'*) printf 'before \377\376 after\n'; echo 1 > /results/docker-algorithm-scores.csv ;;
  *'"do": "nothing"'*) ;;
esac
"""


@pytest.fixture(autouse=True)
def _nodes_left_well():
    """Stand in for the check of the sandbox's nodes: these tests use this machine's engine and no node."""


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A tiny algorithm image: a static busybox and the script above, made without any registry."""
    context = tmp_path_factory.mktemp("context")
    busybox = shutil.which("busybox")
    if (
        busybox is None
        or "statically"
        not in subprocess.run(["file", "-b", "-L", busybox], check=False, capture_output=True, text=True).stdout
    ):
        busybox = str(unpacked("busybox-static", tmp_path_factory.mktemp("package")) / "bin" / "busybox")
    shutil.copy(busybox, context / "busybox")
    (context / "entrypoint").write_text(ENTRY_POINT)
    (context / "entrypoint").chmod(0o755)
    (context / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
        "COPY entrypoint /entrypoint\n"
        "ENV PATH=/bin\n"
        'ENTRYPOINT ["/entrypoint"]\n'
        'CMD ["execute-algorithm"]\n'
    )
    name = f"timeeval-test/adapter-{uuid4().hex[:8]}"
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(
        ["docker", "build", "-q", "-t", f"{name}:1", str(context)], check=True, capture_output=True, env=environment
    )
    yield name
    docker("rmi", "-f", f"{name}:1")


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "data set"
    folder.mkdir()
    (folder / "it's a series.csv").write_text("timestamp,value,is_anomaly\n0,1.0,0\n1,2.0,1\n")
    (folder / "neighbour.csv").write_text("timestamp,value,is_anomaly\n0,1.0,0\n")
    return folder / "it's a series.csv"


@pytest.fixture
def run_id():
    identity = f"test-{uuid4().hex}"
    yield identity
    remove_containers(identity)


@pytest.fixture
def call(image, dataset, tmp_path, run_id):
    def run(do, *, execution=ExecutionType.EXECUTE, constraints=None, parameters=None, **options):
        extra = options.pop("args", {})
        adapter = DockerAdapter(image, tag="1", skip_pull=True, **options)
        arguments = {
            "results_path": tmp_path / "results",
            "hyper_params": {"do": do, **(parameters or {})},
            "resource_constraints": constraints or ResourceConstraints(task_memory_limit=64 * MB, task_cpu_limit=0.5),
            "executionType": execution,
            "run_id": run_id,
            "attempt_id": "a-1",
            **extra,
        }
        return adapter(dataset, arguments)

    return run


def containers_of(run_id):
    return docker("ps", "-aq", "--filter", f"label=timeeval.run={run_id}").split()


def test_scores_come_back_and_the_container_is_gone(call, run_id):
    np.testing.assert_array_equal(call("count"), np.arange(10.0))
    assert containers_of(run_id) == []


def test_the_document_arrives_whole_whatever_its_characters(call, tmp_path):
    awkward = {"quotes": 'it\'s "so" $HOME `id`', "blank": "a b", "number": np.int64(3), "umlaut": "ä"}
    call("echo", parameters=awkward)
    document = json.loads((tmp_path / "results" / "document.json").read_text())
    assert document == {
        "dataInput": "/data/it's a series.csv",
        "dataOutput": "/results/docker-algorithm-scores.csv",
        "modelInput": "/results/model.pkl",
        "modelOutput": "/results/model.pkl",
        "executionType": "execute",
        "customParameters": {"do": "echo", **awkward, "number": 3},
    }


def test_a_container_sees_its_dataset_alone_and_no_network(call, tmp_path):
    call("echo")
    assert (tmp_path / "results" / "data").read_text().splitlines() == ["/data/it's a series.csv"]
    assert (tmp_path / "results" / "net").read_text().split() == ["lo"]


def test_options_open_the_folder_and_the_network(call, tmp_path):
    call("echo", mount_dataset_folder=True, network_mode="bridge", environment={"MARK": "x y"})
    assert len((tmp_path / "results" / "data").read_text().splitlines()) == 2
    assert "eth0" in (tmp_path / "results" / "net").read_text().split()
    assert "MARK=x y" in (tmp_path / "results" / "environment").read_text().splitlines()


def test_limits_reach_the_container(call, tmp_path):
    call("echo", constraints=ResourceConstraints(task_memory_limit=64 * MB, task_cpu_limit=1.5))
    assert str(64 * MB) in (tmp_path / "results" / "memory").read_text().split()
    assert "OMP_NUM_THREADS=1" in (tmp_path / "results" / "environment").read_text().splitlines()


def test_training_returns_the_dataset_and_leaves_a_model(call, dataset, tmp_path):
    assert call("echo", execution=ExecutionType.TRAIN) == dataset
    assert (tmp_path / "results" / "model.pkl").read_text() == "model\n"
    assert json.loads((tmp_path / "results" / "document.json").read_text())["executionType"] == "train"


def test_a_failing_algorithm_is_told_from_others(call, capsys, run_id):
    with pytest.raises(DockerAlgorithmFailedError, match=r"exit code 3.*(?s:.*)[Pp]lease consider log files"):
        call("fail")
    assert "this is why" in capsys.readouterr().out
    assert containers_of(run_id) == []


def test_a_missing_command_is_explained(call):
    with pytest.raises(DockerAlgorithmFailedError, match="127"):
        call("missing-command")


def test_an_image_without_the_entry_point_is_explained(dataset, tmp_path, image, run_id):
    broken = f"timeeval-test/broken-{uuid4().hex[:8]}:1"
    subprocess.run(
        ["docker", "build", "-q", "-t", broken, "-"],
        input=f'FROM {image}:1\nENTRYPOINT ["/nowhere"]\n'.encode(),
        check=True,
        capture_output=True,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    try:
        adapter = DockerAdapter(broken.removesuffix(":1"), tag="1", skip_pull=True, memory_limit_overwrite=64 * MB)
        with pytest.raises(DockerAlgorithmFailedError, match="no command to start"):
            adapter(dataset, {"results_path": tmp_path / "results", "run_id": run_id})
        assert containers_of(run_id) == []
    finally:
        docker("rmi", "-f", broken)


def test_too_much_memory_is_told_by_the_engine(call, run_id):
    limits = ResourceConstraints(task_memory_limit=16 * MB, task_cpu_limit=1.0)
    with pytest.raises(DockerMemoryError, match="exceeded memory limit of 16777216 bytes"):
        call("eat-all", constraints=limits)
    assert containers_of(run_id) == []


@pytest.mark.parametrize("ending", ["by itself", "out of memory", "out of time"])
def test_what_it_consumed_is_known_however_it_ended(call, ending):
    taken()
    limits = ResourceConstraints(task_memory_limit=16 * MB, task_cpu_limit=1.0)
    if ending == "by itself":
        call("work")
    elif ending == "out of memory":
        with pytest.raises(DockerMemoryError):
            call("eat-all", constraints=limits)
    else:
        with pytest.raises(DockerTimeoutError):
            call("sleep", timeout=Duration("1 second"), constraints=limits)
    usage = taken()
    assert 0 < usage.cpu_seconds < 60
    assert 100_000 < usage.peak_memory <= 64 * MB
    if ending == "by itself":
        assert usage.peak_memory > 8_000_000
    if ending == "out of memory":
        assert usage.peak_memory == 16 * MB


def test_a_sigkill_without_lack_of_memory_is_not_out_of_memory(image, dataset, tmp_path, run_id):
    adapter = DockerAdapter(image, tag="1", skip_pull=True, memory_limit_overwrite=64 * MB)

    def kill():
        while not (ids := containers_of(run_id)):
            time.sleep(0.1)
        while docker("inspect", "-f", "{{.State.Running}}", ids[0]) != "true":
            time.sleep(0.1)
        docker("kill", ids[0])

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(DockerAdapterInternalError, match="not for its memory limit"):
        adapter(dataset, {"results_path": tmp_path / "results", "hyper_params": {"do": "sleep"}, "run_id": run_id})
    killer.join()


def test_time_is_over(call, run_id, capsys):
    with pytest.raises(DockerTimeoutError, match="could not create results after <Duration 5 seconds>"):
        call("sleep", timeout=Duration("5 seconds"))
    assert containers_of(run_id) == []
    assert "started" in capsys.readouterr().out


def test_time_is_over_for_a_training(call):
    limits = ResourceConstraints(
        task_memory_limit=64 * MB, train_timeout=Duration("2 seconds"), use_preliminary_model_on_train_timeout=False
    )
    with pytest.raises(DockerTimeoutError, match=r"not build a model.*switched off"):
        call("sleep", execution=ExecutionType.TRAIN, constraints=limits)


def test_preliminary_scores_count_if_wanted(call):
    assert call("preliminary", timeout=Duration("5 seconds")).tolist() == [7.0]
    unwanted = ResourceConstraints(task_memory_limit=64 * MB, use_preliminary_scores_on_execute_timeout=False)
    with pytest.raises(DockerTimeoutError):
        call("preliminary", timeout=Duration("2 seconds"), constraints=unwanted)


def test_scores_of_an_earlier_attempt_do_not_pass_for_new_ones(call, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "docker-algorithm-scores.csv").write_text("1\n2\n")
    with pytest.raises(ScoresError, match="left no scores"):
        call("nothing")


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("garbage", "Line 1 .*not a number: 'a'"),
        ("nan", "all of them are NaN"),
        ("link", "cannot be opened"),
        ("pipe", "not a regular file"),
    ],
)
def test_useless_scores_are_refused(call, do, message):
    with pytest.raises(ScoresError, match=message):
        call(do)


def test_bytes_that_are_no_text_do_not_hide_the_result(call, capsys):
    assert call("bytes").tolist() == [1.0]
    assert "before \ufffd\ufffd after" in capsys.readouterr().out


def test_an_image_that_is_not_there(dataset, tmp_path):
    adapter = DockerAdapter("timeeval-test/nowhere", tag="1", skip_pull=True)
    with pytest.raises(DockerAdapterInternalError, match="image not found"):
        adapter(dataset, {"results_path": tmp_path / "results"})


def test_behind_the_gate_the_proven_identity_is_started(call, image, dataset, tmp_path, run_id):
    identity = docker("inspect", "-f", "{{.Id}}", f"{image}:1")
    proven = {f"{image}:1": identity}
    np.testing.assert_array_equal(call("count", args={"image_ids": proven}), np.arange(10.0))
    with pytest.raises(DockerAdapterInternalError, match="was not proven on this host"):
        call("count", args={"image_ids": {"another:1": identity}})
    moved = DockerAdapter(image, tag="moved", skip_pull=True, memory_limit_overwrite=64 * MB)
    scores = moved(
        dataset,
        {
            "results_path": tmp_path / "results",
            "hyper_params": {"do": "count"},
            "run_id": run_id,
            "image_ids": {f"{image}:moved": identity},
        },
    )
    assert len(scores) == 10


def test_only_containers_of_the_run_are_removed(image, run_id):
    mine = docker("run", "-d", "--label", f"timeeval.run={run_id}", f"{image}:1", "sleep", "300")
    other = docker("run", "-d", "--label", f"timeeval.run={run_id}-2", f"{image}:1", "sleep", "300")
    try:
        assert len(remove_containers(run_id)) == 1
        left = docker("ps", "-q", "--no-trunc").split()
        assert mine not in left
        assert other in left
        assert remove_containers(run_id) == []
    finally:
        docker("rm", "-f", other)


def test_pulling_an_image_that_no_registry_has(tmp_path):
    adapter = DockerAdapter("localhost:1/timeeval-test/nowhere")
    prepare = adapter.get_prepare_fn()
    with pytest.raises(DockerAdapterInternalError, match=r"cannot be pulled.*skip_pull=True"):
        prepare()


def test_no_engine_is_explained(monkeypatch, dataset, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(DockerAdapterInternalError, match=r"No container engine answers.*no\.sock.*DOCKER_HOST"):
        DockerAdapter("x", skip_pull=True)(Path(dataset), {"results_path": tmp_path / "results"})
