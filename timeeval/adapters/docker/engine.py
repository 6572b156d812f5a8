"""Talking to the container engine: Docker, or Podman through its Docker socket."""

import codecs
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from timeeval.adapters.docker.outcome import KILLED, ContainerExit
from timeeval.adapters.docker.settings import RUN_LABEL, EngineFacts
from timeeval.adapters.docker.usage import metered, reached
from timeeval.errors import DockerAdapterInternalError, DockerAlgorithmFailedError, DockerMemoryError, TimeEvalError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_log = logging.getLogger("DockerAdapter")

#: Seconds for one answer of the engine. Creating a container can take minutes on a busy host.
ANSWER_SECONDS: Final = 300
#: Where an engine listens if DOCKER_HOST does not say.
_DEFAULT_ENGINE: Final = "unix:///var/run/docker.sock"
#: Longest single request that waits for a container: idle connections are cut by some proxies.
_POLL_SECONDS: Final = 60.0
#: How long the engine may be away (a restart with live-restore) while a container runs.
_ABSENCE_SECONDS: Final = 60.0
#: What Podman says of a container whose command is not there, or is no program; it gives no exit code then.
_NO_COMMAND: Final = ("command that was not found", "OCI permission denied")


def host_name() -> str:
    """Name of this host, for messages."""
    return socket.gethostname()


@contextmanager
def connect(answer_seconds: int = ANSWER_SECONDS) -> Iterator["DockerClient"]:
    """Connect to the engine that ``DOCKER_HOST`` names, by default the local socket.

    The contexts of the Docker command line are left out: they are per user, so hosts would differ by them.

    Raises
    ------
    DockerAdapterInternalError
        If no engine answers.
    """
    import docker
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    what = "No container engine answers"
    try:
        options = kwargs_from_env()
        _knock(options.get("base_url", _DEFAULT_ENGINE))
        client = docker.DockerClient(version="auto", timeout=answer_seconds, **options)
    except OSError as error:  # requests' errors are OSErrors, too
        raise _engine_error(what, error) from None
    except DockerException as error:
        raise _engine_error(what, error) from None
    try:
        yield client
    finally:
        client.close()


