"""Whole runs on a Dask that somebody else started: observed first, then computed, with its processes left alone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from others_dask import OthersDask, Run

from timeeval import Algorithm, DatasetManager, DefaultMetrics, ResourceConstraints, Status, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.cluster import joining
from timeeval.engines.base import Parcel
from timeeval.engines.joined import RUN_JOB
from timeeval.engines.joined_link import Link
from timeeval.errors import TimeEvalError
from timeeval.evaluation import pack
from timeeval.experiments import Experiments
from timeeval.run import session
from timeeval.run.model import Attempt, Interrupted, Outcome, Reported
from timeeval.run.packing import encode

if TYPE_CHECKING:
    from timeeval.engines.joined_link import Scheduler

DATA = Path(__file__).resolve().parents[3] / "examples" / "data" / "nab"
DATASET = ("NAB-realTraffic", "speed_6005")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    dask = OthersDask(tmp_path_factory.mktemp("others"))
    yield dask.start()
    left = dask.living()
    dask.close()
    assert left == {"scheduler", "worker0"}, "somebody else's processes were ended"


def plain(data: np.ndarray, args: dict[str, Any]) -> np.ndarray:
    return np.abs(data[:, 0].astype(float))


def sleepy(data: np.ndarray, args: dict[str, Any]) -> np.ndarray:
    time.sleep(600)
    return data


def evaluation(tmp_path: Path, dataset: tuple[str, str] = DATASET, **options: Any) -> TimeEval:
    return TimeEval(
        DatasetManager(DATA, create_if_missing=False),
        [dataset],
        [Algorithm("plain", FunctionAdapter(plain))],
        repetitions=2,
        metrics=[DefaultMetrics.ROC_AUC],
        results_path=tmp_path,
        disable_progress_bar=True,
        **options,
    )


@contextmanager
def on(scheduler: Scheduler, **options: Any) -> Iterator[None]:
    with session.opened(session.Session(session.joined_place(scheduler, **options))):
        yield


def results_of(run: TimeEval) -> list[Any]:
    assert (run.results_path / "plain").is_dir()
    return list(run.get_results(aggregated=False)["status"])


def test_a_run_is_observed_on_its_workers_and_writes_where_all_can_see(scheduler: Scheduler, tmp_path: Path) -> None:
    with on(scheduler):
        run = evaluation(tmp_path, distributed=True)
        run.run()
    assert results_of(run) == [Status.OK] * 2
    (described,) = json.loads((run.results_path / "run.json").read_text())["runs"]
    proof = described["proof"]
    assert (described["engine"], proof["claim"], proof["scheduler"]) == ("joined", "observed", scheduler.address)
    assert {facts["carrier"] for facts in proof["nodes"].values()} == {"worker"}
    assert proof["datasets"].keys() == {str(DATA)}
    assert not list((run.results_path / ".timeeval").glob("token-*"))


SCRIPT = """
import numpy as np
from beside import absolute
from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter

def scores(data: np.ndarray, args: dict) -> np.ndarray:
    import beside_and_late
    return beside_and_late.as_floats(absolute(data))

