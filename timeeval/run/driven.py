"""A run whose driver is one of the cluster's hosts (``timeeval-run --on HOST``): the note about it in the folder here.

The results folder on this machine is that of the run from its first moment on: as long as it holds ``driven.json``, the
run lives on that host, and whoever is asked about the folder asks there. The note goes when everything has come home.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from timeeval.errors import TimeEvalError
from timeeval.plain import plain

FILE_NAME = "driven.json"
SCHEMA = "timeeval.driven/1"


@dataclass(frozen=True, slots=True)
class Driven:
    """Where a run lives.

    Attributes
    ----------
    host : str
        The host of the cluster that drives it.
    folder : str
        Its folder there; the results folders of its runs are in ``results``.
    cluster_file : str
        The cluster file on this machine.
    environment : str or None
        Which of its environments, if it is not the first.
    collect : str
        How much of the results comes from the hosts: "all", "scores" or "none".
    """

    host: str
    folder: str
    cluster_file: str
    environment: str | None
    collect: str

    @classmethod
    def of(cls, results_path: Path) -> Self | None:
        """Read the note in a results folder; None where its run lives here."""
        file = results_path / FILE_NAME
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{name: raw[name] for name in cls.__slots__})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TimeEvalError(
                f"{file} cannot be read: {error!r}", remedy="Move it away if the run does not live on another host"
            ) from error

    def write(self, results_path: Path) -> None:
        """Say it in a results folder; a reader sees the old or the new text, never a part."""
        partial = results_path / f"{FILE_NAME}.part"
        partial.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        partial.replace(results_path / FILE_NAME)

    @property
    def results(self) -> str:
        """Folder there that holds the results folders of its runs."""
        return f"{self.folder}/results"

    @property
    def on_host(self) -> str:
        """The cluster file as that host sees it."""
        return f"{self.folder}/cluster.toml"

    def told_here(self, text: str, results_path: Path) -> str:
        """Return what that host says with the paths that hold on this machine, and nothing that a terminal obeys."""
        text = re.sub(rf"{re.escape(self.results)}/[0-9_]+", lambda _: str(results_path), text)
        text = text.replace(self.results, str(results_path))
        text = text.replace(self.on_host, shlex.quote(self.cluster_file))
        began = PurePosixPath(self.folder, "work")
        return plain(text.replace(f"{began}/", ""))
