"""What the Docker adapter decides before it talks to an engine; the rest is proven on one in tests/sandbox."""
# ruff: noqa: S301 - the tests unpickle what they pickled

import pickle

import cloudpickle
import numpy as np
import pytest

from timeeval.adapters import DockerAdapter, MultivarAdapter
from timeeval.adapters.docker.settings import EngineFacts
from timeeval.durations import Duration
from timeeval.errors import DockerAdapterInternalError, DockerTimeoutError
from timeeval.resource_constraints import ResourceConstraints


def test_signature_of_scripts():
    adapter = DockerAdapter("name", "1", "group", True, Duration("1 minute"), 500, 0.25)
    assert (adapter.image_name, adapter.tag, adapter.group, adapter.skip_pull) == ("name", "1", "group", True)
    assert (adapter.timeout, adapter.memory_limit, adapter.cpu_limit) == (Duration("1 minute"), 500, 0.25)
    default = DockerAdapter("name")
    assert (default.tag, default.group, default.skip_pull, default.timeout) == ("latest", "akita", False, None)
    assert default.options.network_mode == "none"


def test_images_are_named_for_the_experiments_needs():
    assert DockerAdapter("a/b", tag="2").get_images() == ("a/b:2",)
    assert MultivarAdapter(DockerAdapter("a/b", tag="2")).get_images() == ("a/b:2",)


def test_skip_pull_means_what_it_says():
    assert DockerAdapter("a", skip_pull=True).get_prepare_fn() is None
    prepare = DockerAdapter("a", tag="2").get_prepare_fn()
    assert pickle.loads(pickle.dumps(prepare)).args == ("a", "2")


def test_it_can_be_sent_to_nodes():
    adapter = DockerAdapter("a", environment={"X": "1"}, gpus=[0])
    assert pickle.loads(cloudpickle.dumps(adapter)).options == adapter.options


def test_arrays_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="data_as_file=True"):
        DockerAdapter("a")(np.zeros(3), {"results_path": tmp_path})


def test_the_engine_may_own_fewer_cpus_than_the_host():
    adapter = DockerAdapter("a")
    free = ResourceConstraints(task_memory_limit=7)
    assert adapter._limits(free, EngineFacts(cpus=1))[1] == 1.0
    asked = ResourceConstraints(task_memory_limit=7, task_cpu_limit=64.0)
    assert adapter._limits(asked, EngineFacts(cpus=1)) == (7, 64.0)
    assert DockerAdapter("a", cpu_limit_overwrite=3.0)._limits(asked, EngineFacts(cpus=1))[1] == 3.0


def test_an_engine_that_cannot_limit_memory(caplog):
    facts = EngineFacts(limits_memory=False)
    with pytest.raises(DockerAdapterInternalError, match="cannot limit memory"):
        DockerAdapter("a")._limits(ResourceConstraints(task_memory_limit=7), facts)
    with pytest.raises(DockerAdapterInternalError, match="cannot limit memory"):
        DockerAdapter("a", memory_limit_overwrite=7)._limits(ResourceConstraints(), facts)
    DockerAdapter("a")._limits(ResourceConstraints(), facts)
    assert "runs without a limit" in caplog.text


def test_identities_behind_the_gate():
    adapter = DockerAdapter("a", tag="2")
    assert adapter._proven_image(None) == "a:2"
    assert adapter._proven_image({"a:2": "sha256:1", "a:3": "sha256:2"}) == "sha256:1"
    with pytest.raises(DockerAdapterInternalError, match=r"a:2 was not proven.*proven are: a:3.*push-images"):
        adapter._proven_image({"a:3": "sha256:2"})


@pytest.mark.parametrize(
    ("training", "preliminary", "exists", "needle"),
    [
        (False, True, False, "could not create results after <Duration 1 minute>"),
        (False, False, True, "could not create results after"),
        (True, True, False, "not build a model"),
        (True, False, True, "not build a model"),
        (False, True, True, None),
        (True, True, True, None),
    ],
)
def test_when_time_is_over(tmp_path, training, preliminary, exists, needle):
    product = tmp_path / "product"
    if exists:
        product.touch()
    arguments = (product, Duration("1 minute"))
    if needle is None:
        DockerAdapter("a")._accept_preliminary(*arguments, training=training, preliminary=preliminary)
        return
    with pytest.raises(DockerTimeoutError, match=needle) as caught:
        DockerAdapter("a")._accept_preliminary(*arguments, training=training, preliminary=preliminary)
    assert ("switched off" in str(caught.value)) is not preliminary
