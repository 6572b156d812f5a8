"""The Optuna dashboard for the time of one run, on this machine's loopback address."""

from __future__ import annotations

import importlib.util
import select
import subprocess
import sys
from pathlib import Path

from timeeval.errors import MissingExtraError, StudyError

START_SECONDS = 60.0
FIRST_PORT = 8080
_SERVE = "from timeeval.integration.optuna.dashboard import serve; serve()"


class Dashboard:
    """The web page of the package ``optuna-dashboard``, in a process of its own that ends with this one.

    Parameters
    ----------
    storage : Path or str, optional
        Journal file, or URL of a database; None where a storage has neither.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    StudyError
        If the storage can be opened in this process only.
    """

    def __init__(self, storage: Path | str | None) -> None:
        require()
        if storage is None:
            raise StudyError(
                "the dashboard cannot open a storage that is given as a function",
                remedy="Give 'journal-file', 'postgresql' or a URL, or leave dashboard out",
            )
        self._storage = storage
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it; return its address.

        Raises
        ------
        StudyError
            If it does not start.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C on the terminal is the driver's business
        )
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        # a URL may hold a password: it does not stand on a command line
        kind = "journal" if isinstance(self._storage, Path) else "url"
        try:
            self._process.stdin.write(f"{kind} {self._storage}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            address = ""
        else:
            ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
            address = self._process.stdout.readline().strip() if ready else ""
        if not address:
            self.stop()
            raise StudyError("the Optuna dashboard did not start", remedy="Try `optuna-dashboard` by hand")
        return address

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def require() -> None:
    """Raise `MissingExtraError` if the package is not installed."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise MissingExtraError(
            "dashboard=True needs optuna-dashboard, which is not installed",
            remedy="Run `pip install optuna-dashboard` on the driver, or leave dashboard out",
        )


def serve() -> None:
    """Serve the storage that the first line of standard input names, until that ends."""
    import os
    import threading
    from wsgiref.simple_server import make_server

    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna_dashboard import wsgi

    kind, _, storage = sys.stdin.readline().rstrip("\n").partition(" ")
    opened = JournalStorage(JournalFileBackend(storage)) if kind == "journal" else optuna.storages.get_storage(storage)
    server = None
    for port in (FIRST_PORT, 0):
        try:
            server = make_server("127.0.0.1", port, wsgi(opened))
            break
        except OSError:
            continue  # taken: any other will do
    if server is None:
        return

    def end_with_the_driver() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_the_driver, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
