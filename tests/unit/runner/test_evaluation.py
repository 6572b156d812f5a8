"""An attempt in its own process: every way to go wrong is an outcome, and the keeper goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import alive
from small_data import algorithm, deviation

from timeeval import ResourceConstraints, TrainingType, evaluation
from timeeval.constants import ANOMALY_SCORES_TS, METRICS_CSV, RAW_ANOMALY_SCORES_TS
from timeeval.durations import Duration
from timeeval.engines import joined_worker
from timeeval.errors import DockerMemoryError, DockerTimeoutError, InfrastructureError
from timeeval.evaluation import SlotPool, pack, run_job
from timeeval.run import layout, slot, standing
from timeeval.run.local_code import Source
from timeeval.run.model import Outcome, Report
from timeeval.run.packing import Packer, PackingError, decode, whole

GLOBAL = 3


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def run(pool, experiment_of, results):
    numbers = iter(range(1, 1000))

    def once(function, dataset: str = "one", **fields) -> Report:
        job = pack(experiment_of(function, dataset, **fields), results)
        return Report.from_json(run_job(job, {"id": f"r1-{next(numbers)}", "host": "here"}, pool))

    return once


def log_of(results: Path, report: Report) -> str:
    return (layout.work_dir(results, report.attempt) / "execution.log").read_text()


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_ok_report_and_files(run, results):
    report = run(deviation)
    assert (report.outcome, report.error, report.host) == (Outcome.OK, "", "here")
    assert report.values["ROC_AUC"] == 1.0
    assert report.values["execute_preprocess_time"] is None
    assert report.hyper_params == '{"a": 0}'
    assert report.cpu_seconds >= 0
    assert report.peak_memory > 10_000_000
    files = {path.name for path in layout.work_dir(results, report.attempt).iterdir()}
    assert files == {
        *("anomaly_scores.ts", "execution.log", "hyper_params.json", "metrics.csv", "raw_anomaly_scores.ts"),
    }


def test_outcome_is_kept_before_it_is_told_and_not_computed_twice(pool, experiment_of, results):
    def counts(data, args):
        with Path(args["file"]).open("a") as file:
            file.write("x")
        return deviation(data, args)

    counter = results.parent / "counter"
    job = pack(experiment_of(counts, params={"file": str(counter)}), results)
    first = run_job(job, {"id": "r1-77", "host": "here"}, pool)
    assert json.loads(layout.outcome_file(results, "r1-77").read_text()) == json.loads(first)
    assert run_job(job, {"id": "r1-77", "host": "here"}, pool) == first
    assert counter.read_text() == "x"


def test_nothing_is_computed_on_a_host_that_changed(pool, experiment_of, results):
    experiment = experiment_of(deviation)
    path = experiment.resolved_test_dataset_path
    status, digest = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"machine_id": Path("/etc/machine-id").read_text().strip(), "boot_id": standing.boot(), "environment": "e"}
    rows = {str(path): [digest, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]}
    facts |= {"host": "here", "since": "verified", "mend": "mend it"}
    text = standing.document(records={}, files=rows, images={}, **facts)
    job = Packer(results, data_digests={path: digest}).pack(experiment)
    attempt = {"host": "here", "standing": standing.hold(text)}
    assert Report.from_json(run_job(job, {"id": "r1-1", **attempt}, pool)).outcome is Outcome.OK
    path.write_text(path.read_text() + "\n")
    report = Report.from_json(run_job(job, {"id": "r1-2", **attempt}, pool))
    assert (report.outcome, report.changed) == (Outcome.INFRA, True)
    assert report.error == f"changed since verified: the dataset file {path} on here; mend it"
    assert not layout.work_dir(results, "r1-2").exists()
    assert not layout.outcome_file(results, "r1-2").exists()
    lost = Report.from_json(run_job(job, {"id": "r1-3", "host": "here", "standing": "0" * 64}, pool))
    assert (lost.outcome, lost.changed) == (Outcome.INFRA, False)
    assert "did not come to its worker" in lost.error


def test_attempts_of_a_driver_that_fell_silent_end(pool, experiment_of, results, monkeypatch):
    monkeypatch.setattr(evaluation, "_pool", pool)

    def sleeps(data, args):
        time.sleep(600)

    job, answers = pack(experiment_of(sleeps), results), []
    for run in ("silent", "alive"):
        attempt = {"id": f"{run}-1", "host": "here"}
        threading.Thread(target=lambda a=attempt: answers.append(Report.from_json(run_job(job, a)))).start()
    deadline = time.monotonic() + 20
    while not all((layout.work_dir(results, f"{run}-1") / "execution.log").exists() for run in ("silent", "alive")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    joined_worker.beat("alive", 600)
    joined_worker.beat("silent", 600)
    joined_worker.beat("silent", 0.01)
    while not answers and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [(report.attempt, report.outcome) for report in answers] == [("silent-1", Outcome.CANCELLED)]
    joined_worker.beat("alive", 0.01)
    while len(answers) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert answers[1].attempt == "alive-1"
    while joined_worker._leases and time.monotonic() < deadline:
        time.sleep(0.02)
    assert joined_worker._leases == {}


def standing_with(**code):
    facts = {"host": "here", "since": "verified", "mend": "", "machine_id": "", "boot_id": "", "environment": None}
    return standing.hold(standing.document(records={}, files={}, images={}, code=code, **facts))


def test_own_modules_are_imported_where_they_are_not_installed(run, pool, experiment_of, results):
    def imports(data, args):
        import only_sent

        return deviation(data, args) * only_sent.VALUE

    job = pack(experiment_of(imports), results)
    for number, value in enumerate(("1", "'text'", "1")):
        known = standing_with(only_sent=Source(f"VALUE = {value}\n", package=False, file="/home/me/only_sent.py"))
        attempt = {"id": f"r1-m{number}", "host": "here", "standing": known}
        report = Report.from_json(run_job(job, attempt, pool))
        assert (report.outcome is Outcome.OK) == (value == "1"), report.error
    assert len(list(layout.work_dir(results, "x").parents[1].glob("code-*.json"))) == 2


def test_a_module_that_a_node_lacks_is_named_with_the_host_and_the_remedy(pool, experiment_of, results):
    def imports(data, args):
        import nowhere_installed

        return nowhere_installed

    job = pack(experiment_of(imports), results)
    for number, remote in enumerate(({}, {"run_id": "r1"})):
        report = Report.from_json(run_job(job, {"id": f"r1-n{number}", "host": "node7", **remote}, pool))
        assert report.outcome is Outcome.ERROR
        assert report.error.startswith("ModuleNotFoundError(\"No module named 'nowhere_installed'\")")
        hint = "node7: the module nowhere_installed cannot be imported here"
        assert (hint in report.error) == bool(remote)
        assert ("[environment] requirements" in report.error) == bool(remote)


def test_functions_travel_by_value_with_globals_and_helpers(run):
    def helper(data):
        return deviation(data, {}) * GLOBAL

    assert run(lambda data, _: helper(data), name="by value").outcome is Outcome.OK


def test_exceptions_are_errors_with_their_repr_and_traceback(run, results):
    def raises(data, args):
        raise ValueError("no such thing")

    report = run(raises)
    assert (report.outcome, report.error) == (Outcome.ERROR, "ValueError('no such thing')")
    assert "in raises" in report.traceback
    assert "no such thing" in log_of(results, report)
    assert report.hyper_params == '{"a": 0}'


def test_an_exception_may_say_anything_at_any_length(run):
    class OddError(Exception):
        def __repr__(self):
            return "\x1b[2J\udcff" + "x" * 50_000_000

    def raises(data, args):
        raise OddError("y" * 50_000_000)

    report = run(raises)

    assert report.outcome is Outcome.ERROR
    assert report.error.startswith(r"\x1b[2J\udcff")
    assert len(report.to_json()) < 200_000


@pytest.mark.parametrize("words", ["garbage\n", "{}\n", "[]\n", ""])
def test_writing_to_every_descriptor_is_the_algorithms_error_and_hurts_nobody_else(run, words):
    def writes(data, args):
        import os
        import stat

        for entry in Path("/proc/self/fd").iterdir():
            number = int(entry.name)
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    rest = args["words"].encode() or b"x" * (20 << 20)
                    while rest:
                        rest = rest[os.write(number, rest) :]
            except OSError:
                continue
        return deviation(data, args)

    report = run(writes, params={"words": words})
    assert report.outcome is Outcome.ERROR
    assert "connection of its process" in report.error
    assert [run(deviation).outcome for _ in range(2)] == [Outcome.OK] * 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DockerTimeoutError("slow"), Outcome.TIMEOUT),
        (DockerMemoryError("fat"), Outcome.OOM),
        (MemoryError("fat"), Outcome.OOM),
        (InfrastructureError("broken"), Outcome.INFRA),
        (OSError(28, "No space left on device"), Outcome.INFRA),
        (TimeoutError("somebody's server"), Outcome.ERROR),
        (SystemExit(0), Outcome.ERROR),
        (KeyboardInterrupt(), Outcome.ERROR),
    ],
)
def test_outcome_by_exception(run, error, outcome):
    def raises(data, args):
        raise error

    report = run(raises)
    assert (report.outcome, report.error) == (outcome, repr(error))


def test_exception_with_a_broken_repr(run):
    class EvilError(Exception):
        def __repr__(self):
            raise RuntimeError

        __str__ = __repr__

    def raises(data, args):
        raise EvilError

    assert run(raises).error == "EvilError(<its repr raised RuntimeError>)"


def test_segmentation_fault(run):
    def crashes(data, args):
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)

    report = run(crashes)
    assert report.outcome is Outcome.ERROR
    assert "the execute phase died of signal 11" in report.error
    assert run(deviation).outcome is Outcome.OK


def test_exit(run):
    report = run(lambda _data, _: os._exit(3), name="exits")
    assert report.outcome is Outcome.ERROR
    assert "ended its process with exit status 3" in report.error


def test_killed_from_outside_is_not_the_algorithms_fault(run):
    report = run(lambda _data, _: os.kill(os.getpid(), signal.SIGKILL), name="killed")
    assert report.outcome is Outcome.INFRA
    assert "killed from outside" in report.error


def test_time_limit_of_execution_ends_one_that_ignores_sigterm(run):
    def hangs(data, args):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass

    started = time.monotonic()
    report = run(hangs, constraints=ResourceConstraints(execute_timeout=Duration("1 second")))
    assert report.outcome is Outcome.TIMEOUT
    assert "execute phase did not end within 1 seconds" in report.error
    assert time.monotonic() - started < 15  # a bound against a hang, not a measure


def test_time_limit_of_training_keeps_its_name(run):
    def hangs(data, args):
        time.sleep(60)

    fields = {"training_type": TrainingType.SEMI_SUPERVISED}
    limit = ResourceConstraints(train_timeout=Duration("1 second"))
    report = run(hangs, "trained", constraints=limit, **fields)
    assert report.outcome is Outcome.TIMEOUT
    assert "train phase" in report.error


def test_training_time_survives_a_timeout_of_the_execution(run):
    def hangs_later(data, args):
        if data.shape[1] == 1:
            time.sleep(60)
        return data

    limit = ResourceConstraints(execute_timeout=Duration("1 second"))
    report = run(hangs_later, "trained", constraints=limit, training_type=TrainingType.SEMI_SUPERVISED)
    assert report.outcome is Outcome.TIMEOUT
    assert report.values["train_main_time"] >= 0


def test_memory_limit_counts_the_whole_tree(run):
    def eats(data, args):
        eater = "x = bytearray(300 << 20); import time; time.sleep(60)"
        subprocess.run([sys.executable, "-c", eater], check=True)

    report = run(eats, constraints=ResourceConstraints(task_memory_limit=350 << 20))
    assert report.outcome is Outcome.OOM
    assert f"its limit is {350 << 20}" in report.error
    assert report.peak_memory > 350 << 20


def test_flooding_stdout_and_stderr_from_below_python_is_harmless(run, results):
    def floods(data, args):
        os.write(1, b"from below\n")
        os.write(2, b"x" * (8 << 20))
        return deviation(data, args)

    report = run(floods)
    assert report.outcome is Outcome.OK
    assert "from below" in log_of(results, report)


def test_endless_output_is_ended(run, monkeypatch):
    monkeypatch.setattr(slot, "LOG_LIMIT", 1 << 20)

    def floods(data, args):
        while True:
            os.write(1, b"x" * (1 << 16))
            time.sleep(0.001)

    report = run(floods)
    assert report.outcome is Outcome.ERROR
    assert "the log may have 1048576" in report.error


def test_closing_all_descriptors_is_harmless(run):
    def closes(data, args):
        os.closerange(0, 256)
        time.sleep(60)

    report = run(closes, constraints=ResourceConstraints(execute_timeout=Duration("20 seconds")))
    assert report.outcome is Outcome.ERROR
    assert run(deviation).outcome is Outcome.OK


def test_closing_the_standard_streams_is_harmless(run):
    def closes(data, args):
        sys.stdout.close()
        sys.stderr.close()
        return deviation(data, args)

    run(closes)
    assert run(deviation).outcome is Outcome.OK


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_what_lies_where_our_files_belong_is_replaced_and_never_followed(run, results, tmp_path, kind):
    precious = tmp_path / "precious"
    if kind == "link":
        precious.write_text("mine")

    def plants(data, args):
        work_dir = Path("/proc/self/fd/1").readlink().parent  # as an image does that finds it mounted
        for name in ("metrics.csv", "anomaly_scores.ts", "raw_anomaly_scores.ts"):
            if args["kind"] == "pipe":
                os.mkfifo(work_dir / name)
            else:
                (work_dir / name).symlink_to(args["precious"])
        return deviation(data, args)

    report = run(plants, params={"kind": kind, "precious": str(precious)})

    assert report.outcome is Outcome.OK, report.error
    assert precious.exists() is (kind == "link")
    if kind == "link":
        assert precious.read_text() == "mine"
    for name in (METRICS_CSV, ANOMALY_SCORES_TS, RAW_ANOMALY_SCORES_TS):
        file = layout.work_dir(results, report.attempt) / name
        assert file.is_file()
        assert not file.is_symlink()
        assert file.stat().st_size > 0


def test_what_an_experiment_leaves_running_is_ended(run, tmp_path):
    def leaves(data, args):
        code = "import os, sys, time; os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, args["file"]])
        file = Path(args["file"])
        while not (file.exists() and file.read_text()):
            time.sleep(0.01)
        if args["crash"]:
            os._exit(1)
        return deviation(data, args)

    for crash in (False, True):
        file = tmp_path / f"pid-{crash}"
        run(leaves, params={"file": str(file), "crash": crash})
        assert gone(int(file.read_text()))


def test_state_does_not_leak_into_the_next_experiment(run, tmp_path):
    def pollutes(data, args):
        os.environ["POLLUTED"] = "1"
        os.chdir("/")
        np.random.seed(1)
        return deviation(data, args)

    def looks(data, args):
        Path(args["file"]).write_text(json.dumps([os.environ.get("POLLUTED"), str(Path.cwd()), np.random.random()]))
        return deviation(data, args)

    seen = []
    for number in range(2):
        run(pollutes)
        file = tmp_path / f"seen-{number}"
        run(looks, params={"file": str(file)})
        seen.append(json.loads(file.read_text()))
    assert [entry[:2] for entry in seen] == [[None, str(Path.cwd())]] * 2
    assert seen[0][2] != seen[1][2]


def test_the_process_is_kept(run, tmp_path):
    def tells(data, args):
        with Path(args["file"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return deviation(data, args)

    file = tmp_path / "pids"
    for _ in range(3):
        run(tells, params={"file": str(file)})
    pids = set(file.read_text().split())
    assert len(pids) == 1
    assert str(os.getpid()) not in pids


def test_cancelling_kills_and_says_so(experiment_of, results, tmp_path):
    pool = SlotPool(1)
    file = tmp_path / "pid"

    def hangs(data, args):
        Path(args["file"]).write_text(str(os.getpid()))
        time.sleep(60)

    job = pack(experiment_of(hangs, params={"file": str(file)}), results)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(run_job(job, {"id": "r1-5", "host": "here"}, pool)))
    thread.start()
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    assert pool.cancel("r1-5")
    thread.join(10)
    assert Report.from_json(answers[0]).outcome is Outcome.CANCELLED
    assert gone(int(file.read_text()))
    assert not pool.cancel("r1-5")
    pool.close()


def test_processes_end_with_their_keeper(tmp_path, results):
    file = tmp_path / "pids"
    code = f"""
