"""A run on this machine is looked at by its own process, and what was seen goes along with each attempt."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest
from small_data import algorithm, deviation

from timeeval import DatasetManager, DefaultMetrics, Status, TimeEval
from timeeval.cluster import observing
from timeeval.errors import TimeEvalError
from timeeval.proof import Claim
from timeeval.run import journal

pytestmark = pytest.mark.usefixtures("kept_processes")


def evaluation(datasets: DatasetManager, tmp_path: Path, function: Any = deviation, **options: Any) -> TimeEval:
    return TimeEval(
        datasets,
        [("small", "one")],
        [algorithm(function)],
        metrics=[DefaultMetrics.ROC_AUC],
        results_path=tmp_path / "results",
        disable_progress_bar=True,
        **options,
    )


def proof_of_run(run: TimeEval) -> dict[str, Any]:
    proof: dict[str, Any] = json.loads((run.results_path / "run.json").read_text())["runs"][-1]["proof"]
    return proof


def test_a_local_run_says_that_it_was_observed_and_what(datasets: DatasetManager, data: Path, tmp_path: Path) -> None:
    run = evaluation(datasets, tmp_path)
    run.run()
    proof = proof_of_run(run)
    assert proof["claim"] == "observed"
    ((host, facts),) = proof["nodes"].items()
    assert host == platform.node()
    assert facts["carrier"] == "process"
    assert facts["python"] == platform.python_version()
    assert len(facts["environment"]) == 64
    assert proof["datasets"].keys() == {str(data)}


def test_a_dataset_that_changes_in_a_local_run_ends_it_with_the_reason(
    datasets: DatasetManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = datasets.get_dataset_path(("small", "one"))

    def spoils(data: Any, args: dict[str, Any]) -> Any:
        with path.open("a") as file:
            file.write("\n")
        return deviation(data, args)

    run = evaluation(datasets, tmp_path, spoils, repetitions=3, n_jobs=1)
    run.run()
    with journal.Journal.read(run.results_path / journal.FILE_NAME) as records:
        outcomes = [None if row.outcome is None else row.outcome.value for row in records.rows()]
    assert outcomes[0] == "ok"
    assert set(outcomes[1:]) == {"infra-error", None}
    text = f"changed since the run began: the dataset file {path} on {platform.node()}; run it again with --resume"
    assert text in caplog.text


def test_a_file_that_is_not_there_is_the_experiments_own_error(datasets: DatasetManager, tmp_path: Path) -> None:
    datasets.get_dataset_path(("small", "one")).unlink()
    run = evaluation(datasets, tmp_path)
    run.run()
    assert run.get_results(aggregated=False)["status"].tolist() == [Status.ERROR]
    assert "No such file" in run.get_results(aggregated=False)["error_message"].item()


# --- what a worker answers ------------------------------------------------------------------------------------------


def answer(folder: Path, *files: str, modules: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    question = {"files": {str(folder): list(files)}, "images": [], "modules": list(modules)}
    seen: dict[str, Any] = json.loads(observing.look_from_worker(json.dumps(question).encode(), {}))
    return question, seen


def test_a_worker_answers_with_digests_and_what_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n")
    question, seen = answer(tmp_path, "a.csv", "b.csv", modules=("json", "no_such_module"))
    assert seen["digests"] == {str(tmp_path): {"a.csv": hashlib.sha256(b"1\n").hexdigest()}}
    assert observing.lacking(question, seen) == [
        f"files of {tmp_path} are not there: b.csv",
        "the module no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    ]


def test_hosts_that_differ_are_named(tmp_path: Path) -> None:
    claim = Claim("worker", False, lambda host: f"mend {host}", "Copy the one to the other")
    receipts = {}
    for host, content in (("h1", "1\n"), ("h2", "1\n"), ("h3", "2\n")):
        (tmp_path / "a.csv").write_text(content)
        question, seen = answer(tmp_path, "a.csv")
        receipts[host] = observing.receipt_of(host, seen)
    good = observing.proof_of({host: receipts[host] for host in ("h1", "h2")}, question, {}, claim)
    assert good.to_json()["claim"] == "observed"
    assert good.data_digests == {tmp_path / "a.csv": hashlib.sha256(b"1\n").hexdigest()}
    assert "mend h2" in good.standings["h2"]
    with pytest.raises(TimeEvalError, match=r"a\.csv was seen to be different .*h1, h2.*h3.*Copy the one to the other"):
        observing.proof_of(receipts, question, {}, claim)
