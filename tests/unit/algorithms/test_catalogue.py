"""The catalogue of algorithm images: what it lists, how its functions are reached, what importing it costs."""

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import timeeval.algorithms
from timeeval import TrainingType
from timeeval.adapters import DockerAdapter
from timeeval.algorithms import CATALOGUE, load
from timeeval.algorithms.entries import CatalogueError, read_entries, write_entries
from timeeval.algorithms.stubs import files
from timeeval.data_types import InputDimensionality
from timeeval.durations import Duration
from timeeval.params import FixedParameters

PACKAGE = Path(timeeval.algorithms.__file__).parent
ENTRIES = {entry.function: entry for entry in CATALOGUE.entries}


def test_eighty_one_functions_are_exported():
    names = {}
    exec("from timeeval.algorithms import *", names)  # noqa: S102 - a module takes it
    del names["__builtins__"]
    assert len(names) == len(timeeval.algorithms.__all__) == 81
    assert len(CATALOGUE) == 82
    assert "subsequence_lof_multi_sum" not in names
    assert all(callable(function) for function in names.values())


def test_what_is_learned_and_taken():
    kinds = [entry.training_type for entry in CATALOGUE.entries if entry.exported]
    assert {kind: kinds.count(kind) for kind in kinds} == {"unsupervised": 51, "semi-supervised": 27, "supervised": 3}
    assert {entry.function for entry in CATALOGUE.entries if not entry.image_published} == {
        "arima",
        "multi_norma",
        "norma",
        "sand",
        "series2graph",
        "ssa",
    }


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_function_makes_its_algorithm(name):
    entry, algorithm = ENTRIES[name], CATALOGUE[name]()
    assert algorithm.name == entry.name
    assert isinstance(algorithm.main, DockerAdapter)
    assert algorithm.main.image == f"ghcr.io/timeeval/{name}:{entry.tag}"
    assert (algorithm.main.group, algorithm.main.skip_pull, algorithm.main.timeout) == ("akita", False, None)
    assert algorithm.data_as_file
    assert algorithm.preprocess is None
    assert list(algorithm.param_config) == [{}]
    assert (algorithm.postprocess is None) == (entry.postprocess is None)
    if algorithm.postprocess is not None:
        assert algorithm.postprocess.__name__ == entry.postprocess
        assert pickle.loads(pickle.dumps(algorithm.postprocess)) is algorithm.postprocess  # noqa: S301
    for parameter, schema in algorithm.param_schema.items():
        assert schema.keys() == {"name", "type", "defaultValue", "description"}
        assert schema["name"] == parameter
        assert schema["description"]
    module = importlib.import_module(f"timeeval.algorithms.{name}")
    assert getattr(module, name) is CATALOGUE[name]
    if entry.postprocess:
        assert getattr(module, entry.postprocess) is algorithm.postprocess


def test_arguments_arrive():
    params = FixedParameters({"n_neighbors": 5})
    algorithm = timeeval.algorithms.lof(params=params, skip_pull=True, timeout=Duration("1 minute"))
    assert algorithm.param_config is params
    assert algorithm.main.skip_pull
    assert algorithm.main.timeout == Duration("1 minute")
    assert algorithm.training_type is TrainingType.UNSUPERVISED
    assert algorithm.input_dimensionality is InputDimensionality.MULTIVARIATE


def test_defaults_stay_as_the_manifests_write_them():
    def defaults(name):
        return {key: value["defaultValue"] for key, value in CATALOGUE[name]().param_schema.items()}

    assert defaults("lof") == {
        "distance_metric_order": 2,
        "leaf_size": 30,
        "n_jobs": 1,
        "n_neighbors": 20,
        "random_state": 42,
    }
    assert defaults("iforest")["bootstrap"] == "False"
    assert defaults("autoencoder")["learning_rate"] == "0.005"
    assert defaults("bagel")["cuda"] is False
    assert defaults("mscred")["windows"] == [10, 30, 60]
    assert CATALOGUE.triple_es().param_schema["trend"]["type"] == "enum[add, mul]"
    CATALOGUE.mscred().param_schema["windows"]["defaultValue"].append(1)
    assert defaults("mscred")["windows"] == [10, 30, 60]


