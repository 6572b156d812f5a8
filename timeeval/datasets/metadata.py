"""Everything that can be computed about a dataset, and how it is kept as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from timeeval.utils.encode_params import NumpyEncoder

if TYPE_CHECKING:
    import numpy as np

DatasetId: TypeAlias = tuple[str, str]


@dataclass
class AnomalyLength:
    """Lengths of a series' anomalies.

    Parameters
    ----------
    min, median, max
        Time steps of the shortest, the median and the longest one; 0 if there are none.
    """

    min: int
    median: int
    max: int


class Stationarity(Enum):
    """What two tests say about a time series: stationary, after taking differences, around a trend, or not."""

    STATIONARY = 0
    DIFFERENCE_STATIONARY = 1
    TREND_STATIONARY = 2
    NOT_STATIONARY = 3

    @staticmethod
    def from_name(s: int) -> "Stationarity":
        """Return the member with a value."""
        return Stationarity(s)


class TrendType(Enum):
    """Order of a polynomial trend."""

    LINEAR = 1
    QUADRATIC = 2
    KUBIC = 3

    @staticmethod
    def from_order(order: int) -> "TrendType":
        """Return the member for a polynomial's order."""
        return TrendType(order)


@dataclass
class Trend:
    """A polynomial that explains a channel.

    Parameters
    ----------
    tpe
        Order of the polynomial.
    coef
        Its coefficient, units of the channel per (time step to the power of the order); in a list of one, as TimeEval
        1.5 writes it to metadata files: an array of shape (1,) when it was computed, a list when it was read.
    confidence_r2
        Share of the variance that it explains, 0 to 1.
    """

    tpe: TrendType
    coef: "float | Sequence[float] | np.ndarray[Any, Any]"
    confidence_r2: float

    @property
    def name(self) -> str:
        """Name, e.g. "linear trend"."""
        return f"{self.tpe.name.lower()} trend"

    @property
    def order(self) -> int:
        """Order of the polynomial."""
        return int(self.tpe.value)


@dataclass
class DatasetMetadata:
    """Everything that was computed about one time series.

    Parameters
    ----------
    dataset_id
        Collection and name.
    is_train
        Whether this is the training series.
    length
        Time steps.
    dimensions
        Channels.
    contamination
        Share of anomalous time steps, 0 to 1.
    num_anomalies
        Runs of anomalous time steps.
    anomaly_length
        Time steps of the anomalies.
    means, stddevs
        Mean and sample standard deviation by channel.
    trends
        Polynomial trends by channel.
    stationarities
        Stationarity by channel.
    """

    dataset_id: DatasetId
    is_train: bool
    length: int
    dimensions: int
    contamination: float
    num_anomalies: int
    anomaly_length: AnomalyLength
    means: dict[str, float]
    stddevs: dict[str, float]
    trends: dict[str, list[Trend]]
    stationarities: dict[str, Stationarity]

    @property
    def channels(self) -> int:
        """Channels."""
        return self.dimensions

    @property
    def shape(self) -> tuple[int, int]:
        """Time steps and channels."""
        return self.length, self.dimensions

    @property
    def mean(self) -> float:
        """Mean of the channels' means; 0 without channels."""
        return _mean(self.means)

    @property
    def stddev(self) -> float:
        """Mean of the channels' standard deviations; 0 without channels."""
        return _mean(self.stddevs)

    @property
    def trend(self) -> str:
        """Name of the trend of the highest order over all channels, or "no trend"."""
        trends = [trend for channel in self.trends.values() for trend in channel]
        return max(trends, key=lambda trend: trend.order).name if trends else "no trend"

    @property
    def stationarity(self) -> Stationarity:
        """The least stationary channel's word; stationary without channels."""
        return max(self.stationarities.values(), key=lambda s: int(s.value), default=Stationarity.STATIONARY)

    def get_stationarity_name(self) -> str:
        """Return the stationarity as index files write it, e.g. "not_stationary"."""
        return self.stationarity.name.lower()

    def to_json(self, pretty: bool = False) -> str:
        """Write as JSON text; ``pretty`` indents and sorts the keys."""
        if pretty:
            return json.dumps(self, cls=DatasetMetadataEncoder, indent=2, sort_keys=True)
        return json.dumps(self, cls=DatasetMetadataEncoder)

    @staticmethod
    def from_json(s: str) -> "DatasetMetadata":
        """Read what :meth:`to_json` wrote."""
        metadata = json.loads(s, object_hook=DatasetMetadataEncoder.object_hook)
        if not isinstance(metadata, DatasetMetadata):
            msg = "The text does not describe a dataset."
            raise ValueError(msg)
        return metadata


class DatasetMetadataEncoder(NumpyEncoder):
    """Writes metadata as JSON: dataclasses as objects, enumeration members as lower-case names."""

    def default(self, o: Any) -> Any:  # noqa: ANN401
        """Return a value that JSON has for one it does not have."""
        if isinstance(o, Enum):
            return o.name.lower()
        if isinstance(o, DatasetMetadata | AnomalyLength | Trend):
            return asdict(o)
        return super().default(o)

    @staticmethod
    def object_hook(dct: dict[str, Any]) -> Any:  # noqa: ANN401
        """Rebuild metadata from the object it was written as; other objects stay dictionaries."""
        if not {"anomaly_length", "dataset_id", "is_train", "contamination"} <= dct.keys():
            return dct
        return DatasetMetadata(
            **{
                **dct,
                "dataset_id": tuple(dct["dataset_id"]),
                "anomaly_length": AnomalyLength(**dct["anomaly_length"]),
                "trends": {
                    channel: [Trend(**{**trend, "tpe": TrendType[trend["tpe"].upper()]}) for trend in trends]
                    for channel, trends in dct["trends"].items()
                },
                "stationarities": {
                    channel: Stationarity[name.upper()] for channel, name in dct["stationarities"].items()
                },
            }
        )


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0
