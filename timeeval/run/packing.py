"""Jobs: what travels to the process that computes an attempt.

A job is a small JSON header, which the worker reads, and pickles, which only the experiment's own process opens.
Functions and classes of the user's script and of modules beside it travel by value, because no node has them.

What many jobs have in common, the algorithm and the metrics, are *parts*: a job names them by their SHA-256, a node
gets each of them once, and `join` puts them where the experiment's process looks for them.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import json
import pickle
import struct
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from timeeval.durations import Duration, as_own
from timeeval.errors import TimeEvalError
from timeeval.params.base import ParameterConfig
from timeeval.params.params import FixedParams
from timeeval.run.local_code import local_modules

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.experiment import Experiment
    from timeeval.metrics import Metric

_HEAD = struct.Struct(">I")
_PARTS = struct.Struct(">QQ")
_OURS = ("timeeval", "timeeval_experiments", "provisioning")


class PackingError(TimeEvalError):
    """Something that must travel to another process cannot be pickled."""


def encode(header: Mapping[str, Any], payload: bytes) -> bytes:
    """Join a header and a payload to one job."""
    text = json.dumps(dict(header)).encode()
    return _HEAD.pack(len(text)) + text + payload


def decode(job: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a job into its header and its payload."""
    size = _HEAD.unpack_from(job)[0]
    start = _HEAD.size + size
    return json.loads(job[_HEAD.size : start]), job[start:]


def join(header: dict[str, Any], payload: bytes, part: Callable[[str], bytes]) -> bytes:
    """Return the whole payload of a job that was split from its parts, and take them out of its header."""
    names = header.pop("parts", None)
    if names is None:
        return payload
    algorithm, metrics = (part(name) for name in names)
    return _PARTS.pack(len(algorithm), len(metrics)) + algorithm + metrics + payload


def parts_of(job: bytes) -> list[str]:
    """Return the names of the parts that a job was split from."""
    return list(decode(job)[0].get("parts") or ())


def whole(job: bytes, part: Callable[[str], bytes]) -> bytes:
    """Return a job with its parts in it."""
    header, payload = decode(job)
    payload = join(header, payload, part)
    return encode(header, payload)


