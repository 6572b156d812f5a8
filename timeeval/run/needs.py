"""What an experiment needs of a node, as a document that provisioning reads (``timeeval.needs/1``)."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.data_types import TrainingType

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.datasets import Datasets
    from timeeval.experiments import Experiments

SCHEMA = "timeeval.needs/1"

# this package and what it requires: in every environment that it was installed into
_ALWAYS_THERE = {
    "__main__",
    "timeeval",
    "cloudpickle",
    "dask",
    "distributed",
    "docker",
    "numpy",
    "pandas",
    "psutil",
    "sklearn",
    "tqdm",
}


def needs_of(experiments: Experiments) -> dict[str, Any]:
    """Return the needs of a grid, JSON-able.

    Returns
    -------
    dict
        ``datasets``: per folder its ``path``, the ``ids`` and ``files`` in it; ``images``: ``name:tag``; ``modules``:
        installed top-level modules that the algorithms use, beside those that this package requires; ``limits``;
        ``slots``.
    """
    limits = experiments.resource_constraints
    return {
        "schema": SCHEMA,
        "datasets": _datasets(experiments),
        "images": sorted({image for algorithm in experiments.algorithms for image in algorithm.main.get_images()}),
        "modules": _modules(experiments.algorithms),
        "limits": {
            "train_seconds": limits.train_timeout.to_seconds(),
            "execute_seconds": limits.execute_timeout.to_seconds(),
            "memory_bytes": limits.task_memory_limit,
            "cpus": limits.task_cpu_limit,
        },
        "slots": limits.tasks_per_host,
    }


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the needs of several runs of one script as one document; limits are those of the first."""
    if not documents:
        return {"schema": SCHEMA, "datasets": [], "images": [], "modules": []}
    folders: dict[str, dict[str, Any]] = {}
    for document in documents:
        for need in document["datasets"]:
            known = folders.setdefault(need["path"], {"path": need["path"], "ids": [], "files": []})
            for key in ("ids", "files"):
                known[key] += [item for item in need[key] if item not in known[key]]
    return {
        **documents[0],
        "datasets": list(folders.values()),
        "images": sorted({image for document in documents for image in document["images"]}),
        "modules": sorted({module for document in documents for module in document["modules"]}),
        "slots": max(document["slots"] for document in documents),
    }


def _datasets(experiments: Experiments) -> list[dict[str, Any]]:
    trains = any(algorithm.training_type is not TrainingType.UNSUPERVISED for algorithm in experiments.algorithms)
    relative = _relative_paths(experiments.dmgr)
    folders: dict[str, dict[str, Any]] = {}
    for dataset in experiments.datasets:
        paths = [experiments.dmgr.get_dataset_path(dataset.datasetId, train=False)]
        if trains:
            try:
                paths.append(experiments.dmgr.get_dataset_path(dataset.datasetId, train=True))
            except (KeyError, ValueError):
                paths = paths[:1]  # there is nothing to train on
        for path in paths:
            folder, file = _split(path, relative)
            need = folders.setdefault(str(folder), {"path": str(folder), "ids": [], "files": []})
            if list(dataset.datasetId) not in need["ids"]:
                need["ids"].append(list(dataset.datasetId))
            if file not in need["files"]:
                need["files"].append(file)
    return list(folders.values())


def _relative_paths(dmgr: Datasets) -> set[str]:
    table = dmgr.df()
    return {str(path) for column in ("train_path", "test_path") for path in table[column].dropna() if path}


def _split(path: Path, relative: set[str]) -> tuple[Path, str]:
    """Split a dataset file's path into the folder with the index and the rest."""
    parts = path.parts
    for start in range(1, len(parts)):
        rest = "/".join(parts[start:])
        if rest in relative:
            return Path(*parts[:start]), rest
    return path.parent, path.name


def _modules(algorithms: Sequence[Algorithm]) -> list[str]:
    from timeeval.run import local_code
    from timeeval.run.packing import Packer, PackingError

    found: set[str] = set()
    packer = Packer(Path("/"))
    for algorithm in algorithms:
        try:
            pickled = packer.part(algorithm)
        except PackingError:
            continue  # the run itself says so, with the cause
        found |= _imported_by(pickled)
    installed = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - set(local_code.collect())
    return sorted(installed - _ALWAYS_THERE)


def _imported_by(pickled: bytes) -> set[str]:
    """Return the modules that opening a pickle of our own imports."""
    names: set[str] = set()

    def subimport(name: str) -> Any:  # noqa: ANN401 - a module
        names.add(name)
        return __import__(name, fromlist=["_"])

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
            if module.startswith("cloudpickle") and name == "subimport":
                return subimport
            names.add(module)
            return super().find_class(module, name)

    Recorder(io.BytesIO(pickled)).load()
    return names
