"""The exceptions of this package.

Every error that a user can meet names the host, the thing, the cause and the remedy, once. The classes tell the runner
whose fault an outcome is: the algorithm's (:class:`AlgorithmError` and its children, never tried again for the same
limits) or the host's (:class:`InfrastructureError`, worth a try elsewhere).
"""

from typing import Any

from timeeval.plain import plain


class TimeEvalError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        The thing and the cause.
    host
        Name of the host on which it happened, put in front of the message.
    remedy
        What to do about it, put behind the message.

    Notes
    -----
    The composed text is the only positional argument of the exception, so that ``repr()`` (which is what result tables
    record), ``str()`` and a copy sent through pickle all say the same.
    """

    host: str | None
    remedy: str | None

    def __init__(self, message: str = "", *, host: str | None = None, remedy: str | None = None) -> None:
        text = f"{host}: {message}" if host else message
        if remedy:
            joint = "" if text.endswith("\n") else " " if text.endswith((".", "!", "?")) else ". "
            text = f"{text}{joint}{remedy}"
        super().__init__(plain(text))
        self.host = host
        self.remedy = remedy

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Said here although it is what all exceptions do: Dask makes copies of others by a way of its own, which cannot
        # make those that are a MemoryError as well.
        return super().__reduce__()

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError, one of the other bases, would show its repr.


class ForeignDistributionError(TimeEvalError, ImportError):
    """Another distribution that owns the import name ``timeeval`` lies in the same environment."""


class AlgorithmError(TimeEvalError):
    """An algorithm did not do what it has to do; another host would see the same."""


class AlgorithmTimeoutError(AlgorithmError, TimeoutError):
    """An algorithm was ended because its time was over."""


class AlgorithmMemoryError(AlgorithmError, MemoryError):
    """An algorithm was ended because it used more memory than it was given."""


class ScoresError(AlgorithmError, ValueError):
    """The scores of an algorithm are missing, not numbers or not as many as they must be."""


class InfrastructureError(TimeEvalError):
    """The host or its services failed, not the algorithm; another host may succeed."""


class DockerAdapterInternalError(InfrastructureError):
    """The container engine could not do what it was asked for."""


class DockerTimeoutError(AlgorithmTimeoutError):
    """A container was stopped because its time was over."""


class DockerMemoryError(AlgorithmMemoryError):
    """A container was ended because it used more memory than it was given."""


class DockerAlgorithmFailedError(AlgorithmError):
    """A container ended with an exit code that means failure."""


class DatasetIndexError(TimeEvalError, ValueError):
    """An index file of datasets (``datasets.csv``) cannot be read; names the file, line and column."""


class DatasetFileError(TimeEvalError, ValueError):
    """A time series file does not have the canonical form."""


class DatasetNotFoundError(TimeEvalError, KeyError):
    """A dataset, or one of its files, is not known."""


class JournalError(TimeEvalError):
    """The run's journal cannot be opened, read or written."""


class JournalWriteError(JournalError):
    """What happened could not be made durable, so the run ends; what the journal holds stays."""

    exit_code = 4


class ResultsError(TimeEvalError):
    """A table of results could not be written; the journal holds all that is in it."""

    exit_code = 4


class EngineError(TimeEvalError):
    """An engine could not be started, or could not do what the run asked of it."""


class MissingExtraError(TimeEvalError, ImportError):
    """A package that this function needs is an optional extra and not installed."""


class StudyError(TimeEvalError):
    """The study of a parameter search cannot be opened, asked or told."""
