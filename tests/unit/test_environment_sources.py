"""Where the packages of an environment come from, and which of several environments is meant."""

import json
import sys
from pathlib import Path, PurePosixPath

import pytest
from wheelwright import hash_of, make_project, make_wheel

from provisioning import inventory, receipt
from provisioning.commands import resources
from provisioning.errors import InventoryError, UsageError
from provisioning.inventory import Environment
from provisioning.node import shelf, store
from provisioning.resources.environment import lock, sources
from provisioning.resources.environment.target import Target

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
LINUX = Target("3.11", "3.11.2", "x86_64", "glibc", (2, 36))

PYPROJECT = """
[project]
name = "Mine"
dependencies = ["one>=1"]
[project.optional-dependencies]
plots = ["two"]
all = ["mine[plots]", "three; python_version < '4'"]
[dependency-groups]
base = ["four"]
test = ["five", {include-group = "base"}]
"""


def make(**fields) -> Environment:
    return Environment(PurePosixPath("/srv/envs/demo"), MINOR, **fields)


@pytest.fixture
def pyproject(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(PYPROJECT)
    return file


@pytest.fixture(autouse=True)
def _own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    (tmp_path / "index").mkdir()


# --- pyproject.toml -------------------------------------------------------------------------------------------------


def test_extras_and_groups_add_to_the_dependencies(pyproject):
    assert sources.of(make(requirements=(pyproject,))).wishes == ("one>=1",)
    chosen = sources.of(make(requirements=(pyproject,), extras=("all",), groups=("test",)))
    assert chosen.wishes == ("one>=1", "two", 'three; python_version < "4"', "five", "four")
    assert chosen.requirements == ()


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        ({}, {"extras": ("none",)}, r"has no extra 'none'"),
        ({}, {"groups": ("none",)}, r"has no dependency group 'none'"),
        ({'"four"': '{include-group = "test"}'}, {"groups": ("test",)}, "test > base > test .* include each other"),
        ({'"one>=1"': '"one >"'}, {}, "'one >', which is none"),
        ({'dependencies = ["one>=1"]': 'dynamic = ["dependencies"]'}, {}, "leaves its dependencies to its build"),
        ({"[project]": "[project"}, {}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_from_a_pyproject_is_said(pyproject, change, fields, message):
    for old, new in change.items():
        pyproject.write_text(pyproject.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        sources.of(make(requirements=(pyproject,), **fields))


def test_wishes_are_locked_once(pyproject, tmp_path):
    wheel = make_wheel(tmp_path / "index", "one", "1.5")
    wanted = sources.of(make(requirements=(pyproject,)))
    pins = lock.pins_for(LINUX, wanted, tmp_path / "kept")
    assert pins == (lock.Pin("one", "1.5", (f"sha256:{hash_of(wheel)}",)),)
    make_wheel(tmp_path / "index", "one", "1.6")
    assert lock.pins_for(LINUX, wanted, tmp_path / "kept") == pins
    pyproject.write_text(PYPROJECT.replace("one>=1", "one>=1.6"))
    again = lock.pins_for(LINUX, sources.of(make(requirements=(pyproject,))), tmp_path / "kept")
    assert [pin.version for pin in again] == ["1.6"]


def test_a_file_that_is_included_decides_too(tmp_path):
    make_wheel(tmp_path / "index", "one", "1.5")
    make_wheel(tmp_path / "index", "one", "1.6")
    (tmp_path / "all.txt").write_text("-c limits.txt\none\n")
    (tmp_path / "limits.txt").write_text("one<1.6\n")
    wanted = sources.Sources((tmp_path / "all.txt",))
    assert [pin.version for pin in lock.pins_for(LINUX, wanted, tmp_path / "kept")] == ["1.5"]
    (tmp_path / "limits.txt").write_text("one<1.7\n")
    assert [pin.version for pin in lock.pins_for(LINUX, wanted, tmp_path / "kept")] == ["1.6"]


def test_a_folder_among_requirements_is_named(tmp_path):
    project = make_project(tmp_path / "project", "mine", "1.0")
    (tmp_path / "all.txt").write_text(f"{project}\n")
    with pytest.raises(UsageError, match=r"project \(from all.txt\) is no package of an index"):
        lock.pins_for(LINUX, sources.Sources((tmp_path / "all.txt",)), tmp_path / "kept")


# --- what the driver has --------------------------------------------------------------------------------------------


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """An environment of the driver that holds nothing yet; gives a function that installs into it."""
    prefix = tmp_path / "venv"
    packages = prefix / "lib" / f"python{MINOR}" / "site-packages"
    packages.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "path", [str(packages)])

    def install(name: str, version: str, origin: dict | None = None, *, record: bool = True) -> None:
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if record:
            (info / "RECORD").write_text("")
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))

    return install


def test_the_drivers_versions_and_projects_travel(driver, tmp_path):
    make_project(tmp_path / "mine", "mine", "1.0", ["yours"])
    make_project(tmp_path / "yours", "yours", "1.0")
    wheel = make_wheel(tmp_path, "three", "3.0")
    driver("One", "1.5")
    driver("mine", "1.0", {"url": (tmp_path / "mine").as_uri(), "dir_info": {"editable": True}})
    driver("yours", "1.0", {"url": (tmp_path / "yours").as_uri(), "dir_info": {}})
    driver("three", "3.0", {"url": wheel.as_uri(), "archive_info": {}})
    wanted = sources.of(make(from_driver=True, projects=(tmp_path / "yours",)))
    assert wanted.wishes == ("one==1.5",)
    assert sorted(wheel.name for wheel in wanted.projects) == ["mine", "three", "yours"]
    assert wheel.exists()
    make_wheel(tmp_path / "index", "one", "1.5", requires=["mine", "new"])
    make_wheel(tmp_path / "index", "one", "1.6")
    make_wheel(tmp_path / "index", "new", "1.0")
    assert [(pin.name, pin.version) for pin in lock.pins_for(LINUX, wanted, tmp_path / "kept")] == [("one", "1.5")]


