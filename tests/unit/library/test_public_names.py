"""What importing the package costs, and which names it has."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

import timeeval
from timeeval._distribution import refuse_foreign_distribution
from timeeval._lazy import lazy_attributes
from timeeval.errors import ForeignDistributionError

HEAVY = ("pandas", "distributed", "dask", "sklearn", "docker", "matplotlib", "scipy", "asyncssh", "joblib", "requests")


def loaded_by(code):
    """Names of the heavy packages that some code loads in a fresh interpreter."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout)) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import timeeval",
        "import timeeval.adapters, timeeval.datasets, timeeval.heuristics, timeeval.params",
        "from timeeval import Algorithm, ResourceConstraints, RemoteConfiguration, TrainingType",
        "from timeeval.adapters import DockerAdapter, FunctionAdapter, JarAdapter, MultivarAdapter, DistributedAdapter",
        "from timeeval.adapters import DockerAdapter; DockerAdapter('image').get_prepare_fn()",
        "from timeeval.params import FullParameterGrid; list(FullParameterGrid({'a': [1, 2]}))",
    ],
)
def test_nothing_heavy_is_loaded(code):
    assert loaded_by(code) == set()


def test_reading_datasets_loads_pandas_only():
    assert loaded_by("from timeeval import DatasetManager, MultiDatasetManager") == {"pandas"}


def test_submodules_are_reachable_without_an_import_of_their_own():
    code = "import timeeval; timeeval.datasets.metadata.TrendType; timeeval.adapters.docker; timeeval.params"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        timeeval.Nothing  # noqa: B018
    load, _ = lazy_attributes("timeeval", {})
    with pytest.raises(AttributeError):
        load("Algorithm")


@pytest.mark.parametrize("package", ["timeeval", "timeeval.datasets", "timeeval.adapters"])
def test_names_are_listed_before_they_are_loaded(package):
    code = (
        f"import {package} as package; missing = set(package.__all__) - set(dir(package)); assert not missing, missing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert loaded_by(f"import {package}; dir({package})") == set()


def test_a_foreign_distribution_is_refused_by_name():
    with pytest.raises(ForeignDistributionError, match=r"pip uninstall pytest") as caught:
        refuse_foreign_distribution("pytest")
    assert metadata.version("pytest") in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_without_it_nothing_is_said():
    assert refuse_foreign_distribution() is None


def test_cluster_constants_of_old_scripts():
    from timeeval.constants import HPI_CLUSTER

    assert HPI_CLUSTER.odin01 == "odin01"
    assert HPI_CLUSTER.odin14_ip == "172.20.11.114"
    assert len(HPI_CLUSTER.nodes) == len(HPI_CLUSTER.nodes_ip) == 14
    assert HPI_CLUSTER.akita_dataset_paths[HPI_CLUSTER.BENCHMARK].name == "data-processed"
