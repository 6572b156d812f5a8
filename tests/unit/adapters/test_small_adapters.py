import os
import stat
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from timeeval.adapters import DistributedAdapter, FunctionAdapter, JarAdapter, MultivarAdapter
from timeeval.adapters.base import Adapter
from timeeval.adapters.multivar import AggregationMethod
from timeeval.data_types import ExecutionType
from timeeval.errors import AlgorithmError, InfrastructureError


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program into PATH that notes its arguments and its standard input, then does what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name, body=""):
        path = folder / name
        path.write_text(
            f"#!{sys.executable}\nimport os, sys\nfrom pathlib import Path\n"
            f"noted = Path({str(tmp_path / name)!r})\n"
            "with noted.with_suffix('.args').open('a') as f: f.write(repr(sys.argv[1:]) + '\\n')\n"
            "with noted.with_suffix('.stdin').open('a') as f: f.write(sys.stdin.read())\n"
            f"{body}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return tmp_path / name

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return make


def test_the_base_is_abstract():
    with pytest.raises(TypeError):
        Adapter()


def test_execution_type_is_filled_in():
    seen = []

    class Seeing(Adapter):
        def _call(self, dataset, args):
            seen.append(args["executionType"])
            return dataset

    Seeing()(np.zeros(1))
    Seeing()(np.zeros(1), {"executionType": ExecutionType.TRAIN})
    assert seen == [ExecutionType.EXECUTE, ExecutionType.TRAIN]
    assert Seeing().get_images() == ()


def test_a_function_gets_its_parameters_alone():
    adapter = FunctionAdapter(lambda data, params: data * params["factor"])
    result = adapter(np.array([1.0, 2.0]), {"hyper_params": {"factor": 3}, "results_path": Path("x")})
    np.testing.assert_array_equal(result, [3.0, 6.0])
    assert FunctionAdapter(lambda _, params: len(params))(np.zeros(1)) == 0
    assert FunctionAdapter.identity()(Path("a")) == Path("a")


def test_jar_command_keeps_arguments_whole():
    adapter = JarAdapter("file.jar", "out", ["plot", "a b", 3], {"plot": "yes", "title": "x y"})
    assert adapter.command() == ["java", "-jar", "file.jar", "plot", "a b", "3", "--plot", "yes", "--title", "x y"]


def test_jar_runs_and_reads(program, tmp_path, capsys):
    out = tmp_path / "scores.txt"
    noted = program("java", f"print('said'); Path({str(out)!r}).write_text('1\\n2\\n')")
    np.testing.assert_array_equal(JarAdapter("f.jar", str(out), ["x"], {"k": 1})(np.zeros(2)), [1.0, 2.0])
    assert noted.with_suffix(".args").read_text() == "['-jar', 'f.jar', 'x', '--k', '1']\n"
    assert capsys.readouterr().out == ""
    JarAdapter("f.jar", str(out), [], {}, verbose=True)(np.zeros(2))
    assert capsys.readouterr().out == "said\n"


def test_jar_failures(program, tmp_path, monkeypatch):
    program("java", "sys.exit(3)")
    with pytest.raises(AlgorithmError, match="exit code 3"):
        JarAdapter("f.jar", "out", [], {})(np.zeros(2))
    program("java", "")
    with pytest.raises(AlgorithmError, match="left no scores"):
        JarAdapter("f.jar", str(tmp_path / "nothing"), [], {})(np.zeros(2))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="no program 'java'"):
        JarAdapter("f.jar", "out", [], {})(np.zeros(2))


def distributed(hosts):
    with pytest.warns(DeprecationWarning, match="timeeval-run"):
        return DistributedAdapter(lambda data, args: (data, args), 'run "$X"', "somebody", hosts)


def test_distributed_starts_the_command_on_each_host(program, caplog):
    noted = program("ssh")
    data, args = distributed(["a", "b"])(np.zeros(2), {"k": 1})
    assert len(data) == 2
    assert args["k"] == 1
    lines = noted.with_suffix(".args").read_text().splitlines()
    assert [eval(line)[-1] for line in lines] == ["somebody@a", "somebody@b"]  # noqa: S307 - written above
    assert noted.with_suffix(".stdin").read_text() == 'screen -dm bash -c "run \\"\\$X\\""\n' * 2
    assert "runs as somebody" in caplog.text


def test_distributed_says_when_a_host_refuses(program):
    program("ssh", "print('no route', file=sys.stderr); sys.exit(255)")
    with pytest.raises(InfrastructureError, match=r"^a: .*255.*no route"):
        distributed(["a"])(np.zeros(2), {})


SERIES = np.array([[1.0, 10.0, 100.0, 0], [2.0, 50.0, 200.0, 0], [6.0, 30.0, 900.0, 1]])


def from_file(path, _):
    frame = pd.read_csv(path)
    assert frame.shape[1] == 3
    return frame.iloc[:, 1].to_numpy()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (AggregationMethod.MEAN, SERIES[:, :3].mean(axis=1)),
        (AggregationMethod.MEDIAN, np.median(SERIES[:, :3], axis=1)),
        (AggregationMethod.MAX, SERIES[:, :3].max(axis=1)),
        (AggregationMethod.SUM_BEFORE, SERIES[:, :3].sum(axis=1)),
    ],
)
def test_channels_are_combined(method, expected, tmp_path):
    adapter = MultivarAdapter(FunctionAdapter(from_file), method)
    np.testing.assert_allclose(adapter(SERIES), expected)
    path = tmp_path / "series.csv"
    frame = pd.DataFrame(SERIES, columns=["a", "b", "c", "is_anomaly"])
    frame.index.name = "timestamp"
    frame.to_csv(path)
    np.testing.assert_allclose(adapter(path), expected)
    np.testing.assert_allclose(adapter(SERIES.astype(object)), expected)


def test_results_may_be_files(tmp_path):
    def write(path, _):
        result = Path(f"{path}.scores")
        pd.read_csv(path).iloc[:, 1].to_csv(result, index=False, header=False)
        return result

    np.testing.assert_allclose(MultivarAdapter(FunctionAdapter(write))(SERIES), SERIES[:, :3].mean(axis=1))


def test_multivar_needs_a_univariate_adapter():
    inner = MultivarAdapter(FunctionAdapter.identity())
    with pytest.raises(AssertionError, match="univariate"):
        MultivarAdapter(inner)
    with pytest.raises(ValueError, match="array or the path"):
        inner([1, 2])


def test_multivar_prepares_like_its_adapter():
    class Preparing(FunctionAdapter):
        def get_prepare_fn(self):
            return print

        def get_finalize_fn(self):
            return repr

    adapter = MultivarAdapter(Preparing(from_file))
    assert (adapter.get_prepare_fn(), adapter.get_finalize_fn()) == (print, repr)


def test_aggregation_happens_before_for_sums_only():
    assert [m.combining_before for m in AggregationMethod] == [False, False, False, True]
    assert [m.value for m in AggregationMethod] == [0, 1, 2, 3]
