"""`TimeEval`: the face that scripts know."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pandas as pd

from timeeval._gone import GoneAttribute
from timeeval.constants import RESULTS_CSV
from timeeval.errors import ResultsError, TimeEvalError
from timeeval.experiments import Experiments
from timeeval.integration.loading import modules_for, searches_of
from timeeval.remote_configuration import RemoteConfiguration
from timeeval.resource_constraints import ResourceConstraints
from timeeval.run import session as sessions
from timeeval.run.needs import needs_of
from timeeval.run.search import with_objectives
from timeeval.run.views import RESULT_KEYS, Status, results_frame, write_csv
from timeeval.times import Times

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.datasets import Datasets
    from timeeval.metrics import Metric
    from timeeval.run.conduct import Outcomes
    from timeeval.run.evaluate import Evaluation

__all__ = ["Status", "TimeEval"]


class TimeEval:
    """Evaluates algorithms on datasets.

    Parameters
    ----------
    dataset_mgr : Datasets
        Knows the datasets.
    datasets : list of (collection, dataset)
        What to evaluate on.
    algorithms : list of Algorithm
        What to evaluate.
    results_path : Path
        A folder for this evaluation, named by the time, is created in it at once.
    repetitions : int
        How often each combination runs.
    distributed : bool
        Run on the hosts of a cluster.
    remote_config : RemoteConfiguration, optional
        Hosts of a distributed evaluation.
    resource_constraints : ResourceConstraints, optional
        Limits of each algorithm.
    disable_progress_bar : bool
        Show no progress bar.
    metrics : list of Metric, optional
        What to compute of the scores; default: ROC_AUC. An empty list is honoured.
    skip_invalid_combinations : bool
        Leave out datasets that an algorithm cannot take; otherwise they become rows with an error.
    force_training_type_match, force_dimensionality_match : bool
        Leave out datasets that differ in training type or dimensionality from an algorithm.
    n_jobs : int
        Experiments at a time on this machine; -1: one per usable core.
    experiment_combinations_file : Path, optional
        CSV file that names the combinations to run, see `Experiments`.
    module_configs : mapping
        Configurations of modules, by name.

    Raises
    ------
    AssertionError
        If the arguments make no evaluation.

    Attributes
    ----------
    results : DataFrame
        One row per experiment; empty before `run`.
    results_path : Path
        The folder of this evaluation.
    """

    RESULT_KEYS: ClassVar[list[str]] = list(RESULT_KEYS)
    DEFAULT_RESULT_PATH: Final[Path] = Path("./results")
    remote = GoneAttribute("a run starts its cluster and ends it. Use `timeeval-run SCRIPT --cluster`")
    rsync_results = GoneAttribute("a run collects its results. Use `timeeval-results fetch DIR` for what is left")
    rsync_results_from = GoneAttribute(
        "a run collects its results. Use `timeeval-results fetch DIR` for what is left, `timeeval-provision exec` and "
        "rsync for anything else"
    )

    def __init__(  # noqa: PLR0917 - the signature scripts know
        self,
        dataset_mgr: Datasets,
        datasets: list[tuple[str, str]],
        algorithms: list[Algorithm],
        results_path: Path = DEFAULT_RESULT_PATH,
        repetitions: int = 1,
        distributed: bool = False,
        remote_config: RemoteConfiguration | None = None,
        resource_constraints: ResourceConstraints | None = None,
        disable_progress_bar: bool = False,
        metrics: list[Metric] | None = None,
        skip_invalid_combinations: bool = True,
        force_training_type_match: bool = False,
        force_dimensionality_match: bool = False,
        n_jobs: int = -1,
        experiment_combinations_file: Path | None = None,
        module_configs: Mapping[str, Any] = {},
    ) -> None:
        _require(len(datasets) > 0, "No datasets given for evaluation!")
        _require(len(algorithms) > 0, "No algorithms given for evaluation!")
        _require(repetitions > 0, f"{repetitions} repetitions are not supported; give at least 1.")
        _require(n_jobs == -1 or n_jobs > 0, f"n_jobs={n_jobs} is not supported; give -1 or a positive number.")
        combinations = None if experiment_combinations_file is None else Path(experiment_combinations_file)
        _require(
            combinations is None or combinations.is_file(),
            f"Experiment combinations file not found: {combinations}",
        )
        _require(
            remote_config is None or len(remote_config.worker_hosts) > 0,
            "A distributed evaluation needs at least one worker host.",
        )
        details = _find(dataset_mgr, datasets)
        limits = resource_constraints or ResourceConstraints.default_constraints()
        _check_limits(algorithms, limits)

        self.log = logging.getLogger(type(self).__name__)
        self.disable_progress_bar = disable_progress_bar
        self.distributed = distributed
        self.n_jobs = n_jobs
        self.modules = modules_for(algorithms, module_configs, distributed=distributed)
        self.metrics = _default_metrics() if metrics is None else list(metrics)
        searches = searches_of(algorithms)
        if searches:
            self.metrics = with_objectives(self.metrics, [search.config.metric for search in searches])
            if repetitions > 1:
                self.log.warning("A parameter search tries each setting once; repetitions=%d becomes 1.", repetitions)
                repetitions = 1
        self.metric_names = _column_names(self.metrics)
        self.results = pd.DataFrame(columns=self._columns())
        if not distributed and limits.tasks_per_host > 1:
            self.log.warning(
                "tasks_per_host is %d, but a local evaluation has one host and n_jobs tasks; using 1.",
                limits.tasks_per_host,
            )
            limits.tasks_per_host = 1
        self.run_id: str | None = None
        session = sessions.current()
        self.results_path, self._number = _folder(Path(results_path), session)
        self.exps = Experiments(
            dataset_mgr,
            details,
            algorithms,
            self.results_path,
            resource_constraints=limits,
            repetitions=repetitions,
            metrics=self.metrics,
            skip_invalid_combinations=skip_invalid_combinations,
            force_training_type_match=force_training_type_match,
            force_dimensionality_match=force_dimensionality_match,
            experiment_combinations_file=combinations,
        )
        _require(len(self.exps) > 0, _nothing_to_do(combinations))
        self.log.info("Results are recorded in the directory %s", self.results_path)
        self._given_remote_config = remote_config
        self.remote_config = (remote_config or RemoteConfiguration()).with_logging_path(self.results_path)

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run all experiments; `results` and ``results.csv`` hold them afterwards, also after an interruption.

        Raises
        ------
        timeeval.errors.TimeEvalError
            If the place of the run cannot be had, e.g. because nodes are not verified for it.
        KeyboardInterrupt, SystemExit
            After Ctrl-C or SIGTERM, when everything is stopped and saved.
        """
        session = sessions.current()
        if session is not None and session.needs_only:
            session.needs.append(needs_of(self.exps))
            return
        started = time.monotonic()
        from timeeval.run.evaluate import Evaluation

        try:
            evaluation = Evaluation(self, self._number, self._given_remote_config)
        except BaseException:
            with contextlib.suppress(OSError):  # it holds an earlier run
                self.results_path.rmdir()
            raise
        self.run_id = evaluation.run_id
        self._say("Running PREPARE phase")
        with contextlib.ExitStack() as ends:  # whatever fails, all that was prepared is finalized
            for module in self.modules.values():
                module.prepare(self)
                ends.callback(module.finalize, self)
            ends.callback(evaluation.finalize)
            evaluation.prepare()
            self._say("Running EVALUATION phase")
            for module in self.modules.values():
                module.pre_run(self)
            outcomes = self._evaluate(evaluation)
            for module in self.modules.values():
                module.post_run(self)
            if self.modules:
                self.save_results()  # a module may have changed them
            self._say("Running FINALIZE phase")
        self._say(
            f"FINALIZED: results are in {self.results_path / RESULTS_CSV}, "
            f"the evaluation took {time.monotonic() - started:.2f} s"
        )
        self._end(outcomes)

    def _evaluate(self, evaluation: Evaluation) -> Outcomes:
        """Evaluate, and write down what there is then, whatever ended it; the first error is the one to be told."""
        try:
            outcomes = evaluation.run()
        except BaseException:
            with contextlib.suppress(TimeEvalError):
                self._take_results(evaluation)
            raise
        self._take_results(evaluation)
        return outcomes

    def _take_results(self, evaluation: Evaluation) -> None:
        rows = evaluation.rows()
        if rows is None:
            return  # nothing began, and an earlier table stays as it is
        self.results = results_frame(rows, self._columns(), self.metric_names, distributed=self.distributed)
        try:
            self.save_results()
        except OSError as error:
            raise ResultsError(
                f"{self.results_path / RESULTS_CSV} could not be written: {error.strerror}",
                remedy=f"See to the free space there; `timeeval-results export {self.results_path}` then writes it",
            ) from error
        good = self._good()
        for name in self.metric_names:
            lacking = int(good[name].isna().sum()) if name in good.columns else len(good)
            if lacking:
                self.log.warning(
                    "%s has no value for %d of %d experiments that ended well; their execution.log says why.",
                    name,
                    lacking,
                    len(good),
                )

    def _good(self) -> pd.DataFrame:
        return self.results[np.array([status is Status.OK for status in self.results["status"]], dtype=bool)]

    def _end(self, outcomes: Outcomes) -> None:
        if not outcomes.reason:
            return
        remedy = f"`timeeval-run SCRIPT --resume {self.results_path}` computes what is missing"
        if outcomes.signal is None:
            self.log.error("The evaluation is not complete: %s. %s.", outcomes.reason, remedy)
            return
        message = f"interrupted by {outcomes.signal.name}; {remedy}"
        self._say(message)
        if outcomes.signal.name == "SIGINT":
            raise KeyboardInterrupt(message)
        raise SystemExit(128 + outcomes.signal)

    def _say(self, text: str) -> None:
        self.log.info(text)
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: no reason to compute no more
            print(text, flush=True)

    # --- results --------------------------------------------------------------------------------------------------

    def get_results(self, aggregated: bool = True, short: bool = True) -> pd.DataFrame:
        """Return the results.

        Parameters
        ----------
        aggregated : bool
            Combine repetitions; experiments that did not end well are left out then.
        short : bool
            Only means of metrics and main times, parameter settings of an algorithm combined as well.

        Returns
        -------
        DataFrame
            All rows; or means (and, if not `short`, sample standard deviations) and the number of repetitions, with
            the group's keys as index.
        """
        if not aggregated:
            return self.results
        good = self._good()
        if len(good) < len(self.results):
            self.log.warning(
                "%d of %d experiments did not end well and are left out of the aggregation.",
                len(self.results) - len(good),
                len(self.results),
            )
        keys = ["algorithm", "collection", "dataset"]
        if short:
            wanted = [*self.metric_names, "train_main_time", "execute_main_time"]
        else:
            keys.append("hyper_params_id")
            wanted = [*self.metric_names, *Times.result_keys()]
        present = [column for column in dict.fromkeys(wanted) if column in good.columns]
        groups = good.astype(dict.fromkeys(present, "float64")).groupby(keys)
        parts = [groups[present].mean().add_suffix("_mean")]
        if not short:
            parts.append(groups[present].std(ddof=1).add_suffix("_std"))
        table = pd.concat(parts, axis=1)
        table["repetitions"] = groups.size()
        return table

    def save_results(self, results_path: Path | None = None) -> None:
        """Write `results` as CSV, by default to ``results.csv`` in the results folder."""
        write_csv(self.results, Path(results_path) if results_path else self.results_path / RESULTS_CSV)

    def _columns(self) -> list[str]:
        return [*self.RESULT_KEYS, *self.metric_names]


