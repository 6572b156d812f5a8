# ruff: noqa: S301 - the tests unpickle what they pickled
import copy
import logging.config
import pickle
import sys
from pathlib import Path

import pytest

from timeeval.remote_configuration import RemoteConfiguration
from timeeval.resource_constraints import ResourceConstraints


def test_defaults():
    config = RemoteConfiguration()
    assert (config.scheduler_host, config.scheduler_port) == ("localhost", 8786)
    assert config.worker_hosts == ["localhost"]
    assert config.remote_python == sys.executable
    assert config.dask_logging_filename == "dask.log"
    assert config.worker_hosts is not RemoteConfiguration().worker_hosts


def test_cluster_arguments():
    config = RemoteConfiguration(scheduler_host="s", worker_hosts=["a", "b"], remote_python="/p")
    assert config.to_ssh_cluster_kwargs(ResourceConstraints(tasks_per_host=3, task_memory_limit=7)) == {
        "hosts": ["s", "a", "b"],
        "worker_options": {"n_workers": 3, "nthreads": 1, "memory_limit": 7},
        "scheduler_options": {"host": "s", "port": 8786},
        "remote_python": "/p",
    }
    assert config.to_ssh_cluster_kwargs(ResourceConstraints())["worker_options"]["memory_limit"] == "auto"


def test_overwrites_are_merged_key_by_key():
    overwrites = {"worker_options": {"nthreads": 2, "preload": ["x"]}, "connect_options": {"port": 22}}
    config = RemoteConfiguration(kwargs_overwrites=overwrites)
    arguments = config.to_ssh_cluster_kwargs(ResourceConstraints())
    assert arguments["worker_options"] == {"n_workers": 1, "nthreads": 2, "memory_limit": "auto", "preload": ["x"]}
    assert arguments["connect_options"] == {"port": 22}
    arguments["worker_options"]["preload"].append("y")
    assert overwrites["worker_options"]["preload"] == ["x"]


@pytest.mark.parametrize("duplicate", [lambda c: c, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_the_log_moves_on_with_the_results(tmp_path, duplicate):
    config = RemoteConfiguration()
    config.update_logging_path(tmp_path / "one")
    assert config.dask_logging_filename == str(tmp_path / "one" / "dask.log")
    config = duplicate(config)
    config.update_logging_path(tmp_path / "two")
    assert config.dask_logging_filename == str(tmp_path / "two" / "dask.log")
    config.dask_logging_filename = "other.log"
    config.update_logging_path(tmp_path / "three")
    assert config.dask_logging_filename == str(tmp_path / "three" / "other.log")


def test_an_absolute_log_stays(tmp_path):
    config = RemoteConfiguration(dask_logging_filename=str(tmp_path / "own.log"))
    config.update_logging_path(tmp_path / "results")
    assert config.dask_logging_filename == str(tmp_path / "own.log")


def test_a_copy_leaves_the_users_object_alone(tmp_path):
    config = RemoteConfiguration()
    moved = config.with_logging_path(tmp_path / "one")
    assert config == RemoteConfiguration()
    assert Path(moved.dask_logging_filename).parent == tmp_path / "one"
    again = moved.with_logging_path(tmp_path / "two")
    assert Path(again.dask_logging_filename).parent == tmp_path / "two"


def test_the_logging_configuration_works(tmp_path):
    config = RemoteConfiguration(
        dask_logging_filename=str(tmp_path / "dask.log"), dask_logging_file_level="warning"
    ).get_remote_logging_config()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(config)
        logging.getLogger("somewhere").warning("a warning")
        logging.getLogger("somewhere").info("an information")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
    text = (tmp_path / "dask.log").read_text()
    assert " - WARNING - " in text
    assert " somewhere - a warning" in text
    assert "an information" not in text
