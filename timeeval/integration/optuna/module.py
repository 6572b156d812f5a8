"""The module that gives the parameter searches of an evaluation their storage."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.integration.base import TimeEvalModule
from timeeval.integration.optuna.config import JOURNAL_FILE, POSTGRESQL, OptunaConfiguration
from timeeval.integration.optuna.imported import optuna
from timeeval.integration.optuna.storage import guarded, open_storage

if TYPE_CHECKING:
    from optuna.study import StudySummary

    from timeeval.timeeval import TimeEval

JOURNAL_NAME = "optuna-journal.log"


class OptunaModule(TimeEvalModule):
    """Opens the storage of an evaluation's studies; loaded by `TimeEval` when an algorithm's parameters are searched.

    Parameters
    ----------
    config : OptunaConfiguration
        Settings of all searches.

    Attributes
    ----------
    storage_url : str, optional
        URL of the storage, if it has one. It may hold a password.

    Raises
    ------
    ValueError
        If no storage is given, or a database or dashboard is to be started: this project starts neither.

    Notes
    -----
    The driver alone asks and tells; nodes get the values of their experiments. So a file is all that a distributed
    search needs.
    """

    def __init__(self, config: OptunaConfiguration) -> None:
        if config.default_storage is None:
            raise ValueError("OptunaConfiguration.default_storage is None; give 'journal-file', a URL or a function.")
        if config.default_storage == POSTGRESQL:
            raise ValueError(
                "Starting a PostgreSQL server for parameter searches is not supported. The driver alone talks to the "
                "storage, so default_storage='journal-file' serves distributed evaluations as well; or give the URL of "
                "your own database."
            )
        if config.dashboard:
            raise ValueError(
                "Starting the Optuna dashboard is not supported. Start it yourself while the evaluation runs: "
                "`optuna-dashboard STORAGE`, e.g. with the optuna-journal.log in the results folder."
            )
        self.config = dataclasses.replace(config)  # the user's may serve several evaluations
        self.storage_url = config.default_storage if _is_url(config.default_storage) else None
        self.log = logging.getLogger(type(self).__name__)

    def prepare(self, timeeval: TimeEval) -> None:
        """Tell each search which storage, sampler and pruner it has."""
        storage = self.config.default_storage
        if storage == JOURNAL_FILE:
            path = timeeval.results_path / JOURNAL_NAME
            self.log.info("Parameter searches are kept in %s", path)
            self.config.default_storage = functools.cache(functools.partial(_journal, path))
        elif _is_url(storage):
            self.config.default_storage = _Url(str(storage))
        for algorithm in timeeval.exps.algorithms:
            update: Callable[[OptunaConfiguration], None] | None = getattr(
                algorithm.param_config, "update_config", None
            )
            if update is not None:
                update(self.config)

    def load_studies(self) -> list[StudySummary]:
        """Return summaries of all studies in the default storage; to be called after `prepare`."""
        storage = open_storage(self.config.default_storage)
        with guarded(self.config.default_storage, "reading the studies"):
            return list(optuna().get_all_study_summaries(storage))


class _Url:
    """A storage by its URL, opened once for all studies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._storage: Any = None

    def __call__(self) -> Any:  # noqa: ANN401 - a storage
        if self._storage is None:
            self._storage = optuna().storages.get_storage(self.url)
        return self._storage


def _journal(path: Path) -> Any:  # noqa: ANN401 - a storage
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def _is_url(storage: object) -> bool:
    return isinstance(storage, str) and storage not in {JOURNAL_FILE, POSTGRESQL}
