"""What is known about one dataset."""

import math
from dataclasses import dataclass

from timeeval.data_types import InputDimensionality, TrainingType


@dataclass
class Dataset:
    """Description of one dataset, without its data.

    Parameters
    ----------
    datasetId
        Collection and name.
    dataset_type
        Free text, mostly "real" or "synthetic".
    training_type
        What the dataset offers to learn from.
    length
        Time steps of the test series.
    dimensions
        Channels.
    contamination
        Share of anomalous time steps, 0 to 1.
    min_anomaly_length, median_anomaly_length, max_anomaly_length
        Time steps of the anomalies; 0 if there are none.
    period_size
        Time steps of one period, ``None`` if unknown or not periodic.
    num_anomalies
        Anomalies, ``None`` if unknown.
    """

    datasetId: tuple[str, str]  # noqa: N815 - the name that scripts know
    dataset_type: str
    training_type: TrainingType
    length: int
    dimensions: int
    contamination: float
    min_anomaly_length: int
    median_anomaly_length: int
    max_anomaly_length: int
    period_size: int | None = None
    num_anomalies: int | None = None

    @property
    def name(self) -> str:
        """Name within its collection."""
        return self.datasetId[1]

    @property
    def collection_name(self) -> str:
        """Name of its collection."""
        return self.datasetId[0]

    @property
    def input_dimensionality(self) -> InputDimensionality:
        """Univariate or multivariate."""
        return InputDimensionality.from_dimensions(self.dimensions)

    @property
    def has_anomalies(self) -> bool | None:
        """Whether there is an anomaly; ``None`` if unknown."""
        if self.num_anomalies is None or math.isnan(self.num_anomalies):
            return None
        return self.num_anomalies > 0
