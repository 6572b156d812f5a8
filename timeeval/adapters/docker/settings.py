"""How a container is set up; nothing here talks to the engine."""

import grp
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from timeeval.adapters.docker.contract import DATASET_TARGET_PATH, RESULTS_TARGET_PATH

RUN_LABEL: Final = "timeeval.run"
ATTEMPT_LABEL: Final = "timeeval.attempt"

#: What the usual numerical libraries read to size their thread pools. They see all CPUs of the host, whatever the
#: container's share of them is.
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a container engine can do.

    Parameters
    ----------
    cgroup_version
        1 or 2.
    cpus
        CPUs that the engine can give away; ``None`` if it does not say.
    rootless
        Whether root inside of a container is the user who runs the engine.
    limits_memory
        Whether memory limits have an effect.
    """

    cgroup_version: int = 1
    cpus: int | None = None
    rootless: bool = False
    limits_memory: bool = True

    @staticmethod
    def from_info(info: Mapping[str, Any]) -> "EngineFacts":
        """Read the engine's answer to ``GET /info``."""
        return EngineFacts(
            cgroup_version=2 if str(info.get("CgroupVersion", "1")) == "2" else 1,
            cpus=info.get("NCPU") or None,
            rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or ()),
            limits_memory=info.get("MemoryLimit") is not False,
        )


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What the user of an adapter chose about its containers.

    Parameters
    ----------
    network_mode
        Docker's network mode; "none" keeps the algorithm off every network.
    gpus
        ``None`` for no GPU, "all", a number of GPUs, or a list of device ids.
    platform
        ``os/architecture`` of the image, e.g. "linux/amd64"; ``None`` for the engine's own.
    mount_folder
        Mount the whole folder of the dataset, with its neighbours, instead of the one file.
    environment
        Additional environment variables; they win over ours.
    """

    network_mode: str = "none"
    gpus: int | str | Sequence[str] | None = None
    platform: str | None = None
    mount_folder: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def user_variables(group: str, *, rootless: bool) -> dict[str, str]:
    """Variables by which an algorithm image gives its files to the user who runs TimeEval.

    Parameters
    ----------
    group
        Group that the files shall belong to; the user's own group if this host does not know it.
    rootless
        Root inside of a rootless engine's container is that user already, any other id is not.
    """
    uid = os.getuid()
    if uid == 0 or rootless:
        return {}
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        gid = os.getgid()
    return {"LOCAL_UID": str(uid), "LOCAL_GID": str(gid)}


def thread_variables(cpus: float) -> dict[str, str]:
    """Variables that keep thread pools in line with a CPU limit; at least one thread."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, int(cpus))))


def device_requests(gpus: int | str | Sequence[str] | None) -> list[Any] | None:
    """Translate a wish for GPUs into the engine's device requests."""
    if gpus is None:
        return None
    from docker.types import DeviceRequest

    capabilities = [["gpu"]]
    if gpus == "all":
        return [DeviceRequest(count=-1, capabilities=capabilities)]
    if isinstance(gpus, int) and not isinstance(gpus, bool) and gpus > 0:
        return [DeviceRequest(count=gpus, capabilities=capabilities)]
    if isinstance(gpus, str | int):
        msg = f"gpus={gpus!r} is not a choice of GPUs; give a positive number, 'all', a list of device ids, or None."
        raise ValueError(msg)
    return [DeviceRequest(device_ids=[str(device) for device in gpus], capabilities=capabilities)]


def container_settings(
    *,
    name: str,
    image: str,
    command: list[str],
    dataset: Path,
    results: Path,
    memory: int,
    cpus: float,
    labels: Mapping[str, str],
    group: str,
    options: ContainerOptions,
    facts: EngineFacts,
) -> dict[str, Any]:
    """Build the arguments for ``client.containers.create``.

    Parameters
    ----------
    name
        Name of the container.
    image
        ``name:tag`` or the id of the image.
    command
        Argument list.
    dataset
        File of the time series; mounted read-only.
    results
        Result folder; mounted for writing.
    memory
        Bytes, swap included: none of it may be swapped out.
    cpus
        CPUs, may be a fraction.
    labels
        Labels by which our containers are found again.
    group
        Group for the result files, see :func:`user_variables`.
    options
        What the user chose.
    facts
        What the engine can do.
    """
    from docker.types import Mount

    if options.mount_folder:
        source, place = dataset.parent.resolve(), DATASET_TARGET_PATH
    else:  # a link is mounted under its own name, with the content of what it points to
        source, place = dataset.resolve(), DATASET_TARGET_PATH / dataset.name
    settings: dict[str, Any] = {
        "name": name,
        "image": image,
        "command": command,
        "detach": True,
        "labels": dict(labels),
        "environment": {
            **thread_variables(cpus),
            **user_variables(group, rootless=facts.rootless),
            **options.environment,
        },
        # Unlike "volumes", a mount whose source is missing is an error, not a new empty folder.
        "mounts": [
            Mount(target=str(place), source=str(source), type="bind", read_only=True),
            Mount(target=str(RESULTS_TARGET_PATH), source=str(results.resolve()), type="bind", read_only=False),
        ],
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": int(cpus * 1e9),
        "network_mode": options.network_mode,
    }
    if facts.cgroup_version == 1:
        settings["mem_swappiness"] = 0  # cgroup v2 has no such knob and engines there refuse the option
    if options.platform is not None:
        settings["platform"] = options.platform
    requests = device_requests(options.gpus)
    if requests is not None:
        settings["device_requests"] = requests
    return settings
