"""Running what a user wrote: a Python script as ``__main__``, or an experiment.toml."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

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


def from_the_script_on(error: BaseException, path: Path) -> TracebackType | None:
    """Return the part of an error's traceback that is its author's: from the script on, as `python SCRIPT` shows it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
        trace = trace.tb_next
    if trace is None and not (isinstance(error, SyntaxError) and error.filename == str(path)):
        return error.__traceback__  # it never came to the script
    return trace
