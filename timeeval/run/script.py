"""Running what a user wrote: a Python script as ``__main__``, or an experiment.toml."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from timeeval.errors import TimeEvalError


def run_experiment(path: Path, arguments: Sequence[str]) -> None:
    """Run a script or an experiment file in this process.

    Parameters
    ----------
    path : Path
        A ``.toml`` file is an experiment file, everything else a Python script; the modules beside it can be
        imported, as with ``python SCRIPT``.
    arguments : sequence of str
        What the script finds in ``sys.argv``.
    """
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    if path.suffix != ".toml":
        runpy.run_path(str(path), run_name="__main__")
        return
    if arguments:
        raise TimeEvalError(f"{path} takes no arguments, but got {' '.join(arguments)}")
    from timeeval.experiment_file import read

    timeeval = read(path)
    timeeval.run()
