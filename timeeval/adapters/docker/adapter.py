"""The adapter for algorithms in container images."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from timeeval.adapters.base import Adapter
from timeeval.adapters.docker import engine
from timeeval.adapters.docker.contract import MODEL_FILE_NAME, SCORES_FILE_NAME, command_for
from timeeval.adapters.docker.outcome import failure_of
from timeeval.adapters.docker.scores import is_regular_file, read_scores
from timeeval.adapters.docker.settings import (
    ATTEMPT_LABEL,
    RUN_LABEL,
    ContainerOptions,
    EngineFacts,
    container_settings,
)
from timeeval.data_types import AlgorithmParameter, ExecutionType
from timeeval.durations import TimeSpan
from timeeval.errors import DockerAdapterInternalError, DockerTimeoutError
from timeeval.resource_constraints import ResourceConstraints

_log = logging.getLogger("DockerAdapter")

#: Seconds in which an algorithm whose preliminary result counts may finish writing it.
_GRACE = 10


class DockerAdapter(Adapter):
    """Runs a container image as an algorithm.

    Parameters
    ----------
    image_name
        Name of the image without its tag.
    tag
        Tag of the image.
    group_privileges
        Group that result files shall belong to; the user's own if a host does not know it.
    skip_pull
        Do not pull the image in the prepare phase.
    timeout
        Longest training and longest execution; wins over the resource constraints.
    memory_limit_overwrite
        Bytes; wins over the resource constraints.
    cpu_limit_overwrite
        CPUs; wins over the resource constraints.
    network_mode
        Docker's network mode. By default an algorithm reaches no network at all.
    gpus
        ``None`` for no GPU, "all", a number of GPUs, or a list of device ids.
    platform
        ``os/architecture`` of the image, e.g. "linux/amd64"; ``None`` for the engine's own.
    mount_dataset_folder
        Mount the whole folder of the dataset, with its neighbours, instead of the one file.
    environment
        Additional environment variables for the container.

    Notes
    -----
    The container gets ``execute-algorithm`` and one JSON document as arguments, finds the time series below ``/data``
    and leaves scores or a model in ``/results``. It is removed as soon as its end is known. It carries the labels
    ``timeeval.run`` and ``timeeval.attempt``, by which :func:`timeeval.adapters.docker.remove_containers` finds what a
    killed process left behind; nothing without our label is ever removed.

    Beside the usual ones, ``args`` may hold ``run_id`` and ``attempt_id`` (text for the labels) and ``image_ids``
    (``name:tag`` to the id of the image that was proven on this host). If it holds ``image_ids``, the container is
    started by that id, whatever the tag means by now.
    """

    def __init__(  # noqa: PLR0917 - the signature scripts know
        self,
        image_name: str,
        tag: str = "latest",
        group_privileges: str = "akita",
        skip_pull: bool = False,
        timeout: TimeSpan | None = None,
        memory_limit_overwrite: int | None = None,
        cpu_limit_overwrite: float | None = None,
        *,
        network_mode: str = "none",
        gpus: int | str | Sequence[str] | None = None,
        platform: str | None = None,
        mount_dataset_folder: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.image_name = image_name
        self.tag = tag
        self.group = group_privileges
        self.skip_pull = skip_pull
        self.timeout = timeout
        self.memory_limit = memory_limit_overwrite
        self.cpu_limit = cpu_limit_overwrite
        self.options = ContainerOptions(
            network_mode=network_mode,
            gpus=gpus,
            platform=platform,
            mount_folder=mount_dataset_folder,
            environment=dict(environment or {}),
        )

    @property
    def image(self) -> str:
        """The image as ``name:tag``."""
        return f"{self.image_name}:{self.tag}"

    def get_images(self) -> tuple[str, ...]:
        """Return the one image, as ``name:tag``."""
        return (self.image,)

    def get_prepare_fn(self) -> Callable[[], None] | None:
        """Return a function that pulls the image, or ``None`` if ``skip_pull``."""
        return None if self.skip_pull else partial(engine.pull_image, self.image_name, self.tag)

    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:
        if not isinstance(dataset, Path):
            msg = (
                f"The image {self.image} takes the path of a dataset file, not {type(dataset).__name__}; set "
                "data_as_file=True on its Algorithm."
            )
            raise AssertionError(msg)
        execution_type = ExecutionType(args.get("executionType", ExecutionType.EXECUTE))
        results = Path(args.get("results_path", Path("results")))
        product = results / (MODEL_FILE_NAME if execution_type is ExecutionType.TRAIN else SCORES_FILE_NAME)
        results.mkdir(parents=True, exist_ok=True)
        _remove_earlier(product)

        self._run(dataset, results, product, execution_type, args)

        if execution_type is ExecutionType.TRAIN:
            return dataset
        return read_scores(product, self.image)

    def _run(
        self, dataset: Path, results: Path, product: Path, execution_type: ExecutionType, args: dict[str, Any]
    ) -> None:
        constraints: ResourceConstraints = args.get("resource_constraints") or ResourceConstraints()
        training = execution_type is ExecutionType.TRAIN
        span = (
            constraints.get_train_timeout(self.timeout) if training else constraints.get_execute_timeout(self.timeout)
        )
        preliminary = (
            constraints.use_preliminary_model_on_train_timeout
            if training
            else constraints.use_preliminary_scores_on_execute_timeout
        )
        with engine.connect() as client:
            facts = engine.engine_facts(client)
            memory, cpus = self._limits(constraints, facts)
            settings = container_settings(
                name=f"timeeval-{uuid4().hex}",
                image=self._proven_image(args.get("image_ids")),
                command=command_for(dataset, execution_type, dict(args.get("hyper_params", {}))),
                dataset=dataset,
                results=results,
                memory=memory,
                cpus=cpus,
                labels={
                    RUN_LABEL: str(args.get("run_id") or _run_id_of_this_process()),
                    ATTEMPT_LABEL: str(args.get("attempt_id") or ""),
                },
                group=self.group,
                options=self.options,
                facts=facts,
            )
            end = engine.run_to_end(
                client,
                settings,
                seconds=span.to_seconds(),
                grace=_GRACE if preliminary else 0,
                memory_limit=memory,
            )
        if end.timed_out:
            self._accept_preliminary(product, span, training=training, preliminary=preliminary)
            return
        failure = failure_of(end, self.image, memory, engine.host_name())
        if failure is not None:
            raise failure

    def _limits(self, constraints: ResourceConstraints, facts: EngineFacts) -> tuple[int, float]:
        memory, cpus = constraints.get_compute_resource_limits(
            memory_overwrite=self.memory_limit, cpu_overwrite=self.cpu_limit
        )
        wanted = self.cpu_limit or constraints.task_cpu_limit
        if not wanted and facts.cpus is not None:
            cpus = min(cpus, float(facts.cpus))  # the engine may own fewer CPUs than the host has
        if not facts.limits_memory:
            message = "The container engine cannot limit memory here"
            remedy = "Switch the memory cgroup on (kernel parameter cgroup_enable=memory), or use another engine"
            if self.memory_limit or constraints.task_memory_limit:
                raise DockerAdapterInternalError(message, host=engine.host_name(), remedy=remedy)
            _log.warning("%s: %s, so %s runs without a limit. %s.", engine.host_name(), message, self.image, remedy)
        return memory, cpus

    def _proven_image(self, image_ids: Mapping[str, str] | None) -> str:
        if image_ids is None:
            return self.image
        if self.image not in image_ids:
            msg = f"The image {self.image} was not proven on this host; proven are: {', '.join(image_ids) or 'none'}"
            raise DockerAdapterInternalError(
                msg, host=engine.host_name(), remedy="Run 'timeeval-provision push-images', then 'verify'"
            )
        return image_ids[self.image]

    def _accept_preliminary(self, product: Path, span: TimeSpan, *, training: bool, preliminary: bool) -> None:
        if preliminary and is_regular_file(product):
            print(f"Time is over after {span}: going on with the preliminary {product.name}.")
            return
        what = "could not build a model within" if training else "could not create results after"
        because = "" if preliminary else " (preliminary results are switched off)"
        msg = f"The container of {self.image} {what} {span}{because}"
        raise DockerTimeoutError(
            msg,
            host=engine.host_name(),
            remedy="Give it more time (train_timeout, execute_timeout or timeout) or a smaller parameter setting",
        )


def _remove_earlier(product: Path) -> None:
    """Take away what an earlier attempt left: it must not pass for this one's."""
    if product.is_dir() and not product.is_symlink():
        shutil.rmtree(product)
    else:
        product.unlink(missing_ok=True)


@cache
def _run_id_of_this_process() -> str:
    return f"process-{uuid4().hex}"
