"""Importing Optuna late, and saying how to get it."""

from __future__ import annotations

from typing import Any

from timeeval.errors import MissingExtraError


def optuna() -> Any:  # noqa: ANN401 - the module; it is an optional extra
    """Return the module ``optuna``.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import optuna as module
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingExtraError(
            "a Bayesian parameter search needs Optuna, which is not installed",
            remedy="Run `pip install 'timeeval-cluster[optuna]'` on the driver; nodes do not need it",
        ) from error
    return module
