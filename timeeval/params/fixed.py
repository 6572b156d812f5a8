"""The configuration with a single setting."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from timeeval.params.base import ParameterConfig
from timeeval.params.params import FixedParams

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset


class FixedParameters(ParameterConfig):
    """One setting with fixed values.

    Parameters
    ----------
    params
        Values by parameter name; parameters that are left out keep the algorithm's default.

    Raises
    ------
    TypeError
        If ``params`` is not a mapping.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        given: object = params
        if not isinstance(given, Mapping):
            if isinstance(given, list | Iterator):
                msg = (
                    f"Several settings were given ({type(given).__name__}), but FixedParameters holds one. Please use "
                    "a FullParameterGrid or an IndependentParameterGrid."
                )
                raise TypeError(msg)
            msg = f"The parameters are not provided as a dict but as {type(given).__name__} ({given!r})."
            raise TypeError(msg)
        self._params = params

    def iter(self, algorithm: "Algorithm", dataset: "Dataset") -> Iterator[FixedParams]:  # noqa: ARG002
        """Yield the one setting."""
        return iter(self)

    def written_values(self) -> Iterable[object]:
        """Return the values of the setting."""
        return self._params.values()

    def __iter__(self) -> Iterator[FixedParams]:
        yield FixedParams(self._params)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> FixedParams:
        if index != 0:
            msg = f"There is one setting only, number 0; {index} was asked for."
            raise AssertionError(msg)
        return FixedParams(self._params)