import os, threading, time
from timeeval.run.nursery import Nursery
import socket
ours, theirs = socket.socketpair()
nursery = Nursery()
child = nursery.start(theirs)
open({str(file)!r}, "w").write(f"{{nursery._zygote.pid}} {{child.pid}}")
time.sleep(600)
"""
    keeper = subprocess.Popen([sys.executable, "-c", code])
    while not (file.exists() and file.read_text()):
        time.sleep(0.02)
    pids = [int(pid) for pid in file.read_text().split()]
    assert all(alive(pid) for pid in pids)
    keeper.kill()
    keeper.wait()
    assert all(gone(pid) for pid in pids)


def test_a_killed_zygote_is_replaced(experiment_of, results):
    with contextlib.closing(SlotPool(1)) as pool:
        job = pack(experiment_of(), results)
        run_job(job, {"id": "r1-1", "host": "here"}, pool)
        os.kill(pool._nursery._zygote.pid, signal.SIGKILL)
        pool._nursery._zygote.wait()  # until then its child may well serve one more request, and die in the next
        outcomes = [Report.from_json(run_job(job, {"id": f"r1-{n}", "host": "here"}, pool)).outcome for n in (2, 3)]
    assert outcomes[-1] is Outcome.OK
    assert outcomes[0] in (Outcome.OK, Outcome.INFRA)


def test_unwritable_results_are_the_hosts_fault(pool, experiment_of, tmp_path):
    (tmp_path / "file").write_text("")
    job = pack(experiment_of(), tmp_path / "file" / "results")
    report = Report.from_json(run_job(job, {"id": "r1-1", "host": "node7"}, pool))
    assert report.outcome is Outcome.INFRA
    assert "node7: NotADirectoryError" in report.error


def test_garbage_is_an_infrastructure_error(pool):
    report = Report.from_json(run_job(b"garbage", {"id": "r1-1", "host": "here"}, pool))
    assert report.outcome is Outcome.INFRA


def test_missing_module_is_named_with_its_remedy(pool, experiment_of, results):
    header, payload = decode(pack(experiment_of(), results))
    from timeeval.run.packing import encode

    broken = payload.replace(b"timeeval.algorithm", b"timeevil.algorithm")
    assert broken != payload
    report = Report.from_json(run_job(encode(header, broken), {"id": "r1-9", "host": "here"}, pool))
    assert report.outcome is Outcome.INFRA
    assert "timeevil" in report.error
    assert "create-envs" in report.error


def test_calls_run_where_experiments_do(pool, results, tmp_path):
    def touch():
        (tmp_path / "touched").write_text(str(os.getpid()))

    packer = Packer(results)
    report = Report.from_json(run_job(packer.pack_calls([touch], "prepare"), {"id": "r1-b1", "host": "here"}, pool))
    assert report.outcome is Outcome.OK
    assert int((tmp_path / "touched").read_text()) != os.getpid()
    assert not layout.outcome_file(results, "r1-b1").exists()


def test_what_cannot_travel_says_what_and_how(experiment_of, results):
    lock = threading.Lock()

    def locked(data, args):
        with lock:
            return data

    with pytest.raises(PackingError, match=r"algorithm locked cannot travel .*lock.* inside the function"):
        pack(experiment_of(locked), results)


def test_grids_do_not_travel(experiment_of, results):
    from timeeval.params import FullParameterGrid

    small = pack(experiment_of(algorithm(name="x")), results)
    large = pack(experiment_of(algorithm(name="x", param_config=FullParameterGrid({"a": list(range(5000))}))), results)
    assert abs(len(large) - len(small)) < 100


def test_layout_publishes_and_replaces(results):
    from timeeval.run.model import Cell

    cell = Cell("a", "c", "d", "p", 1)
    for attempt in ("r1-1", "r1-2"):
        folder = layout.work_dir(results, attempt)
        folder.mkdir(parents=True)
        (folder / attempt).write_text("")
        assert layout.publish(results, cell, attempt)
    assert [path.name for path in (results / "a" / "p" / "c" / "d" / "1").iterdir()] == ["r1-2"]
    assert not layout.publish(results, cell, "r1-3")
    layout.tidy(results)
    assert not (results / layout.PRIVATE).exists()
    with contextlib.suppress(FileNotFoundError):
        layout.forget_outcome(results, "r1-1")


class Turns:
    """What a worker gives to its jobs, with a count of what was asked for."""

    def __init__(self, parts):
        self.parts, self.asked, self.ended = parts, [], 0

    def part(self, digest):
        self.asked.append(digest)
        if digest not in self.parts:
            raise InfrastructureError(f"{digest[:12]} did not come")
        return self.parts[digest]

    def end(self):
        self.ended += 1


def test_a_job_names_what_it_has_in_common_with_others(experiment_of, results, pool):
    table = os.urandom(1_000_000)

    def algorithm(values, _args):
        return values[:, 0] * len(table)

    packer, experiments = Packer(results), [experiment_of(algorithm, name) for name in ("one", "two")]
    one = experiments[0].algorithm
    experiments[1].algorithm = one  # as in a grid
    jobs = [packer.split(experiment) for experiment in experiments]

    assert max(map(len, jobs)) < 2000
    assert sum(map(len, packer.parts.values())) > len(table)
    assert all(hashlib.sha256(part).hexdigest() == name for name, part in packer.parts.items())
    turns = Turns(packer.parts)
    reports = [
        Report.from_json(run_job(job, {"id": f"r1-{number}", "host": "here"}, pool, turn=turns))
        for number, job in enumerate(jobs)
    ]
    assert [report.outcome for report in reports] == [Outcome.OK, Outcome.OK], reports
    assert set(turns.asked) == set(packer.parts)
    assert turns.ended == 2
    alone = whole(jobs[0], packer.parts.__getitem__)
    assert Report.from_json(run_job(alone, {"id": "r1-8", "host": "here"}, pool)).outcome is Outcome.OK
    missing = Report.from_json(run_job(jobs[0], {"id": "r1-9", "host": "here"}, pool, turn=Turns({})))
    assert missing.outcome is Outcome.INFRA
    assert "did not come" in missing.error