class Packer:
    """Makes the jobs of one run; what experiments have in common is pickled once.

    Parameters
    ----------
    results_dir : Path
        Results folder on the machines that compute.
    image_ids : mapping of str to str, optional
        Proven image identity by ``name:tag``; None where no gate stands before the run.
    locate : callable, optional
        Where a dataset file lies on the machine that computes; default: at its path.
    data_digests : mapping of Path to str, optional
        Proven SHA-256 of dataset files, which each job carries along; None where nothing was proven.
    strict : bool
        Whether an experiment may only read and start what was proven; else what was not is left to itself.
    """

    def __init__(
        self,
        results_dir: Path,
        image_ids: Mapping[str, str] | None = None,
        locate: Callable[[Path], Path] | None = None,
        data_digests: Mapping[Path, str] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        self._strict = strict
        self._data_digests = data_digests
        self._results_dir = results_dir
        self._image_ids = image_ids
        self._locate = locate or (lambda path: path)
        self._modules = local_modules()
        self._pickled: dict[int, tuple[Any, str]] = {}
        self.parts: dict[str, bytes] = {}
        """What the jobs made so far have in common, by its SHA-256."""

    def part(self, algorithm: Algorithm) -> bytes:
        """Pickle an algorithm without its parameter grid.

        Raises
        ------
        PackingError
            If it cannot be pickled.
        """
        return self.parts[self._once(algorithm, _slim, f"algorithm {algorithm.name}")]

    def pack(self, experiment: Experiment, slots: int | None = None) -> bytes:
        """Make the job of an experiment with all its parts in it; see `split`."""
        return whole(self.split(experiment, slots), self.parts.__getitem__)

    def split(self, experiment: Experiment, slots: int | None = None) -> bytes:
        """Make the job of an experiment, which only names its parts.

        Parameters
        ----------
        experiment : Experiment
            What to compute.
        slots : int, optional
            How many experiments share the host's memory and cores; default: as its constraints say.

        Raises
        ------
        PackingError
            If the algorithm or a metric cannot be pickled.
        """
        algorithm = self._once(experiment.algorithm, _slim, f"algorithm {experiment.algorithm.name}")
        metrics = self._once(experiment.metrics, lambda metrics: metrics, "the metrics")
        constraints = experiment.resource_constraints
        if slots is not None:
            constraints = replace(constraints, tasks_per_host=slots)
        train = experiment.resolved_train_dataset_path
        rest = {
            "dataset": experiment.dataset,
            "params": experiment.params,
            "params_id": experiment.params_id,
            "repetition": experiment.repetition,
            "resource_constraints": constraints,
            "resolved_train_dataset_path": None if train is None else self._locate(train),
            "resolved_test_dataset_path": self._locate(experiment.resolved_test_dataset_path),
        }
        payload = self._payload(rest, experiment)
        images = experiment.algorithm.main.get_images()
        args: dict[str, Any] = {}
        if images and self._image_ids is not None:
            known = {image: self._image_ids[image] for image in images if image in self._image_ids}
            if known or self._strict:
                args["image_ids"] = known
        header = {
            "kind": "experiment",
            "results_dir": str(self._results_dir),
            "name": experiment.name,
            "args": args,
            "containers": bool(images),
            "proven": self._proven(experiment),
            "parts": [algorithm, metrics],
        }
        return encode(header, payload)

    def _payload(self, value: Any, experiment: Experiment) -> bytes:  # noqa: ANN401 - anything
        # What is made of nothing but our own classes and plain values travels by name; cloudpickle takes five times as
        # long to come to the same.
        constraints = experiment.resource_constraints
        parts = (experiment.dataset, constraints, constraints.train_timeout, constraints.execute_timeout)
        ours = all(type(part).__module__.startswith("timeeval.") for part in parts)
        if ours and type(experiment.params) is FixedParams and _is_plain(dict(experiment.params)):
            return pickle.dumps(value)
        return self._dump(value, f"experiment {experiment.name}")

    def _proven(self, experiment: Experiment) -> dict[str, Any] | None:
        """Return the digests of what an experiment reads and starts, as the host checks them before it begins."""
        digests = self._data_digests
        if digests is None:
            return None
        paths = (experiment.resolved_test_dataset_path, experiment.resolved_train_dataset_path)
        ids = self._image_ids or {}
        files = {str(self._locate(path)): digests.get(path, "") for path in paths if path is not None}
        images = {name: ids.get(name, "") for name in experiment.algorithm.main.get_images()}
        proven = {"files": files, "images": images}
        if self._strict:
            return proven
        return {kind: {name: known for name, known in values.items() if known} for kind, values in proven.items()}

    def pack_calls(self, functions: Sequence[Callable[[], None]], name: str) -> bytes:
        """Make a job that calls functions without arguments, one after the other."""
        header = {"kind": "call", "results_dir": str(self._results_dir), "name": name, "args": {}, "containers": False}
        return encode(header, self._dump(list(functions), name))

    def pack_scoring(self, folder: Path, labels: Path, metrics: Mapping[str, Metric]) -> bytes:
        """Make a job that computes metrics (by column name) of the scores that are stored in a folder of this machine.

        Raises
        ------
        PackingError
            If a metric cannot be pickled.
        """
        header = {"kind": "score", "work_dir": str(folder), "args": {}, "containers": False}
        return encode(header, self._dump((labels, dict(metrics)), "the metrics"))

    def _once(self, value: Any, prepare: Callable[[Any], Any], what: str) -> str:  # noqa: ANN401 - anything
        known = self._pickled.get(id(value))
        if known is None:  # the value is kept beside its digest, so its id stays its own
            content = self._dump(prepare(value), what)
            digest = hashlib.sha256(content).hexdigest()
            self.parts[digest] = content
            known = self._pickled[id(value)] = (value, digest)
        return known[1]

    def _dump(self, value: Any, what: str) -> bytes:  # noqa: ANN401 - anything
        with _by_value(self._modules):
            try:
                return _pickled(value)
            except Exception as error:
                raise PackingError(
                    f"{what} cannot travel to another process: {type(error).__name__}: {error}",
                    remedy="Create locks, open files and connections inside the function that uses them",
                ) from error


def unpack_experiment(header: Mapping[str, Any], payload: bytes) -> Experiment:
    """Open the payload of an experiment; its files go to the header's ``work_dir``."""
    from timeeval.experiment import Experiment

    algorithm, metrics, rest = _split(payload)
    return Experiment(
        algorithm=pickle.loads(algorithm),  # noqa: S301 - our driver's, over an authenticated channel
        metrics=pickle.loads(metrics),  # noqa: S301
        base_results_dir=Path(header["results_dir"]),
        work_dir=Path(header["work_dir"]),
        **pickle.loads(rest),  # noqa: S301
    )


def _is_plain(value: Any) -> bool:  # noqa: ANN401 - a parameter's value
    """Tell whether a value consists of what every interpreter has."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return True
    if kind is dict:
        return all(_is_plain(key) and _is_plain(inner) for key, inner in value.items())
    return kind in (list, tuple) and all(map(_is_plain, value))


def _split(payload: bytes) -> tuple[memoryview, memoryview, memoryview]:
    first, second = _PARTS.unpack_from(payload)
    view = memoryview(payload)[_PARTS.size :]
    return view[:first], view[first : first + second], view[first + second :]


def _slim(algorithm: Algorithm) -> Algorithm:
    """Leave the parameter grid at home: each job carries its own setting."""
    slim = copy.copy(algorithm)
    slim.param_config = ParameterConfig.defaults()
    return slim


def _pickled(value: Any) -> bytes:  # noqa: ANN401 - anything
    import cloudpickle

    foreign = getattr(sys.modules.get("durations"), "Duration", Duration)
    if foreign is Duration:
        return bytes(cloudpickle.dumps(value))
    file = io.BytesIO()
    _pickler_beside(foreign)(file).dump(value)
    return file.getvalue()


@functools.cache
def _pickler_beside(foreign: type) -> Any:  # noqa: ANN401 - cloudpickle has no types
    """Make a class of picklers that write durations of a library, which nodes need not have, as ours."""
    import cloudpickle

    # the C code looks for the table in the class alone
    table = ChainMap(
        {foreign: lambda span: (Duration, (as_own(span).representation,))}, cloudpickle.CloudPickler.dispatch_table
    )
    return type("Pickler", (cloudpickle.CloudPickler,), {"dispatch_table": table})


@contextlib.contextmanager
def _by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    import cloudpickle

    before = set(cloudpickle.list_registry_pickle_by_value())
    ours = [module for module in modules if module.__name__ not in before and module.__name__ in sys.modules]
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)
