"""One evaluation of a `TimeEval`: its grid, its place, its jobs."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from timeeval.datasets.locations import readable
from timeeval.errors import TimeEvalError
from timeeval.run import local_code, provenance, session
from timeeval.run.collected import Collect
from timeeval.run.conduct import Outcomes, Plan, conduct, metric_identities, unique_cells
from timeeval.run.durations import Durations
from timeeval.run.grid import Grid
from timeeval.run.identity import Identities, grid_digest
from timeeval.run.journal import FILE_NAME, Journal, rows_of
from timeeval.run.layout import astray
from timeeval.run.needs import needs_of
from timeeval.run.packing import Packer
from timeeval.run.records import Limits, ResultRow, RunInfo
from timeeval.run.search import Searches, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from timeeval.algorithm import Algorithm
    from timeeval.experiment import Experiment
    from timeeval.remote_configuration import RemoteConfiguration
    from timeeval.timeeval import TimeEval

_log = logging.getLogger("TimeEval")


class Evaluation:
    """The run of one `TimeEval` object.

    Parameters
    ----------
    timeeval : TimeEval
        Whose experiments run.
    number : int
        It is the n-th of its script.
    remote_config : RemoteConfiguration, optional
        As the script gave it.
    """

    def __init__(self, timeeval: TimeEval, number: int, remote_config: RemoteConfiguration | None) -> None:
        self._timeeval = timeeval
        self._number = number
        self._session = session.current()
        self._run_id = session.new_run_id()
        exps = timeeval.exps
        self._needs = needs_of(exps)
        request = session.Request(
            run_id=self._run_id,
            results_path=timeeval.results_path,
            needs=self._needs,
            distributed=timeeval.distributed,
            slots=timeeval.n_jobs,
            remote_config=remote_config,
            resource_constraints=exps.resource_constraints,
        )
        self._place = (self._session.locate if self._session else session.default_place)(request)
        self._prepared: list[Algorithm] = []

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._run_id

    def prepare(self) -> None:
        """Prepare this machine for its algorithms; hosts of a cluster are prepared when they come up."""
        if self._place.remote:
            return
        for algorithm in self._timeeval.exps.algorithms:
            algorithm.prepare()
            self._prepared.append(algorithm)

    def finalize(self) -> None:
        """Clean this machine up; a failure is said and stops nothing."""
        for algorithm in self._prepared:
            try:
                algorithm.finalize()
            except Exception as error:  # noqa: BLE001 - users' own code; the others are to be finalized as well
                _log.warning("Finalizing %s failed: %r", algorithm.name, error)
        self._prepared.clear()

    def run(self) -> Outcomes:
        """Run what has no outcome yet."""
        timeeval = self._timeeval
        if self._place.observe is not None:
            self._place = self._place.observe()
        place = self._place
        identities = Identities(place.image_ids, place.data_digests, readable)
        durations = Durations.of(
            timeeval.results_path,
            {one.datasetId: float(one.length or 1) for one in timeeval.exps.datasets},
        )
        grid = Grid(
            timeeval.exps.cells(),
            lambda one: identities.execution(
                one, *durations.estimate(one.algorithm.name, one.dataset_collection, one.dataset_name)
            ),
        )
        name = astray(execution.cell for execution, _ in grid)
        if name is not None:
            raise TimeEvalError(
                f"{name!r} cannot be the name of an algorithm, a collection or a dataset: its results would not lie "
                f"below {timeeval.results_path}",
                remedy="Give it a name without .. and without a leading /",
            )
        double = unique_cells(grid)
        if double is not None:
            raise TimeEvalError(
                f"two different experiments are both called {double.algorithm}, {double.collection}/{double.dataset}, "
                f"parameters {double.hyper_params_id}, repetition {double.repetition}",
                remedy="Give each algorithm a name of its own",
            )
        packer = Packer(
            place.engine.results_dir(timeeval.results_path),
            place.image_ids,
            locate=place.locate or (None if place.remote else readable),
            data_digests=None if place.proof is None else place.data_digests,
            strict=place.remote,
        )
        before, after = self._host_jobs(packer) if place.remote else (None, None)
        info = RunInfo(
            self._run_id,
            self._number,
            grid_digest(execution for execution, _ in grid),
            time.time(),
            self._limits(),
            metric_identities(timeeval.metrics),
            {"distributed": timeeval.distributed}
            | provenance.collect(
                place=place.engine.name,
                proof=place.proof,
                origin=place.origin,
                hosts=place.hosts,
                needs=self._needs,
                local_modules=local_code.digests(local_code.collect()),
            ),
        )
        plan = Plan(
            timeeval.results_path,
            info,
            grid,
            lambda key, slots: packer.split(drawn(grid.experiment(key)), slots),
            lambda key, names, folder: self._scoring_job(packer, identities, grid.experiment(key), names, folder),
            self._session.retry if self._session else frozenset(),
            before,
            after,
            Searches.of(grid.searched(), timeeval.metrics),
            self._session.collect if self._session else Collect.ALL,
            packer.parts,
        )
        with _Bar(len(grid), disable=timeeval.disable_progress_bar) as bar:
            outcomes = conduct(plan, place, bar)
        if self._session is not None:
            self._session.finished.append(
                session.Finished(self._number, timeeval.results_path, dict(outcomes.counts), outcomes.reason)
            )
        return outcomes

    def rows(self) -> Iterator[ResultRow] | None:
        """Go through the grid with its records; None if the run did not begin."""
        path = self._timeeval.results_path / FILE_NAME
        if not path.is_file():
            return None
        with Journal.read(path) as journal:
            if all(run.id != self._run_id for run in journal.runs()):
                return None
        return rows_of(path, self._run_id)

    def _scoring_job(
        self, packer: Packer, identities: Identities, experiment: Experiment, names: Sequence[str], folder: Path
    ) -> bytes | None:
        """Make the job that computes metrics of stored scores; None if the labels they were made for are not here."""
        labels = readable(experiment.resolved_test_dataset_path)
        if not identities.proven_here(experiment.resolved_test_dataset_path):
            return None
        metrics = dict(zip(self._timeeval.metric_names, self._timeeval.metrics, strict=True))
        return packer.pack_scoring(folder, labels, {name: metrics[name] for name in names})

    def _host_jobs(self, packer: Packer) -> tuple[bytes | None, bytes | None]:
        proven = self._place.image_ids or {}
        custom = [
            algorithm
            for algorithm in self._timeeval.exps.algorithms
            if not all(image in proven for image in algorithm.main.get_images()) or not algorithm.main.get_images()
        ]
        before = [function for algorithm in custom if (function := algorithm.prepare_fn()) is not None]
        after = [function for algorithm in custom if (function := algorithm.finalize_fn()) is not None]
        return (
            packer.pack_calls(before, "prepare") if before else None,
            packer.pack_calls(after, "finalize") if after else None,
        )

    def _limits(self) -> Limits:
        constraints = self._timeeval.exps.resource_constraints
        return Limits(
            constraints.train_timeout.to_seconds(),
            constraints.execute_timeout.to_seconds(),
            constraints.task_memory_limit,
        )


class _Bar:
    """The progress bar of a run."""

    def __init__(self, total: int, *, disable: bool) -> None:
        self._total = total
        self._disable = disable
        self._bar: Any = None

    def __enter__(self) -> Self:
        from tqdm.auto import tqdm

        interval = 0.1 if sys.stderr.isatty() else 10.0  # a log file keeps every state of the bar
        self._bar = tqdm(total=self._total, desc="Evaluating", disable=self._disable, unit="exp", mininterval=interval)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, remaining: int, running: int) -> None:
        """Show how many experiments have no outcome yet and how many run."""
        self._bar.n = self._total - remaining
        self._bar.set_postfix(running=running, refresh=False)
        self._bar.update(0)
