"""What a user says of parameter searches: of all of an evaluation, and of one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from timeeval.integration.optuna.imported import optuna

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import StudyDirection

    from timeeval.metrics import Metric

JOURNAL_FILE = "journal-file"
POSTGRESQL = "postgresql"


@dataclass
class OptunaConfiguration:
    """Settings of all parameter searches of an evaluation (``module_configs={"optuna": …}``).

    Parameters
    ----------
    default_storage : str or callable
        Where studies are kept that name no storage of their own: ``"journal-file"`` (``optuna-journal.log`` in the
        results folder), ``"postgresql"`` (a server in a container of this machine, which goes with the run; the studies
        are copied to ``optuna-journal.log`` then), the URL of a database, or a function without arguments that returns
        a storage. Only the driver talks to it.
    default_sampler : BaseSampler, optional
        Draws the values; default: Optuna's. Each study works with a copy of it.
    default_pruner : BasePruner, optional
        Given to the studies.
    continue_existing_studies : bool
        Go on with a study of the same name in the storage; otherwise such a study is an error.
    dashboard : bool
        Show the studies on a web page of this machine while the evaluation runs, by the package ``optuna-dashboard``.
        For studies in ``"journal-file"`` or ``"postgresql"``, or by URL.
    remove_managed_containers : bool
        Accepted; the container of ``"postgresql"`` is always removed, once its studies are copied.
    use_default_logging : bool
        Let Optuna print with its own handler; otherwise its messages go the way of all others.
    log_level : int or str
        Verbosity of Optuna, e.g. ``logging.INFO`` or ``"info"``.
    postgres_image : str
        Image of ``"postgresql"``; it is pulled if it is not here.

    Notes
    -----
    Setting `use_default_logging` or `log_level`, here or later, takes effect at once.
    """

    default_storage: str | Callable[[], BaseStorage] = field(repr=False)  # a URL may hold a password
    default_sampler: BaseSampler | None = None
    default_pruner: BasePruner | None = None
    continue_existing_studies: bool = False
    dashboard: bool = False
    remove_managed_containers: bool = False
    use_default_logging: bool = False
    log_level: int | str = logging.INFO
    postgres_image: str = field(default="postgres:latest", kw_only=True)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        number = _level(value) if name == "log_level" else None
        object.__setattr__(self, name, value)
        if name == "use_default_logging":
            _use_default_handler(use=bool(value))
        elif number is not None:
            optuna().logging.set_verbosity(number)

    @classmethod
    def default(cls, distributed: bool) -> Self:  # noqa: ARG003 - a node never talks to the storage
        """Return the configuration for an evaluation that gives none: a journal file in the results folder."""
        return cls(default_storage=JOURNAL_FILE)


@dataclass(frozen=True)
class OptunaStudyConfiguration:
    """Settings of the search for one algorithm's parameters.

    Parameters
    ----------
    n_trials : int
        Settings to try on each dataset.
    metric : Metric
        What to improve.
    storage, sampler, pruner
        As in `OptunaConfiguration`, for these studies alone.
    direction : str or StudyDirection
        ``"maximize"`` or ``"minimize"``.
    continue_existing_study : bool
        Go on with a study of the same name in the storage.
    """

    n_trials: int
    metric: Metric
    storage: str | Callable[[], BaseStorage] | None = field(default=None, repr=False)
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    direction: str | StudyDirection = "maximize"
    continue_existing_study: bool = False

    def update_unset_options(self, global_config: OptunaConfiguration) -> OptunaStudyConfiguration:
        """Return a copy in which `global_config` says what is not said here."""
        return self.copy(
            storage=global_config.default_storage if self.storage is None else self.storage,
            sampler=global_config.default_sampler if self.sampler is None else self.sampler,
            pruner=global_config.default_pruner if self.pruner is None else self.pruner,
            continue_existing_study=self.continue_existing_study or global_config.continue_existing_studies,
        )

    def copy(self, **changes: Any) -> OptunaStudyConfiguration:  # noqa: ANN401
        """Return a copy with other values for some fields."""
        return dataclasses.replace(self, **changes)


def _level(value: int | str) -> int:
    if isinstance(value, int):
        return value
    level = logging.getLevelNamesMapping().get(value.upper())
    if level is None:
        raise ValueError(f"log_level={value!r} is unknown; give debug, info, warning, error, critical or a number.")
    return level


def _use_default_handler(*, use: bool) -> None:
    logs = optuna().logging
    if use:
        logs.enable_default_handler()
        logs.disable_propagation()
    else:
        logs.disable_default_handler()
        logs.enable_propagation()
