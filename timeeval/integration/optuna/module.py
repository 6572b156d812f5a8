"""The module that gives the parameter searches of an evaluation their storage."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.errors import TimeEvalError
from timeeval.integration.base import TimeEvalModule
from timeeval.integration.optuna.config import JOURNAL_FILE, POSTGRESQL, OptunaConfiguration
from timeeval.integration.optuna.dashboard import Dashboard, require
from timeeval.integration.optuna.imported import optuna
from timeeval.integration.optuna.postgres import PostgresServer
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
        If no storage is given.
    MissingExtraError
        If a dashboard is asked for and not installed.

    Notes
    -----
    The driver alone asks and tells; nodes get the values of their experiments. So a file is all that a distributed
    search needs, and a database listens on this machine's loopback address alone.
    """

    def __init__(self, config: OptunaConfiguration) -> None:
        if config.default_storage is None:
            raise ValueError("OptunaConfiguration.default_storage is None; give 'journal-file', a URL or a function.")
        if config.dashboard:
            require()
        self.config = dataclasses.replace(config)  # the user's may serve several evaluations
        self.storage_url = str(config.default_storage) if _is_url(config.default_storage) else None
        self.log = logging.getLogger(type(self).__name__)
        self._server: PostgresServer | None = None
        self._managed: _Url | None = None
        self._dashboard: Dashboard | None = None

    def prepare(self, timeeval: TimeEval) -> None:
        """Tell each search which storage, sampler and pruner it has.

        Raises
        ------
        timeeval.errors.TimeEvalError
            If a server that is to be started does not start; nothing of it is left then.
        """
        storage = self.config.default_storage
        path = timeeval.results_path / JOURNAL_NAME
        if storage == JOURNAL_FILE:
            self.log.info("Parameter searches are kept in %s", path)
            self.config.default_storage = functools.cache(functools.partial(_journal, path))
        elif storage == POSTGRESQL:
            folder = timeeval.results_path / ".timeeval" / "postgresql"
            self._server = PostgresServer(str(timeeval.run_id), folder, self.config.postgres_image)
            self.storage_url = self._server.start()
            self._managed = self.config.default_storage = _Url(self.storage_url)
        elif _is_url(storage):
            self.config.default_storage = _Url(str(storage))
        if self.config.dashboard:
            try:
                self._dashboard = Dashboard(path if storage == JOURNAL_FILE else self.storage_url)
                self.log.info("The Optuna dashboard is at %s", self._dashboard.start())
            except BaseException:
                self._stop_server()
                raise
        for algorithm in timeeval.exps.algorithms:
            update: Callable[[OptunaConfiguration], None] | None = getattr(
                algorithm.param_config, "update_config", None
            )
            if update is not None:
                update(self.config)

    def finalize(self, timeeval: TimeEval) -> None:
        """End what was started here; the studies of a managed server go to a file in the results folder."""
        if self._dashboard is not None:
            self._dashboard.stop()
            self._dashboard = None
        if self._server is None:
            return
        kept = functools.cache(functools.partial(_journal, timeeval.results_path / JOURNAL_NAME))
        try:
            with guarded(self._managed, "copying the studies from the managed PostgreSQL"):
                _copy_studies(open_storage(self._managed), kept())
            self.config.default_storage = kept
        except TimeEvalError as error:  # the evaluation's own record has every trial
            self.log.warning("%s", error)
        finally:
            self._stop_server()

    def _stop_server(self) -> None:
        server, self._server = self._server, None
        if self._managed is not None:
            self._managed.close()
        if server is not None:
            server.stop()
            self.storage_url = None

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

    def close(self) -> None:
        """Close its connections, before what they lead to is gone."""
        if self._storage is not None:
            getattr(self._storage, "_backend", self._storage).engine.dispose()


def _copy_studies(source: Any, target: Any) -> None:  # noqa: ANN401 - storages
    known = set(optuna().get_all_study_names(target))
    for name in optuna().get_all_study_names(source):
        if name in known:  # of an earlier run of this results folder, whose trials the source has been told of
            optuna().delete_study(study_name=name, storage=target)
        optuna().copy_study(from_study_name=name, from_storage=source, to_storage=target)


def _journal(path: Path) -> Any:  # noqa: ANN401 - a storage
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def _is_url(storage: object) -> bool:
    return isinstance(storage, str) and storage not in {JOURNAL_FILE, POSTGRESQL}
