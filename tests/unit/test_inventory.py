from pathlib import Path, PurePosixPath

import pytest

from provisioning import init
from provisioning.errors import InventoryError, UsageError
from provisioning.inventory import Cluster, find, load

TEXT = """\
[cluster]
name = "lab"
hosts = ["node[01-04].lab", "gpu1"]
exclude = ["node02.lab"]
driver = "gpu1"
results = "/srv/timeeval/results"
user = "bench"
slots = 2

[groups]
fast = ["node[01-02].lab", "gpu1"]

[host."node03.lab"]
address = "10.0.0.3"
port = 2222
slots = 4

[[datasets]]
source = "nab"
path = "/srv/timeeval/data/nab"

[environment]
prefix = "/srv/timeeval/envs/demo"
python = "3.11"
requirements = ["runtime.lock"]
projects = ["."]

[[images]]
name = "demo/kmeans"

[ports]
workers = "30000-30100"

[limits]
parallel = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nab").mkdir()
    (tmp_path / "nab" / "datasets.csv").touch()
    (tmp_path / "runtime.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "cluster.toml").write_text(TEXT)
    return tmp_path / "cluster.toml"


@pytest.fixture
def cluster(file: Path) -> Cluster:
    return load(file)


def test_hosts_are_expanded_in_order_with_what_is_their_own(cluster: Cluster) -> None:
    assert [node.name for node in cluster.nodes] == ["node01.lab", "node03.lab", "node04.lab", "gpu1"]
    third = cluster.node("node03.lab")
    assert (third.address, third.port, third.user, third.slots) == ("10.0.0.3", 2222, "bench", 4)
    assert cluster.node("gpu1").slots == 2


def test_roles(cluster: Cluster) -> None:
    assert cluster.driver is cluster.nodes[3]
    assert [node.is_driver for node in cluster.nodes] == [False, False, False, True]
    assert cluster.scheduler is cluster.nodes[0]


def test_a_driver_beside_the_hosts_is_called_local(file: Path) -> None:
    file.write_text(TEXT.replace('driver = "gpu1"', 'scheduler = "local"'))
    cluster = load(file)
    assert cluster.driver.name == "local"
    assert cluster.driver.is_driver
    assert cluster.scheduler.is_driver
    assert cluster.node("local").is_driver
    assert not any(node.is_driver for node in cluster.nodes)


def test_everything_else(cluster: Cluster, file: Path) -> None:
    assert cluster.known_hosts == file.parent / "known_hosts"
    assert str(cluster.state).startswith("/var/tmp/timeeval-bench")
    assert cluster.datasets[0].source == file.parent / "nab"
    assert cluster.datasets[0].path == PurePosixPath("/srv/timeeval/data/nab")
    assert cluster.environment is not None
    assert cluster.environment.projects == (file.parent,)
    assert cluster.images[0].name == "demo/kmeans:latest"
    assert (cluster.ports.scheduler, cluster.ports.workers) == (0, (30000, 30100))
    assert (cluster.limits.parallel, cluster.limits.uploads) == (3, 8)


@pytest.mark.parametrize(
    ("limit", "exclude", "expected"),
    [
        ([], [], ["node01.lab", "node03.lab", "node04.lab", "gpu1"]),
        (["@fast"], [], ["node01.lab", "gpu1"]),
        (["gpu1,node[03-04].lab"], ["node04.lab"], ["node03.lab", "gpu1"]),
        ([], ["@fast"], ["node03.lab", "node04.lab"]),
    ],
)
def test_select(cluster: Cluster, limit: list[str], exclude: list[str], expected: list[str]) -> None:
    assert [node.name for node in cluster.select(limit, exclude)] == expected


@pytest.mark.parametrize(
    ("limit", "message"),
    [(["node09.lab"], "no host 'node09.lab'"), (["@slow"], "no group '@slow'")],
)
def test_select_names_what_exists(cluster: Cluster, limit: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        cluster.select(limit, [])
    assert caught.value.remedy
    assert "gpu1" in caught.value.remedy or "@fast" in caught.value.remedy
    with pytest.raises(UsageError, match="no host is left"):
        cluster.select(["gpu1"], ["@fast"])


@pytest.mark.parametrize(
    ("old", "new", "mark", "key", "message"),
    [
        ("slots = 2", "slot = 2", "slot =", "cluster.slot", "allowed: driver, exclude, hosts"),
        ("slots = 2", "slots = 0", "slots =", "cluster.slots", "greater than or equal to 1"),
        ("slots = 2", 'slots = "two"', "slots =", "cluster.slots", "valid integer"),
        ("port = 2222", "port = 70000", "port =", 'host."node03.lab".port', "less than or equal to 65535"),
        ("[limits]", "[limit]", "[limit]", "limit", "allowed: cluster, datasets, environment"),
        ('results = "/srv/timeeval/results"', "", "[cluster]", "cluster.results", "'results' is missing"),
        ('results = "/srv/timeeval/results"', 'results = "results"', "results =", "cluster.results", "is relative"),
        ('results = "/srv/timeeval/results"', 'results = "~/results"', "results =", "cluster.results", "begins with ~"),
        (
            'results = "/srv/timeeval/results"',
            'results = "/srv/../etc"',
            "results =",
            "cluster.results",
            "the plain path",
        ),
        (
            'results = "/srv/timeeval/results"',
            'results = "/a\\nb"',
            "results =",
            "cluster.results",
            "control character",
        ),
        ('"gpu1"]\nexclude', '"node01.lab"]\nexclude', "hosts =", "cluster.hosts", "'node01.lab' is named twice"),
        ('"gpu1"]\nexclude', '"me@gpu1"]\nexclude', "hosts =", "cluster.hosts", "is not a host name"),
        ('"gpu1"]\nexclude', '"-oProxyCommand=x"]\nexclude', "hosts =", "cluster.hosts", "is not a host name"),
        ('driver = "gpu1"', 'driver = "gpu9"', "driver =", "cluster.driver", "allowed: 'local' or one of node"),
        (
            'driver = "gpu1"',
            'scheduler = "gpu9"',
            "scheduler =",
            "cluster.scheduler",
            "allowed: 'local' or one of node",
        ),
        (
            'exclude = ["node02.lab"]',
            'exclude = ["node05.lab"]',
            "exclude =",
            "cluster.exclude",
            "is none of the hosts",
        ),
        ('exclude = ["node02.lab"]', 'exclude = ["n[2-1]"]', "exclude =", "cluster.exclude", "runs backwards"),
        ('fast = ["node[01-02].lab", "gpu1"]', 'fast = ["gpu2"]', "fast =", "groups.fast", "is none of the hosts"),
        ('[host."node03.lab"]', '[host."node05.lab"]', "[host.", 'host."node05.lab"', "is not a host here"),
        ('source = "nab"', 'source = "nap"', "source =", "datasets[0].source", "no folder"),
        ('source = "nab"', 'source = "."', "source =", "datasets[0].source", "no datasets.csv"),
        (
            'path = "/srv/timeeval/data/nab"',
            'path = "/srv/timeeval"',
            'path = "/srv/timeeval',
            "datasets[0].path",
            "lie in each other",
        ),
        (
            'requirements = ["runtime.lock"]',
            'requirements = ["no.lock"]',
            "requirements =",
            "environment.requirements[0]",
            "no file",
        ),
        ('python = "3.11"', 'python = "3"', "python =", "environment.python", "minor version"),
        ('name = "demo/kmeans"', 'name = "Demo/X"', '"Demo/X"', "images[0].name", "image name"),
        ('name = "demo/kmeans"', 'name = "demo/x"\ncontext = "nab"', "context =", "images[0].context", "no Dockerfile"),
        ('workers = "30000-30100"', 'workers = "3-1"', "workers =", "ports.workers", "30000-30100"),
    ],
)
def test_mistakes_are_told_with_file_line_key_and_what_is_allowed(
    file: Path, *, old: str, new: str, mark: str, key: str, message: str
) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new)
    line = next(number for number, content in enumerate(text.splitlines(), start=1) if mark in content)
    file.write_text(text)
    with pytest.raises(InventoryError) as caught:
        load(file)
    error = caught.value
    assert str(error).startswith(f"{file}:{line}: {key}: ")
    assert message in str(error)
    assert (error.file, error.line, error.key, error.exit_code) == (file, line, key, 2)


def test_what_is_not_toml_or_not_there(file: Path) -> None:
    file.write_text('[cluster]\nname = "lab\n')
    with pytest.raises(InventoryError) as caught:
        load(file)
    assert caught.value.line == 2
    with pytest.raises(InventoryError, match="timeeval-provision init"):
        load(file.parent / "missing.toml")
    file.write_bytes(b"\xff")
    with pytest.raises(InventoryError, match="UTF-8"):
        load(file)


def test_find_looks_upwards(file: Path) -> None:
    deep = file.parent / "a" / "b"
    deep.mkdir(parents=True)
    assert find(deep) == file


def test_a_rendered_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(init.render(["node[01-03].lab", "gpu1"], name='a-"b"'.replace('"', "")))
    cluster = load(tmp_path / "cluster.toml")
    assert [node.name for node in cluster.nodes] == ["node01.lab", "node02.lab", "node03.lab", "gpu1"]
    assert cluster.limits.command_timeout == 600
    with pytest.raises(UsageError, match="twice"):
        init.render(["a[1-2]", "a1"])
    with pytest.raises(UsageError, match="no host"):
        init.render([])
