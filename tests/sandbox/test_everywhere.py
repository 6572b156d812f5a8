"""The same script makes the same table and the same files wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from conftest import Commands

SCRIPT = Path(__file__).parent / "experiments" / "everywhere.py"
DATA = Path(__file__).resolve().parents[2] / "examples" / "data" / "nab"
FILES = ("raw_anomaly_scores.ts", "anomaly_scores.ts", "hyper_params.json")
LEADING = [
    "algorithm",
    "collection",
    "dataset",
    "algo_training_type",
    "algo_input_dimensionality",
    "dataset_training_type",
    "dataset_input_dimensionality",
    "status",
    "error_message",
    "repetition",
    "hyper_params_id",
    "hyper_params",
]
METRICS = ["ROC_AUC", "RANGE_PR_AUC"]
TRAINED = ["train_main_time", "train_preprocess_time", "train_postprocess_time"]
EXECUTED = ["execute_main_time", "execute_preprocess_time", "execute_postprocess_time"]
IN_ORDER = [TRAINED[1], TRAINED[0], EXECUTED[1], EXECUTED[0], EXECUTED[2]]


def read(results: Path) -> tuple[list[str], pd.DataFrame, dict[str, bytes]]:
    """Return the columns as they stand in the file, all but the times by their names, and the experiments' files."""
    (folder,) = (path for path in results.iterdir() if path.is_dir())
    table = pd.read_csv(folder / "results.csv")
    files = {str(path.relative_to(folder)): path.read_bytes() for name in FILES for path in folder.rglob(name)}
    return list(table.columns), table[[*LEADING, *METRICS]], files


def test_a_script_makes_the_same_wherever_it_runs(provisioned: Path, commands: Commands, tmp_path: Path) -> None:
    def run(name: str, command: str, *args: str | Path) -> tuple[list[str], pd.DataFrame, dict[str, bytes]]:
        done = commands.run(command, *args, seconds=150)
        assert done.returncode == 0, done.stdout + done.stderr
        return read(tmp_path / name)

    commands.folder = tmp_path
    plain = run("results", "python", SCRIPT, DATA, "no")
    local = run("local", "timeeval-run", SCRIPT, "--local", "--results", tmp_path / "local", "--", DATA, "no")
    arguments = (SCRIPT, "--cluster", provisioned, "--results", tmp_path / "nodes")
    nodes = run("nodes", "timeeval-run", *arguments, "--", "/srv/timeeval/data/nab", "yes")

    assert plain[0] == local[0]
    assert set(plain[0]) == {*LEADING, *METRICS, *TRAINED, *EXECUTED}
    assert plain[0][: len(LEADING)] == LEADING
    assert nodes[0] == [*LEADING, *METRICS, *IN_ORDER]
    assert list(plain[1]["status"]) == [*["Status.OK", "Status.OK", "Status.ERROR"] * 3, "Status.OK"]
    pd.testing.assert_frame_equal(plain[1], local[1], check_exact=True)
    pd.testing.assert_frame_equal(plain[1], nodes[1], check_exact=True)
    assert len(plain[2]) == 7 * 2 + 10
    assert plain[2] == local[2] == nodes[2]