datasets = DatasetManager({data!r}, create_if_missing=False)
TimeEval(datasets, [{dataset!r}], [Algorithm("own", FunctionAdapter(scores))], metrics=[DefaultMetrics.ROC_AUC]).run()
"""


def test_the_command_runs_a_script_with_its_own_modules_there(scheduler: Scheduler, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(data=str(DATA), dataset=DATASET))
    (tmp_path / "beside.py").write_text("def absolute(data):\n    return abs(data[:, 0])\n")
    (tmp_path / "beside_and_late.py").write_text("def as_floats(values):\n    return values.astype(float)\n")
    command = [Path(sys.executable).with_name("timeeval-run"), script, "--scheduler", scheduler.address, "--json"]
    done = subprocess.run(
        [*command, "--results", tmp_path / "results"], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcomes"] == {"ok": 1}
    text = next((tmp_path / "results").glob("*/run.json")).read_text()
    assert json.loads(text)["runs"][0]["local_modules"].keys() == {"beside", "beside_and_late"}


def test_files_are_fetched_from_workers_that_do_not_see_the_results(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def unseen(_results_path: Path) -> Iterator[tuple[str, str]]:
        yield str(tmp_path / "nowhere"), "token"

    monkeypatch.setattr(joining, "_token", unseen)
    with on(scheduler):
        run = evaluation(tmp_path)
        run.run()
    assert results_of(run) == [Status.OK] * 2
    assert len(list((run.results_path / "plain").rglob("anomaly_scores.ts"))) == 2
    assert not list(Path("/var/tmp").glob(f"timeeval-{run.results_path.name}-*"))


def test_hosts_without_what_the_run_needs_are_refused(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question_of = joining.question_of

    def more(needs: Any) -> dict[str, Any]:
        return {**question_of(needs), "modules": ["no_such_module"]}

    monkeypatch.setattr(joining, "question_of", more)
    with (
        on(scheduler),
        pytest.raises(TimeEvalError, match=r"1 of 1 hosts may not run this:\n .*no_such_module") as caught,
    ):
        evaluation(tmp_path).run()
    assert getattr(caught.value.__cause__, "exit_code", None) == 16
    assert "\nMend that where the workers run" in str(caught.value)


def test_too_few_hosts_are_told(scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "ARRIVAL_SECONDS", 0.5)
    with on(scheduler, limit=["other[1-2]"]), pytest.raises(TimeEvalError, match="0 hosts have workers"):
        evaluation(tmp_path).run()


def test_what_experiments_have_in_common_comes_to_a_worker_once(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast = os.urandom(200_000)
    sent: list[tuple[str, int]] = []
    parts: list[str] = []
    send = Link.send

    async def counted(link: Link, **message: Any) -> None:
        # a question for facts is as large as all local modules that are imported here
        if message["do"] in {"part", "carry"}:
            sent.append((message["do"], len(json.dumps(message))))
        parts.extend(message["part"] for _ in range(message["do"] == "part"))
        await send(link, **message)

    def heavy(data: np.ndarray, args: dict[str, Any]) -> np.ndarray:
        assert len(ballast) == 200_000
        return np.abs(data[:, 0].astype(float))

    monkeypatch.setattr(Link, "send", counted)
    with on(scheduler):
        run = TimeEval(
            DatasetManager(DATA, create_if_missing=False),
            [DATASET],
            [Algorithm("plain", FunctionAdapter(heavy))],
            repetitions=8,
            metrics=[DefaultMetrics.ROC_AUC],
            results_path=tmp_path,
            disable_progress_bar=True,
            distributed=True,
        )
        run.run()
    assert results_of(run) == [Status.OK] * 8
    assert len(parts) == len(set(parts)) > 0
    assert max(size for do, size in sent if do == "carry") < 50_000
    assert sum(size for _, size in sent) < 4 * len(ballast)  # whole jobs would be more than eight times that


def test_a_worker_that_was_started_anew_gets_again_what_experiments_have_in_common(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    part = os.urandom(100_000)
    name = hashlib.sha256(part).hexdigest()
    job = encode({"kind": "test", "parts": [name]}, b"")

    async def scenario() -> list[Any]:
        async with Run(scheduler, task="engine_tasks:sizes") as run:
            outcomes = []
            for attempts in (("a",), ("b", "c"), ("forget",), ("d",), ("e", "f")):
                made = tuple(Attempt(attempt, "execution", 1, "host1") for attempt in attempts)
                await run.engine.submit(Parcel(made, (job,) * len(made), {name: part}))
                outcomes += [await run.outcome(attempt) for attempt in attempts]
            return outcomes

    outcomes = asyncio.run(scenario())
    assert all(isinstance(outcome, Reported) for outcome in outcomes), outcomes
    assert {outcome.report.values["size"] for outcome in outcomes} == {len(part)}


def test_cancelling_ends_the_experiment_and_not_the_worker(scheduler: Scheduler, tmp_path: Path) -> None:
    datasets = DatasetManager(DATA, create_if_missing=False)
    grid = Experiments(
        datasets,
        [datasets.get(*DATASET)],
        [Algorithm("sleepy", FunctionAdapter(sleepy))],
        tmp_path,
        ResourceConstraints(),
        metrics=[DefaultMetrics.ROC_AUC],
    )
    job = pack(next(iter(grid)), tmp_path)

    async def scenario() -> tuple[Any, Any]:
        async with Run(scheduler, task=RUN_JOB, slots=1) as run:
            for name in ("r1-1", "r1-2"):
                await run.engine.submit(Parcel((Attempt(name, "x", 1, "host1"),), (job,)))
            async with asyncio.timeout(30):
                while not (tmp_path / ".timeeval" / "attempts" / "r1-1" / "execution.log").exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await run.engine.cancel("r1-2")
            await run.engine.cancel("r1-1")
            return await run.outcome("r1-1"), await run.outcome("r1-2")

    running, waiting = asyncio.run(scenario())
    assert isinstance(running, Reported)
    assert running.report.outcome is Outcome.CANCELLED
    assert waiting == Interrupted("r1-2", "cancelled", cancelled=True)
