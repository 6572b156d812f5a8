"""A PostgreSQL server for the studies of one run: a container of this machine that only this machine can reach.

It goes with the run. A process beside the driver removes it when the driver is done or dead; should that process die as
well, the next run that starts a server here removes what is left.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from timeeval.adapters.docker.engine import connect, host_name
from timeeval.adapters.docker.settings import RUN_LABEL
from timeeval.engines.sweeping import boot_id, processes
from timeeval.errors import MissingExtraError, StudyError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

IMAGE: Final = "postgres:latest"
SERVICE_LABEL: Final = "timeeval.service"
DRIVER_LABEL: Final = "timeeval.driver"
SERVICE: Final = "optuna-postgresql"
READY_SECONDS: Final = 90.0
REMOVE_SECONDS: Final = 60.0
_PORT: Final = "5432/tcp"
_SECRET: Final = "/run/secrets/postgres-password"  # noqa: S105 - where it is, not what
_KEEPER: Final = "import sys; from timeeval.integration.optuna.postgres import keep; keep(sys.argv[1])"

_log = logging.getLogger("OptunaModule")


class PostgresServer:
    """A PostgreSQL server in a container.

    Parameters
    ----------
    run_id : str
        The run it belongs to, by name and label.
    folder : Path
        Where the password is kept while it runs; the folder is made, and removed by `stop`.
    image : str
        The image, as the official one is used: ``POSTGRES_PASSWORD_FILE`` names the file with the password.
    """

    def __init__(self, run_id: str, folder: Path, image: str = IMAGE) -> None:
        self.name = f"timeeval-optuna-db-{run_id}"
        self._run_id = run_id
        self._folder = folder
        self._image = image
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = READY_SECONDS) -> str:
        """Start it and wait until it answers.

        Returns
        -------
        str
            URL of the database, with its password.

        Raises
        ------
        MissingExtraError
            If nothing is installed that could talk to it.
        StudyError
            If there is no engine or no image, or it does not answer in time; nothing is left of it then.
        """
        _driver_package()
        _must_be_local()
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C on the terminal is the driver's business
        )
        try:
            with _told(f"starting the PostgreSQL container {self.name}"), connect() as client:
                remove_left(client)
                password = secrets.token_urlsafe(32)
                container = self._create(client, self._written(password))
                container.start()
                return self._ready(container, password, time.monotonic() + seconds)
        except BaseException:
            self.stop()
            raise

    def _written(self, password: str) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "password"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(password)
        return path.resolve()

    def _create(self, client: DockerClient, password: Path) -> Container:
        from docker.errors import ImageNotFound
        from docker.types import Mount

        try:
            client.images.get(self._image)
        except ImageNotFound:
            name, _, tag = self._image.rpartition(":")
            _log.info("Pulling %s", self._image)
            client.images.pull(name or tag, tag=tag if name else "latest")
        return client.containers.create(
            self._image,
            name=self.name,
            labels={RUN_LABEL: self._run_id, SERVICE_LABEL: SERVICE, DRIVER_LABEL: _this_driver()},
            environment={"POSTGRES_PASSWORD_FILE": _SECRET},
            mounts=[Mount(target=_SECRET, source=str(password), type="bind", read_only=True)],
            ports={_PORT: ("127.0.0.1", 0)},
            detach=True,
        )

    def _ready(self, container: Container, password: str, deadline: float) -> str:
        import psycopg

        problem = "it has no port yet"
        while time.monotonic() < deadline:
            container.reload()
            if container.status in {"exited", "dead"}:
                said = container.logs(tail=20).decode(errors="replace").strip()
                raise StudyError(
                    f"the PostgreSQL container {self.name} ended while it started: {said or 'it said nothing'}",
                    remedy=f"Run `docker run {self._image}` by hand, or give the URL of your own database",
                )
            bound = (container.ports or {}).get(_PORT)
            if bound:
                url = f"postgresql://postgres:{quote(password)}@127.0.0.1:{bound[0]['HostPort']}/postgres"
                try:
                    psycopg.connect(url, connect_timeout=5).close()
                except psycopg.Error as error:
                    problem = str(error).replace(password, "***").strip()
                else:
                    return url.replace("postgresql://", "postgresql+psycopg://", 1)
            time.sleep(0.2)
        raise StudyError(
            f"the PostgreSQL container {self.name} did not answer in time: {problem}",
            remedy="See whether this machine is overloaded, or give the URL of your own database",
        )

    def stop(self) -> None:
        """Remove the container and the password."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            assert keeper.stdin is not None  # noqa: S101 - it was given a pipe
            keeper.stdin.close()
            try:
                code = keeper.wait(REMOVE_SECONDS)
            except subprocess.TimeoutExpired:
                code = -1  # it goes on trying
            if code != 0:
                _log.warning("The container %s may still run on %s: `docker rm -fv` it", self.name, host_name())
        shutil.rmtree(self._folder, ignore_errors=True)


def keep(name: str) -> None:
    """Wait for the end of standard input, which is the driver's, and remove its container."""
    sys.stdin.buffer.read()
    with connect() as client:
        _remove(client, {"name": f"^/?{name}$", "label": f"{SERVICE_LABEL}={SERVICE}"})


def remove_left(client: DockerClient) -> None:
    """Remove the servers of drivers of this machine that are dead, and so are the processes beside them."""
    alive = {f"{pid} {process.started}" for pid, process in processes().items()}
    boot, host = boot_id(), socket.gethostname()
    for container in client.containers.list(
        all=True, filters={"label": f"{SERVICE_LABEL}={SERVICE}"}, ignore_removed=True
    ):
        owner_host, _, rest = container.labels.get(DRIVER_LABEL, "").partition(" ")
        owner_boot, _, process = rest.partition(" ")
        # what another machine's (or container's) driver started is not ours to judge
        if owner_host == host and (owner_boot != boot or process not in alive):
            _remove(client, {"id": container.id})


def _remove(client: DockerClient, filters: dict[str, Any]) -> None:
    from docker.errors import NotFound

    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        with suppress(NotFound):
            container.remove(force=True, v=True)


def _this_driver() -> str:
    return f"{socket.gethostname()} {boot_id()} {os.getpid()} {processes()[os.getpid()].started}"


def _driver_package() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError(
            "a managed PostgreSQL needs psycopg, which is not installed",
            remedy="Run `pip install 'timeeval-cluster[postgresql]'` on the driver; nodes do not need it",
        )


def _must_be_local() -> None:
    if not (os.environ.get("DOCKER_HOST") or "unix:").startswith("unix:"):
        raise StudyError(
            "DOCKER_HOST names the engine of another machine, whose loopback addresses are not reached from here",
            remedy="Unset DOCKER_HOST, or give the URL of your own database",
        )


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Turn what the engine answers into one error that says what to do."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException, OSError) as error:
        raise StudyError(
            f"{doing} on {host_name()} failed: {error}",
            remedy="See that a container engine answers here and has the image (`docker pull`), or use "
            "default_storage='journal-file', which serves distributed evaluations as well",
        ) from error