def _knock(base_url: str) -> None:
    """See whether somebody listens on a local socket; the SDK would leak one and say less about the cause."""
    scheme, _, path = base_url.partition("://")
    if not scheme.endswith("unix"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(path)
        except OSError as error:
            raise OSError(error.errno, f"{path}: {error.strerror}") from None


def engine_facts(client: "DockerClient") -> EngineFacts:
    """Ask the engine what it can do."""
    with _explained("The container engine does not say what it can do"):
        return EngineFacts.from_info(client.info())


def pull_image(image: str, tag: str) -> None:
    """Fetch an image from its registry.

    Raises
    ------
    DockerAdapterInternalError
        If it cannot be had.
    """
    with connect() as client, _explained(f"The image {image}:{tag} cannot be pulled"):
        client.images.pull(image, tag=tag)


def remove_containers(run_id: str) -> list[str]:
    """Remove what is left of one run's containers on this host, running ones too.

    Parameters
    ----------
    run_id
        Value of the label ``timeeval.run``. Containers without it, or with another one, are never touched.

    Returns
    -------
    list[str]
        Names of the containers that were removed.

    Raises
    ------
    DockerAdapterInternalError
        If the engine does not answer.
    """
    from docker.errors import NotFound

    removed = []
    with connect() as client, _explained(f"The containers of run {run_id} cannot be removed"):
        # Another sweeper may remove one between the list and the look at each.
        for container in client.containers.list(
            all=True, filters={"label": f"{RUN_LABEL}={run_id}"}, ignore_removed=True
        ):
            try:
                container.remove(force=True, v=True)
            except NotFound:
                continue
            removed.append(str(container.name))
    return removed


def run_to_end(
    client: "DockerClient", settings: dict[str, Any], *, seconds: float, grace: int, memory_limit: int
) -> ContainerExit:
    """Run one container, print what it said and remove it, whatever happens.

    Parameters
    ----------
    client
        Connection to the engine.
    settings
        Arguments for creating the container.
    seconds
        Time after which it is stopped.
    grace
        Seconds between asking it to stop and ending it by force.
    memory_limit
        Bytes it was given.

    Raises
    ------
    DockerAdapterInternalError
        If the engine cannot create, start or watch it.
    DockerMemoryError
        If the limit does not even let it start.
    DockerAlgorithmFailedError
        If the image has no command to start.
    """
    container = _create(client, settings)
    try:
        _start(container, settings["image"], memory_limit)
        with metered(str(container.id), _state(container)) as kills:
            timed_out = not _wait(container, seconds)
            if timed_out:
                with _explained(f"The container {container.name} cannot be stopped"):
                    container.stop(timeout=grace)
        _print_logs(container)
        with _explained(f"The container {container.name} cannot be looked at"):
            container.reload()
        state = container.attrs["State"]
        code = int(state["ExitCode"])
        # not every engine says so of a container that the kernel has killed: Podman with runc does not
        oom_killed = bool(state.get("OOMKilled")) or (code == KILLED and kills.out_of_memory)
        if oom_killed:
            reached(memory_limit)
        return ContainerExit(code, oom_killed=oom_killed, timed_out=timed_out, error=str(state.get("Error") or ""))
    finally:
        _remove(container)


def _create(client: "DockerClient", settings: dict[str, Any]) -> "Container":
    from docker.errors import ImageNotFound
    from requests.exceptions import RequestException

    try:
        with _explained(f"No container of {settings['image']} can be created"):
            return client.containers.create(**settings)
    except DockerAdapterInternalError as error:
        if isinstance(error.__cause__, ImageNotFound):
            msg = f"The image {settings['image']} is not on this host (image not found)"
            raise DockerAdapterInternalError(
                msg,
                host=host_name(),
                remedy="Bring it with 'timeeval-provision push-images', or let it be pulled (skip_pull=False) if a "
                "registry has it",
            ) from None
        if isinstance(error.__cause__, RequestException):  # the engine may have created it and answered too late
            _remove_by_name(client, settings["name"])
        raise


def _start(container: "Container", image: str, memory_limit: int) -> None:
    what = f"The container of {image} cannot be started"
    try:
        with _explained(what):
            container.start()
    except DockerAdapterInternalError as failure:
        with _explained(what):
            container.reload()
        state = container.attrs["State"]
        if state.get("OOMKilled") or "OOM" in str(failure):
            msg = f"The container of {image} exceeded memory limit of {memory_limit} bytes while it was started"
            raise DockerMemoryError(msg, host=host_name(), remedy="Give it more memory") from failure
        if state["ExitCode"] in (126, 127) or any(words in str(failure) for words in _NO_COMMAND):
            msg = f"The container of {image} has no command to start ({state.get('Error') or failure.__cause__})"
            raise DockerAlgorithmFailedError(
                msg, host=host_name(), remedy="Is it an algorithm image, built for this architecture?"
            ) from failure
        raise


def _state(container: "Container") -> dict[str, Any]:
    """Ask for the state of a container; empty if the engine is away, which the wait for its end deals with."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    try:
        container.reload()
    except (APIError, RequestException):
        return {}
    return dict(container.attrs["State"])


def _wait(container: "Container", seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Wait until a container has ended; ``False`` if its time was over before."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    deadline = clock() + seconds
    seen = clock()
    while (left := deadline - clock()) > 0:
        try:
            container.wait(timeout=max(min(left, _POLL_SECONDS), 0.001))
        except (RequestException, APIError):
            # A read timeout, a cut connection or an engine that restarts look alike: the container's state tells.
            try:
                container.reload()
            except (RequestException, APIError) as error:
                if clock() - seen > _ABSENCE_SECONDS:
                    raise _engine_error(f"The container {container.name} cannot be watched", error) from None
                time.sleep(min(1.0, max(left, 0.0)))
                continue
            seen = clock()
            if container.status in ("exited", "dead"):
                return True
        else:
            return True
    return False


def _print_logs(container: "Container") -> None:
    from docker.errors import APIError
    from requests.exceptions import RequestException

    print("#### Docker container logs ####")
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    try:
        for chunk in container.logs(stream=True, follow=False):
            print(decoder.decode(chunk), end="")
    except (APIError, RequestException) as error:
        print(f"(the container engine gives no logs: {error})")
    print(decoder.decode(b"", final=True))
    print("###############################", flush=True)


def _remove(container: "Container") -> None:
    from docker.errors import APIError, NotFound
    from requests.exceptions import RequestException

    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except (APIError, RequestException) as error:
        _log.warning(
            "%s: the container %s could not be removed (%s). Remove it with 'docker rm -f %s'.",
            host_name(),
            container.name,
            error,
            container.name,
        )


def _remove_by_name(client: "DockerClient", name: str) -> None:
    from docker.errors import APIError
    from requests.exceptions import RequestException

    try:
        container = client.containers.get(name)
    except (APIError, RequestException):
        return
    _remove(container)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the engine's and the connection's errors into ours."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise _engine_error(what, error) from error


def _engine_error(what: str, error: Exception) -> TimeEvalError:
    cause = getattr(error, "explanation", None) or str(error) or type(error).__name__
    text = str(cause)
    if "ermission denied" in text and what.startswith("No container engine"):
        remedy = "May this user use the container engine (is it in the group 'docker', in this login session)?"
    elif what.startswith("No container engine"):
        remedy = "Is its service running, and is DOCKER_HOST right?"
    elif "pulled" in what:
        remedy = (
            "Is the name right and the registry reachable? If the image is on this host already, use skip_pull=True"
        )
    else:
        remedy = "Look at the engine's own log"
    return DockerAdapterInternalError(f"{what}: {text}", host=host_name(), remedy=remedy)
