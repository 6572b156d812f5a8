"""Drawing the same values again: a sampler's random states as a function of its seed, the study and the trial.

A sampler's states go on from draw to draw. After a resume they would begin anew and draw the first trials a second
time, and studies that share a sampler would draw from each other's numbers. So before each draw every state gets a seed
of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np


class Seeds:
    """Seeds the random states of one study's sampler.

    Parameters
    ----------
    sampler : BaseSampler
        Not drawn from yet. One that was made without a seed stays unpredictable.
    study : str
        Name of the study.
    """

    def __init__(self, sampler: Any, study: str) -> None:  # noqa: ANN401 - Optuna is an optional extra
        self._study = study
        self._states = [(state, _origin(path, state)) for path, state in _random_states(sampler, "", set())]

    def set(self, trial: int) -> None:
        """Seed for the draw of a trial."""
        for state, origin in self._states:
            digest = origin.copy()
            digest.update(f"{self._study} {trial}".encode())
            state.seed(np.frombuffer(digest.digest(), dtype=np.uint32))


def _origin(path: str, state: np.random.RandomState) -> Any:  # noqa: ANN401 - a hash object
    _, numbers, position, *_ = state.get_state(legacy=True)
    return hashlib.sha256(f"{path} {position} ".encode() + np.asarray(numbers).tobytes())


def _random_states(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, np.random.RandomState]]:  # noqa: ANN401
    """Go through the random states that a sampler and its parts hold, in a fixed order."""
    if id(thing) in seen or not hasattr(thing, "__dict__") or isinstance(thing, type):
        return
    seen.add(id(thing))
    lazily = getattr(thing, "rng", None)  # Optuna's own holder makes its state when it is first asked for
    if isinstance(lazily, np.random.RandomState):
        yield path, lazily
        return
    for name, part in sorted(vars(thing).items()):
        if isinstance(part, np.random.RandomState):
            if id(part) not in seen:
                seen.add(id(part))
                yield f"{path}.{name}", part
        elif type(part).__module__.partition(".")[0] in {"optuna", type(thing).__module__.partition(".")[0]}:
            yield from _random_states(part, f"{path}.{name}", seen)
