"""`exec`: one command on many nodes, equal output once, an end for what falls silent."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import alive

from provisioning import everywhere
from provisioning.commands import Options
from provisioning.errors import UnreachableError, UsageError
from provisioning.everywhere import execute, folded


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    (tmp_path / "cluster.toml").write_text(
        '[cluster]\nname = "x"\nhosts = ["here"]\ndriver = "here"\nresults = "/srv/r"\nknown_hosts = "known_hosts"\n'
    )

    def go(*argv: str, **options: Any) -> tuple[int, list[str]]:
        return execute(Options(tmp_path / "cluster.toml"), argv, lambda _node, _event: None, **options)

    return go


def test_arguments_arrive_as_they_are_and_no_shell_reads_them(run: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = run(sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "$(id)", "'", "-x")
    assert (code, lines) == (0, ["here:", str(["a b", "$(id)", "'", "-x"])])
    assert run("sh", "-c", "echo out; echo err >&2")[1] == ["here:", "out\nerr"]


def test_a_status_and_a_signal_are_told(run: Callable[..., tuple[int, list[str]]]) -> None:
    assert run("sh", "-c", "echo no; exit 3") == (4, ["here: ended with status 3", "no"])
    assert run("sh", "-c", "kill -9 $$") == (4, ["here: was ended by signal 9"])


def test_an_answer_of_another_shape_is_the_nodes_error(
    run: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everywhere, "RUN", "node_programs.liar")
    code, (line,) = run("true")
    assert code == 4
    assert line.startswith("error here: node_programs.liar said what makes no sense: {'ours'")
    assert json.loads(run("true", as_json=True)[1][0])["error"]["kind"] == "NodeError"


def test_what_is_not_there_is_one_line(run: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = run("no-such-program")
    assert code == 4
    assert lines == ["error here: no-such-program is not there; name a program that all nodes have, best by its path"]
    with pytest.raises(UsageError, match="no command"):
        run()


def test_a_command_that_falls_silent_is_ended_with_all_it_started(
    run: Callable[..., tuple[int, list[str]]], tmp_path: Path
) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; echo started; wait"
    code, lines = run("sh", "-c", script, silence=1.0)
    assert (code, lines) == (4, ["here: said nothing for 1 s and was ended", "started"])
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_speaking_keeps_a_command_alive_longer_than_the_silence(run: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = run("sh", "-c", "for i in 1 2 3 4; do sleep 0.4; echo $i; done", silence=1.2)
    assert (code, lines) == (0, ["here:", "1\n2\n3\n4"])


def test_what_runs_on_in_the_background_holds_up_nobody(run: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = run("sh", "-c", "sleep 30 & echo $!", silence=20.0)
    assert code == 0
    os.kill(int(lines[1]), 9)


def test_much_output_is_bounded_at_both_ends(run: Callable[..., tuple[int, list[str]]]) -> None:
    program = "print('begin'); print('x' * 3_000_000); print('end')"
    code, lines = run(sys.executable, "-c", program, as_json=True)
    told = json.loads(lines[0])
    assert (code, told["schema"], told["node"], told["status"]) == (0, "timeeval.exec/1", "here", 0)
    assert told["output"].startswith("begin\n")
    assert told["output"].endswith("end\n")
    assert told["cut"] == 3_000_011 - (1 << 20)
    assert len(told["output"]) < (1 << 20) + 100


def test_equal_output_is_shown_once() -> None:
    def said(output: str, status: int = 0) -> dict[str, Any]:
        return {"status": status, "output": output, "cut": 0, "silent": False}

    gone = UnreachableError("no route", host="node5", remedy="see to it")
    outcomes = {**{f"node{n}": said("6.1\n") for n in (1, 2, 4)}, "node3": said("5.10\n", 1), "node5": gone}
    assert list(folded(outcomes, 60)) == [
        "node[1-2,4]:",
        "6.1",
        "node3: ended with status 1",
        "5.10",
        "error node5: no route; see to it",
    ]
    assert list(folded({"a": said("\x1b[2Jboo\x07\n")}, 60))[1] == "�[2Jboo�"
