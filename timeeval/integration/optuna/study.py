"""One study as the driver sees it: settings are asked of it, and each is told what became of it, once."""

from __future__ import annotations

import copy
import json
import math
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timeeval.errors import StudyError
from timeeval.integration.optuna.imported import optuna
from timeeval.integration.optuna.seeds import Seeds
from timeeval.integration.optuna.storage import guarded, open_storage

if TYPE_CHECKING:
    from timeeval.integration.optuna.config import OptunaStudyConfiguration

RUN = "timeeval_run"
"""Attribute of studies and trials: the run that made them. A resumed run knows its own by it."""


class Study:
    """A study that is opened when the first setting is drawn.

    Parameters
    ----------
    name : str
        Name of the study in its storage.
    distributions : mapping of str to BaseDistribution
        The search space.
    config : OptunaStudyConfiguration
        With a storage.
    attributes : mapping, optional
        Written to the study when it is created.
    defaults : mapping, optional
        Values of the setting number 0; the parameters that are left out are drawn.
    """

    def __init__(
        self,
        name: str,
        distributions: Mapping[str, Any],
        config: OptunaStudyConfiguration,
        attributes: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.distributions = dict(distributions)
        self._attributes = dict(attributes or {})
        self._defaults = dict(defaults or {})
        self._runs: tuple[str, ...] = ()
        self._study: Any = None
        self._seeds: Seeds | None = None
        self._trials: dict[str, Any] = {}

    def attach(self, runs: Sequence[str]) -> None:
        """Belong to a results folder: to its runs, the current one last. Has no effect once the study is open."""
        if self._study is None:
            self._runs = tuple(runs)

    @property
    def study(self) -> Any:  # noqa: ANN401 - optuna.Study
        """The study, opened or created.

        Raises
        ------
        ValueError
            If no storage is configured.
        StudyError
            If the storage does not answer, or holds such a study of somebody else.
        """
        if self._study is None:
            storage = open_storage(self.config.storage)
            with guarded(self.config.storage, f"opening the study {self.name!r}"):
                sampler = copy.deepcopy(self.config.sampler)
                self._study = self._opened(storage, sampler)
                self._seeds = Seeds(self._study.sampler, self.name)
                for trial in self._study.get_trials(deepcopy=False):
                    self._know(trial)
        return self._study

    def _opened(self, storage: Any, sampler: Any) -> Any:  # noqa: ANN401
        module = optuna()
        options = {"study_name": self.name, "storage": storage, "sampler": sampler, "pruner": self.config.pruner}
        if self.name in module.get_all_study_names(storage):
            found = module.load_study(**options)
            # an empty one is what a driver leaves that is killed before it has drawn anything
            ours = not self._runs or found.user_attrs.get(RUN) in self._runs or not found.get_trials(deepcopy=False)
            if not ours and not self.config.continue_existing_study:
                raise StudyError(
                    f"the storage holds a study {self.name!r} already",
                    remedy="Go on with it by continue_existing_study=True, or use another storage",
                )
            return found
        study = module.create_study(**options, direction=self.config.direction)
        for name, value in {**self._attributes, **({RUN: self._runs[-1]} if self._runs else {})}.items():
            study.set_user_attr(name, value)
        return study

    def _know(self, trial: Any) -> None:  # noqa: ANN401 - FrozenTrial
        """Keep the trial of a setting: the one with a value before the one that still may get one."""
        uid = trial.user_attrs.get("uid")
        if uid is None or (self._runs and trial.user_attrs.get(RUN) not in self._runs):
            return
        state = optuna().trial.TrialState
        rank = [state.FAIL, state.RUNNING, state.COMPLETE]
        before = self._trials.get(uid)
        if trial.state in rank and (before is None or rank.index(trial.state) >= rank.index(before.state)):
            self._trials[uid] = trial

    def draw(self, uid: str, index: int) -> Any:  # noqa: ANN401 - FrozenTrial
        """Return the trial of a setting, asking for one if it has none.

        Parameters
        ----------
        uid : str
            Id of the setting.
        index : int
            Its number in the study; the same seed and history draw the same values for it.
        """
        study = self.study
        if uid not in self._trials:
            with guarded(self.config.storage, f"asking the study {self.name!r} for a setting"):
                assert self._seeds is not None  # noqa: S101 - the study is open
                self._seeds.set(index)
                if index == 0 and self._defaults:
                    study.enqueue_trial(self._defaults, skip_if_exists=True)
                trial = study.ask(self.distributions)
                marks = {"node": socket.gethostname(), **({RUN: self._runs[-1]} if self._runs else {})}
                for name, value in {**marks, "uid": uid}.items():
                    trial.set_user_attr(name, value)
                self._know(study.get_trials(deepcopy=False)[trial.number])
        return self._trials[uid]

    def tell(self, uid: str, value: float | None, *, node: str | None = None, hyper_params: str | None = None) -> None:
        """Tell what became of a setting; what is known already is not told again.

        Parameters
        ----------
        uid : str
            Id of the setting.
        value : float, optional
            Of the metric; None or NaN: there is none.
        node : str, optional
            Host that computed it.
        hyper_params : str, optional
            The setting as JSON, for a study that knows nothing of it because its storage was lost.
        """
        study = self.study
        state = optuna().trial.TrialState
        told = None if value is None or math.isnan(value) else float(value)
        trial = self._trials.get(uid)
        with guarded(self.config.storage, f"telling the study {self.name!r} of a result"):
            if trial is not None and trial.state is state.RUNNING:
                if node is not None:
                    study._storage.set_trial_user_attr(trial._trial_id, "node", node)  # noqa: SLF001 - no public way
                outcome = {"state": state.FAIL} if told is None else {"values": told}
                self._trials[uid] = study.tell(trial.number, **outcome, skip_if_finished=True)
            elif trial is None and hyper_params is not None:
                self._add(uid, self._values(json.loads(hyper_params)), told, node)
            elif trial is not None and trial.state is state.FAIL and told is not None:
                self._add(uid, trial.params, told, node)  # it was tried again, and did better

    def _add(self, uid: str, params: Mapping[str, Any], value: float | None, node: str | None) -> None:
        state = optuna().trial.TrialState
        marks = {"uid": uid, "node": node, **({RUN: self._runs[-1]} if self._runs else {})}
        self.study.add_trial(
            optuna().trial.create_trial(
                state=state.FAIL if value is None else state.COMPLETE,
                value=value,
                params=dict(params),
                distributions={name: self.distributions[name] for name in params},
                user_attrs=marks,
            )
        )
        self._know(self.study.get_trials(deepcopy=False)[-1])

    def _values(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Read values back from JSON: a choice is the one that is written like this."""
        return {
            name: next(
                (c for c in getattr(distribution, "choices", ()) if json.dumps(c) == json.dumps(document[name])),
                document[name],
            )
            for name, distribution in self.distributions.items()
            if name in document
        }
