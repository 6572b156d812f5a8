"""What a script may say to the engine, and what it may not."""

import pytest

from timeeval.engines.dask_settings import DaskSettings, dask_config, scheduler_options, worker_options
from timeeval.engines.overwrites import wishes_of
from timeeval.engines.security import Authority
from timeeval.errors import EngineError
from timeeval.remote_configuration import RemoteConfiguration


def wishes(settings=None, **overwrites):
    return wishes_of(RemoteConfiguration(kwargs_overwrites=overwrites), settings or DaskSettings())


@pytest.mark.parametrize("name", ["nprocs", "n_workers"])
def test_workers_per_host_are_slots(name):
    found = wishes(worker_options={name: 3, "nthreads": 2, "resources": {"gpu": 1}})

    assert found.slots == 3
    assert found.settings.worker_options == {"nthreads": 2, "resources": {"gpu": 1}}
    assert worker_options(found.settings, "10.0.0.1")["nthreads"] == 2
    assert found.warnings == ()


@pytest.mark.parametrize("number", [0, -1, "2", None])
def test_a_wrong_number_of_workers_is_an_error(number):
    with pytest.raises(EngineError, match="workers per host"):
        wishes(worker_options={"nprocs": number})


@pytest.mark.parametrize(
    ("overwrites", "place"),
    [
        ({"connect_options": {"known_hosts": None}}, '["connect_options"]["known_hosts"]'),
        ({"security": object()}, '["security"]'),
        ({"worker_options": {"host": "0.0.0.0"}}, '["worker_options"]["host"]'),  # noqa: S104 - it is refused
        ({"scheduler_options": {"protocol": "tcp"}}, '["scheduler_options"]["protocol"]'),
        ({"scheduler_options": {"dashboard_address": ":8787"}}, '["scheduler_options"]["dashboard_address"]'),
        ({"worker_options": {"interface": "eth0"}}, '["worker_options"]["interface"]'),
        ({"worker_class": "distributed.Worker"}, '["worker_class"]'),
        ({"scheduler_options": {"jupyter": True}}, '["scheduler_options"]["jupyter"]'),
        ({"scheduler_options": {"service_kwargs": {"dashboard": {}}}}, '["scheduler_options"]["service_kwargs"]'),
        ({"worker_options": {"local_directory": "/tmp"}}, '["worker_options"]["local_directory"]'),
        (
            {"worker_options": {"config": {"distributed": {"comm": {"require-encryption": False}}}}},
            '["config"]["distributed.comm.require-encryption"]',
        ),
        (
            {"worker_options": {"config": {"distributed.comm.require_encryption": False}}},
            '["config"]["distributed.comm.require_encryption"]',
        ),
        (
            {"worker_options": {"config": {"distributed": {"worker": {"http": {"routes": []}}}}}},
            '["config"]["distributed.worker.http.routes"]',
        ),
    ],
)
def test_what_weakens_the_run_is_overruled_with_one_warning(overwrites, place):
    found = wishes(**overwrites)

    [warning] = found.warnings
    assert place in warning
    assert found.connection == {}
    for options in (worker_options(found.settings, "10.0.0.1"), scheduler_options(found.settings, "10.0.0.1")):
        assert options["host"] == "tls://10.0.0.1"
        assert options["protocol"] == "tls"
        assert options["dashboard_address"] == "127.0.0.1:0"
        assert not {"security", "interface", "jupyter", "service_kwargs", "local_directory"} & set(options)
        assert not options.get("config")


def test_dasks_own_configuration_keeps_its_meaning():
    found = wishes(worker_options={"config": {"distributed": {"worker": {"profile": {"interval": "1s"}}}, "x.y": {}}})

    assert found.warnings == ()
    config = worker_options(found.settings, "10.0.0.1")["config"]
    assert config == {"distributed.worker.profile.interval": "1s", "x.y": {}}


@pytest.mark.parametrize("port", ["many", -1, 70000, None])
def test_a_port_that_is_none_is_an_error(port):
    with pytest.raises(EngineError, match="no number of a port"):
        wishes(scheduler_options={"port": port})


def test_a_page_on_the_loopback_is_allowed():
    found = wishes(scheduler_options={"dashboard_address": "127.0.0.1:8787", "dashboard": True})

    assert found.warnings == ()
    assert scheduler_options(found.settings, "10.0.0.1")["dashboard_address"] == "127.0.0.1:8787"


def test_connection_options_reach_the_launcher():
    found = wishes(connect_options={"username": "bench", "port": 2222, "client_keys": ["~/.ssh/other"]})

    assert found.connection == {"user": "bench", "port": 2222, "key": "~/.ssh/other"}


def test_contradictions_name_both_sides():
    with pytest.raises(EngineError, match=r"port 9000.*at 30000"):
        wishes(DaskSettings(scheduler_port=30000), scheduler_options={"port": 9000})
    with pytest.raises(EngineError, match="environment"):
        wishes(remote_python="/usr/bin/python3")
    with pytest.raises(EngineError, match="cannot be sent"):
        wishes(worker_options={"preload": object()})


def test_a_port_of_the_script_is_used_where_the_cluster_file_has_none():
    assert wishes(scheduler_options={"port": 9000}).settings.scheduler_port == 9000
    assert wishes().settings.scheduler_port == 0


@pytest.mark.parametrize("level", ["DEBUG", "info", "WARNING", "ERROR", "CRITICAL"])
def test_log_levels_have_their_effect_at_every_level(level):
    remote = RemoteConfiguration(dask_logging_file_level=level, dask_logging_console_level=level)
    settings = wishes_of(remote, DaskSettings(log_file="/results/run/dask.log")).settings

    document = settings.logging_config("node1")
    handlers = document["handlers"]

    assert document["root"]["level"] == level.upper()
    assert {handler["level"] for handler in handlers.values()} == {level.upper()}
    assert handlers["file"]["filename"] == "/results/run/dask-node1.log"


def test_each_role_gets_only_its_own_key():
    authority = Authority.make("run")
    credentials = {role: authority.issue(role) for role in ("scheduler", "worker", "client")}

    for role, own in credentials.items():
        text = repr(dask_config(own, {}, 300))
        assert own.key.splitlines()[1] in text
        assert text.count("PRIVATE KEY") == 2  # its begin and its end
        assert "PRIVATE KEY" not in repr(own)
        assert role in dask_config(own, {}, 300)["distributed"]["comm"]["tls"]
