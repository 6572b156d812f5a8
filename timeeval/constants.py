"""Names of the files that an evaluation writes."""

from pathlib import Path
from typing import Final

METRICS_CSV: Final = "metrics.csv"
EXECUTION_LOG: Final = "execution.log"
RAW_ANOMALY_SCORES_TS: Final = "raw_anomaly_scores.ts"
ANOMALY_SCORES_TS: Final = "anomaly_scores.ts"
HYPER_PARAMETERS: Final = "hyper_params.json"
RESULTS_CSV: Final = "results.csv"


class HPI_CLUSTER:  # noqa: N801 - the name that scripts import
    """Hosts and dataset folders of the cluster TimeEval was born on.

    Only for scripts that were written there; on any other cluster list the hosts in ``cluster.toml``.
    """

    odin01, odin02, odin03, odin04, odin05, odin06, odin07 = (f"odin{i:02d}" for i in range(1, 8))
    odin08, odin09, odin10, odin11, odin12, odin13, odin14 = (f"odin{i:02d}" for i in range(8, 15))
    odin01_ip, odin02_ip, odin03_ip, odin04_ip, odin05_ip, odin06_ip, odin07_ip = (
        f"172.20.11.{i}" for i in range(101, 108)
    )
    odin08_ip, odin09_ip, odin10_ip, odin11_ip, odin12_ip, odin13_ip, odin14_ip = (
        f"172.20.11.{i}" for i in range(108, 115)
    )
    nodes: Final[list[str]] = [f"odin{i:02d}" for i in range(1, 15)]
    nodes_ip: Final[list[str]] = [f"172.20.11.{i}" for i in range(101, 115)]

    BENCHMARK: Final = "benchmark"
    CORRELATION_ANOMALIES: Final = "correlation-anomalies"
    UNIVARIATE_ANOMALY_TEST_CASES: Final = "univariate-anomaly-test-cases"
    MULTIVARIATE_ANOMALY_TEST_CASES: Final = "multivariate-anomaly-test-cases"
    MULTIVARIATE_TEST_CASES: Final = "multivariate-test-cases"
    VARIABLE_LENGTH_TEST_CASES: Final = "variable-length"
    akita_dataset_paths: Final[dict[str, Path]] = {
        BENCHMARK: Path("/home/projects/akita/data/benchmark-data/data-processed"),
        CORRELATION_ANOMALIES: Path("/home/projects/akita/data") / CORRELATION_ANOMALIES,
        UNIVARIATE_ANOMALY_TEST_CASES: Path("/home/projects/akita/data") / UNIVARIATE_ANOMALY_TEST_CASES,
        MULTIVARIATE_ANOMALY_TEST_CASES: Path("/home/projects/akita/data") / MULTIVARIATE_ANOMALY_TEST_CASES,
        MULTIVARIATE_TEST_CASES: Path("/home/projects/akita/data") / MULTIVARIATE_TEST_CASES,
        VARIABLE_LENGTH_TEST_CASES: Path("/home/projects/akita/data") / VARIABLE_LENGTH_TEST_CASES,
    }