def _nothing_to_do(combinations: Path | None) -> str:
    if combinations is None:
        return "No valid experiments: no algorithm fits to any dataset."
    return (
        "No valid experiments: no algorithm fits to any dataset, or no combination of theirs is among those of "
        f"{combinations}."
    )


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)  # the type that scripts expect, also under `python -O`


def _find(dataset_mgr: Datasets, datasets: Sequence[tuple[str, str]]) -> list[Any]:
    found, unknown = [], []
    for dataset_id in datasets:
        try:
            found.append(dataset_mgr.get(dataset_id))
        except KeyError:
            unknown.append(dataset_id)
    _require(not unknown, f"Some datasets could not be found in DatasetManager: {unknown}")
    return found


def _check_limits(algorithms: Sequence[Algorithm], limits: ResourceConstraints) -> None:
    """Refuse a limit of CPUs for algorithms outside of containers; all others are watched for every algorithm."""
    if limits.task_cpu_limit is None:
        return
    unfit = [algorithm.name for algorithm in algorithms if not algorithm.main.get_images()]
    _require(
        not unfit,
        f"The algorithms {unfit} won't satisfy the specified resource constraints: only containers can be given a "
        "part of a host's CPUs (task_cpu_limit).",
    )


def _column_names(metrics: Sequence[Metric]) -> list[str]:
    from timeeval.metrics.scoring import column_names

    return column_names(metrics)


def _default_metrics() -> list[Metric]:
    from timeeval.metrics import DefaultMetrics

    return list(DefaultMetrics.default_list())


def _folder(results_path: Path, session: sessions.Session | None) -> tuple[Path, int]:
    if session is not None:
        return session.folder(results_path)
    return sessions.new_folder(results_path.resolve()), 1
