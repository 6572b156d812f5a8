"""Parameter values that are computed from the algorithm, the dataset or other parameters.

Write ``"heuristic:NAME(ARGUMENTS)"`` in place of a parameter's value, e.g.
``"heuristic:PeriodSizeHeuristic(factor=2.0, fb_value=50)"``.
"""

import re
from collections.abc import MutableMapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.heuristics.AnomalyLengthHeuristic import AnomalyLengthHeuristic
from timeeval.heuristics.base import HeuristicFallbackWarning, TimeEvalParameterHeuristic
from timeeval.heuristics.CleanStartSequenceSizeHeuristic import CleanStartSequenceSizeHeuristic
from timeeval.heuristics.ContaminationHeuristic import ContaminationHeuristic
from timeeval.heuristics.DatasetIdHeuristic import DatasetIdHeuristic
from timeeval.heuristics.DefaultExponentialFactorHeuristic import DefaultExponentialFactorHeuristic
from timeeval.heuristics.DefaultFactorHeuristic import DefaultFactorHeuristic
from timeeval.heuristics.EmbedDimRangeHeuristic import EmbedDimRangeHeuristic
from timeeval.heuristics.ParameterDependenceHeuristic import ParameterDependenceHeuristic
from timeeval.heuristics.PeriodSizeHeuristic import PeriodSizeHeuristic
from timeeval.heuristics.RelativeDatasetSizeHeuristic import RelativeDatasetSizeHeuristic

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.params.params import Params

__all__ = [
    "AnomalyLengthHeuristic",
    "CleanStartSequenceSizeHeuristic",
    "ContaminationHeuristic",
    "DatasetIdHeuristic",
    "DefaultExponentialFactorHeuristic",
    "DefaultFactorHeuristic",
    "EmbedDimRangeHeuristic",
    "HeuristicFallbackWarning",
    "ParameterDependenceHeuristic",
    "PeriodSizeHeuristic",
    "RelativeDatasetSizeHeuristic",
    "TimeEvalHeuristic",
    "TimeEvalParameterHeuristic",
    "inject_heuristic_values",
]

PREFIX = "heuristic:"

_HEURISTICS: dict[str, type[TimeEvalParameterHeuristic]] = {
    heuristic.__name__: heuristic
    for heuristic in (
        AnomalyLengthHeuristic,
        CleanStartSequenceSizeHeuristic,
        ContaminationHeuristic,
        DatasetIdHeuristic,
        DefaultExponentialFactorHeuristic,
        DefaultFactorHeuristic,
        EmbedDimRangeHeuristic,
        ParameterDependenceHeuristic,
        PeriodSizeHeuristic,
        RelativeDatasetSizeHeuristic,
    )
}
_SIGNATURE = re.compile(rf"(?:{'|'.join(_HEURISTICS)})\(.*\)", re.DOTALL)


def TimeEvalHeuristic(signature: str) -> TimeEvalParameterHeuristic:  # noqa: N802 - the name that scripts know
    """Make a heuristic from its text.

    Parameters
    ----------
    signature
        ``NAME(ARGUMENTS)``. It is Python, written by the author of the experiment like the rest of the script, so an
        argument may be a lambda.

    Raises
    ------
    ValueError
        If there is no such heuristic.
    TypeError
        If it does not take these arguments.
    """
    if not _SIGNATURE.fullmatch(signature):
        msg = f"{signature!r} is not a heuristic. Write NAME(ARGUMENTS), NAME being one of {', '.join(_HEURISTICS)}."
        raise ValueError(msg)
    heuristic = eval(signature, dict(_HEURISTICS))  # noqa: S307 - part of the user's own script
    if not isinstance(heuristic, TimeEvalParameterHeuristic):
        msg = f"{signature!r} makes a {type(heuristic).__name__}, not one heuristic."
        raise ValueError(msg)
    return heuristic


def has_heuristics(params: "Params") -> bool:
    """Tell whether a setting has values that have to be computed."""
    return any(isinstance(value, str) and value.startswith(PREFIX) for value in params.values())


def check_heuristics(algorithm: "Algorithm") -> None:
    """Make each heuristic that is written in an algorithm's configuration once; no data is read.

    Raises
    ------
    ValueError
        If there is no such heuristic.
    TypeError
        If one does not take the arguments it is written with.
    """
    for value in algorithm.param_config.written_values():
        if isinstance(value, str) and value.startswith(PREFIX):
            refused = f"{value!r} among the parameters of {algorithm.name!r} is wrong"
            try:
                TimeEvalHeuristic(value.removeprefix(PREFIX).strip())
            except TypeError as error:
                raise TypeError(f"{refused}: {error}") from error
            except Exception as error:
                raise ValueError(f"{refused}: {error}") from error


def inject_heuristic_values(
    params: "Params", algorithm: "Algorithm", dataset_details: "Dataset", dataset_path: Path
) -> "Params":
    """Replace heuristics by the values they compute.

    Parameters
    ----------
    params
        A setting.
    algorithm
        Algorithm that gets it.
    dataset_details
        Dataset that the algorithm will run on.
    dataset_path
        Test file of the dataset; some heuristics read its labels.

    Returns
    -------
    Params
        A copy with the values; heuristics that depend on other parameters come last, otherwise the order of the setting
        holds. A setting without heuristics, or one that draws its values later, is returned itself.

    Raises
    ------
    ValueError
        If there is no such heuristic or it cannot be evaluated; the cause is chained.
    TypeError
        If a heuristic does not take the arguments it is written with.
    """
    if not isinstance(params, MutableMapping) or not has_heuristics(params):
        return params
    injected: Any = deepcopy(params)
    refused = f"The heuristics of {algorithm.name!r} on {dataset_details.datasetId} cannot be evaluated"
    try:
        heuristics = {
            name: TimeEvalHeuristic(value.removeprefix(PREFIX).strip())
            for name, value in params.items()
            if isinstance(value, str) and value.startswith(PREFIX)
        }
    except TypeError as error:
        raise TypeError(f"{refused}: {error}") from error
    except Exception as error:
        raise ValueError(f"{refused}: {error}") from error
    ordered = sorted(heuristics.items(), key=lambda item: isinstance(item[1], ParameterDependenceHeuristic))
    try:
        for name, heuristic in ordered:
            value = heuristic(algorithm, dataset_details, dataset_path, params=injected, param_name=name)
            if value is None:
                del injected[name]
            else:
                injected[name] = value
    except Exception as error:
        raise ValueError(f"{refused}: {error}") from error
    return injected  # type: ignore[no-any-return]