def test_deep_imports_leave_the_package_its_functions():
    code = (
        "from timeeval.algorithms.lof import lof\n"
        "from timeeval.algorithms import lof as same\n"
        "import timeeval.algorithms.subsequence_lof_multi_sum as m\n"
        "assert lof is same and m.subsequence_lof_multi_sum().main.tag == 'latest'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_loads_nothing_heavy():
    code = (
        "import timeeval.algorithms, sys, json; from timeeval.algorithms import lof; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & {"numpy", "pandas", "docker", "sklearn", "scipy", "dask", "distributed"} == set()


def test_algorithms_and_functions_travel():
    copy = cloudpickle.loads(cloudpickle.dumps(CATALOGUE.subsequence_lof()))
    scores = copy.postprocess(np.array([1.0, 3.0]), {"hyper_params": {"window_size": 2}})
    assert scores.tolist() == [1.0, 2.0, 3.0]
    assert pickle.loads(pickle.dumps(timeeval.algorithms.lof)) is timeeval.algorithms.lof  # noqa: S301


def test_the_stubs_are_current():
    # otherwise: python -m timeeval.algorithms.stubs timeeval/algorithms
    found = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.pyi")}
    assert found == files(CATALOGUE.entries)


def test_type_checkers_know_functions_and_modules(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from timeeval.algorithms import knn\n"
        "from timeeval.algorithms.lof import lof\n"
        "from timeeval.algorithms.subsequence_lof_multi_sum import post_sLOF, subsequence_lof_multi_sum\n"
        "names: list[str] = [f().name for f in (knn, lof, subsequence_lof_multi_sum)]\n"
        "knn(skip_pull='yes')\n"
        "post_sLOF(3)\n"
    )
    config = PACKAGE.parents[1] / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parents[1], check=False)
    errors = [line.partition(": error: ")[2] for line in done.stdout.splitlines() if ": error: " in line]
    assert [error.rpartition("[")[2] for error in errors] == ["arg-type]", "call-arg]", "arg-type]"], done.stdout


def test_the_catalogue_is_written_as_it_is_read():
    text = (PACKAGE / "catalogue.json").read_text(encoding="utf-8")
    assert write_entries(CATALOGUE.entries) == text


ENTRY = {
    "function": "mine",
    "name": "Mine",
    "image": "lab/mine",
    "tag": "1",
    "training_type": "unsupervised",
    "input_dimensionality": "univariate",
}


def catalogue_file(folder, *entries):
    path = folder / "mine.json"
    path.write_text(json.dumps({"format": 1, "algorithms": entries}), encoding="utf-8")
    return path


def test_own_catalogues_bring_their_own_post_processing(tmp_path):
    source = "import numpy as np\n\ndef post_mine(scores, args):\n    return np.abs(scores)\n"
    path = catalogue_file(tmp_path, {**ENTRY, "postprocess": {"function": "post_mine", "source": source}})
    algorithm = load(path).mine()
    assert algorithm.main.image == "lab/mine:1"
    assert cloudpickle.loads(cloudpickle.dumps(algorithm)).postprocess(np.array([-1.0]), {}).tolist() == [1.0]
    assert write_entries(read_entries(path)).count("post_mine") == 2
    with pytest.raises(AttributeError, match="it has: mine"):
        _ = load(path).other


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"function": "not-a-name"}, "Python name"),
        ({"tag": 1}, "'tag' must be a text"),
        ({"training_type": "none"}, "must be one of unsupervised"),
        ({"exported": "yes"}, "true or false"),
        ({"surplus": 1}, "unknown key 'surplus'"),
        ({"parameters": {"a": {"type": "int"}}}, "parameter 'a'"),
        ({"postprocess": 1}, "'postprocess' must be"),
    ],
)
def test_malformed_entries_are_named(tmp_path, change, needle):
    with pytest.raises(CatalogueError, match=needle):
        load(catalogue_file(tmp_path, {**ENTRY, **change}))


def test_doubles_and_strangers_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match="more than one entry for mine"):
        load(catalogue_file(tmp_path, ENTRY, ENTRY))
    with pytest.raises(CatalogueError, match="no function 'post_nothing'"):
        load(catalogue_file(tmp_path, {**ENTRY, "postprocess": "post_nothing"})).mine()
