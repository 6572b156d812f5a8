"""Fixtures of the runner's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_data import algorithm, deviation, write_datasets

from timeeval import Algorithm, DatasetManager, DefaultMetrics, ResourceConstraints, TrainingType
from timeeval.evaluation import SlotPool, run_job
from timeeval.experiment import Experiment
from timeeval.params.params import FixedParams
from timeeval.run.packing import Packer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_datasets(tmp_path / "data")


@pytest.fixture
def datasets(data: Path) -> DatasetManager:
    return DatasetManager(data, create_if_missing=False)


@pytest.fixture
def experiment_of(datasets: DatasetManager, tmp_path: Path) -> Callable[..., Experiment]:
    def make(function: Callable = deviation, dataset: str = "one", **fields: object) -> Experiment:
        constraints = fields.pop("constraints", ResourceConstraints())
        metrics = fields.pop("metrics", [DefaultMetrics.ROC_AUC])
        params = FixedParams(fields.pop("params", {"a": 0}))
        made = function if isinstance(function, Algorithm) else algorithm(function, **fields)
        details = datasets.get("small", dataset)
        trains = made.training_type is not TrainingType.UNSUPERVISED
        return Experiment(
            dataset=details,
            algorithm=made,
            params=params,
            params_id=params.uid(),
            repetition=1,
            base_results_dir=tmp_path / "results",
            resource_constraints=constraints,
            metrics=metrics,
            resolved_train_dataset_path=datasets.get_dataset_path(("small", dataset), train=True) if trains else None,
            resolved_test_dataset_path=datasets.get_dataset_path(("small", dataset)),
        )

    return make


@pytest.fixture(scope="package")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlotPool]:
    pool = SlotPool(threads=1)
    # the processes end with the thread that started the first: that must not be one of an engine's
    job = Packer(tmp_path_factory.mktemp("first")).pack_calls([], "nothing")
    run_job(job, {"id": "first-1", "host": "here"}, pool)
    yield pool
    pool.close()


class _Lent:
    """A pool that outlives the engine which believes to own it: starting its processes is what a small run costs."""

    def __init__(self, pool: SlotPool) -> None:
        self.slot, self.cancel = pool.slot, pool.cancel

    def close(self) -> None:
        pass


@pytest.fixture
def kept_processes(pool: SlotPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the local engines of a test use the processes of the tests before it."""
    for place in ("timeeval.engines.local", "timeeval.run.rescoring"):
        monkeypatch.setattr(f"{place}.SlotPool", lambda *_, **__: _Lent(pool))