@pytest.mark.parametrize(
    ("origin", "record"),
    [({"url": "https://host/one.git", "vcs_info": {"vcs": "git"}}, True), (None, False)],
)
def test_what_came_from_elsewhere_than_an_index_is_refused(driver, origin, record):
    driver("one", "1.5", origin, record=record)
    with pytest.raises(UsageError, match="one was installed on the driver from"):
        sources.of(make(from_driver=True))


def test_another_minor_version_than_the_drivers_is_refused():
    environment = Environment(PurePosixPath("/srv/envs/demo"), "3.99")
    with pytest.raises(UsageError, match=rf"is to have Python 3\.99, the driver runs {MINOR}") as refused:
        sources.of(environment)
    assert f'python = "{MINOR}"' in refused.value.remedy


# --- several environments -------------------------------------------------------------------------------------------

HEAD = '[cluster]\nname = "lab"\nhosts = ["a"]\nresults = "/srv/results"\n'
TWO = f"""{HEAD}
[[environment]]
prefix = "/srv/envs/one"
python = "3.11"

[[environment]]
name = "other"
prefix = "/srv/envs/two"
python = "3.11"
from_driver = true
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "cluster.toml"
        file.write_text(text)
        return file

    return write


def test_the_first_of_several_environments_is_used_unless_another_is_named(write):
    cluster = inventory.load(write(TWO))
    assert cluster.environment.name == "default"
    assert cluster.variant == ""
    other = cluster.using("other")
    assert str(other.environment.prefix) == "/srv/envs/two"
    assert other.variant == "other"
    with pytest.raises(UsageError, match="no environment 'third'") as refused:
        cluster.using("third")
    assert refused.value.remedy == "its environments: default, other"


def test_the_example_in_the_documentation_can_be_read(write, pyproject, tmp_path):
    (tmp_path / "detectors.py").touch()
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    text = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
    example = text.partition("```toml\n")[2].partition("```")[0]
    environment = inventory.load(write(HEAD + example)).environment
    assert environment.requirements == (pyproject,)
    assert (environment.extras, environment.groups) == (("plots",), ("experiments",))
    assert environment.modules == (tmp_path / "detectors.py", tmp_path / "helpers")


def test_receipts_of_environments_lie_apart(write):
    cluster = inventory.load(write(TWO))
    places = {receipt.folder(each) for each in (cluster, cluster.using("other"))}
    places |= {receipt.place_on_node(each, cluster.nodes[0]).parent for each in (cluster, cluster.using("other"))}
    assert len(places) == 4


def test_all_environments_are_made_but_one_is_looked_at(write):
    cluster = inventory.load(write(TWO))
    names = ("host", "environment")
    assert [each.name for each in resources(names, cluster, None)] == ["host", "environment"]
    every = resources(names, cluster.using("other"), None, every=True)
    assert [each.name for each in every] == ["host", "environment", "environment default"]
    assert [str(each.folders(cluster.using("other"))[0]) for each in every[1:]] == ["/srv/envs/two", "/srv/envs/one"]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ('name = "other"\n', "", (10, "environment[1]"), "two environments are named 'default'"),
        ("from_driver = true", 'extras = ["x"]', (14, "environment[1].extras"), "needs a pyproject.toml"),
        ("/envs/two", "/envs/one/two", (12, "environment[1].prefix"), "lie in each other"),
        ("from_driver = true", "form_driver = true", (14, "environment[1].form_driver"), "is not a key here"),
    ],
)
def test_what_is_wrong_with_one_of_them_is_named_by_line(write, old, new, place, words):
    with pytest.raises(InventoryError, match=words) as refused:
        inventory.load(write(TWO.replace(old, new)))
    assert (refused.value.line, refused.value.key) == place


def test_what_the_driver_has_and_requirements_exclude_each_other(write, tmp_path):
    (tmp_path / "all.txt").write_text("")
    text = TWO.replace("from_driver = true", 'from_driver = true\nrequirements = ["all.txt"]')
    with pytest.raises(InventoryError, match="say one of them"):
        inventory.load(write(text))


def test_a_store_keeps_what_any_environment_wants(tmp_path):
    wheels, one, two = tmp_path / "wheels", tmp_path / "one", tmp_path / "two"
    for digit in "abc":
        (wheels / (digit * 16)).mkdir(parents=True)
        (wheels / (digit * 16) / "w.whl").write_text(digit)
    one.mkdir()
    store.forget(wheels, store.wishes(wheels, one, ["a" * 16 + "/w.whl", "b" * 16 + "/w.whl"]))
    store.forget(wheels, store.wishes(wheels, two, ["b" * 16 + "/w.whl"]))
    assert [path[0] for path, _ in shelf.stored(wheels)] == ["a", "b"]
    one.rmdir()
    store.forget(wheels, store.wishes(wheels, two, ["b" * 16 + "/w.whl"]))
    assert [path[0] for path, _ in shelf.stored(wheels)] == ["b"]
