"""Algorithms that are Java archives."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timeeval.adapters.base import Adapter
from timeeval.data_types import AlgorithmParameter
from timeeval.errors import AlgorithmError, InfrastructureError


class JarAdapter(Adapter):
    """Runs ``java -jar`` and reads the scores from a file.

    Parameters
    ----------
    jar_file
        Path of the archive.
    output_file
        Text file into which the archive writes the scores, one per line.
    args
        Positional arguments for the archive.
    kwargs
        Options for the archive; each becomes ``--name value``.
    verbose
        Print what the archive prints.

    Notes
    -----
    Dataset and parameters of an experiment are not handed on: the archive gets what it was configured with.
    """

    def __init__(
        self,
        jar_file: str,
        output_file: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        verbose: bool = False,
    ) -> None:
        self.jar_file = jar_file
        self.output_file = output_file
        self.args = list(args)
        self.kwargs = dict(kwargs)
        self.verbose = verbose

    def command(self) -> list[str]:
        """Return the argument list that is run."""
        options = [text for name, value in self.kwargs.items() for text in (f"--{name}", str(value))]
        return ["java", "-jar", str(self.jar_file), *map(str, self.args), *options]

    def _call(self, dataset: AlgorithmParameter, args: dict[str, Any]) -> AlgorithmParameter:  # noqa: ARG002
        try:
            done = subprocess.run(
                self.command(),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.verbose else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError:
            msg = "There is no program 'java' on this host"
            raise InfrastructureError(
                msg, remedy="Install a Java runtime, e.g. the package default-jre-headless"
            ) from None
        if self.verbose:
            print(done.stdout.decode("utf-8", errors="replace"), end="")
        if done.returncode != 0:
            msg = f"{self.jar_file} failed with exit code {done.returncode}"
            raise AlgorithmError(msg, remedy="Set verbose=True to see what it prints")
        return self._read_results()

    def _read_results(self) -> np.ndarray[Any, Any]:
        if not Path(self.output_file).is_file():
            msg = f"{self.jar_file} ended well but left no scores in {self.output_file}"
            raise AlgorithmError(msg, remedy="Check the output file among its arguments")
        return np.loadtxt(self.output_file)
