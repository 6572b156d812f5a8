"""Text from elsewhere: nothing in it moves a terminal or breaks a database."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from unittest.mock import Mock

import pytest

from provisioning import plain as provisioning_plain
from provisioning.cli import main
from provisioning.errors import NodeError, NotVerifiedError, ProvisionError
from provisioning.gate import folded
from timeeval import cli_streams
from timeeval.errors import EngineError
from timeeval.plain import plain


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a line\n\tand another", "a line\n\tand another"),
        ("Größe 5 µm, 数据", "Größe 5 µm, 数据"),
        ("\x1b]0;title\x07\x1b[31mred", r"\x1b]0;title\x07\x1b[31mred"),
        ("over\rwritten\r\n", "over\\rwritten\n"),
        ("file\udcff.csv", r"file\udcff.csv"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b2J", r"\x9b2J"),
        ("", ""),
    ],
)
def test_only_what_can_be_seen_is_left(said: str, shown: str) -> None:
    assert plain(said) == shown
    plain(said).encode()  # any encoding of Unicode knows it


@pytest.mark.parametrize("length", [101, 200, 1000, 1_000_000])
def test_a_long_text_keeps_its_ends_and_is_cut_once(length: int) -> None:
    text = plain("a" * (length // 2) + "\x1b" + "b" * (length // 2), 100)
    assert len(text) <= 100
    assert text.startswith("aaaaaaaaaa")
    assert "characters left out" in text
    assert text.endswith("bbbbbbbbbb")
    assert plain(text, 100) == text


def test_an_error_that_quotes_a_node_does_nothing_to_a_terminal() -> None:
    error = EngineError("it said \x1b[2J", host="node1", remedy="Look there")
    assert str(error) == r"node1: it said \x1b[2J. Look there"


@pytest.mark.parametrize("formatter", [cli_streams.PlainFormatter, provisioning_plain.PlainFormatter])
def test_a_log_record_that_quotes_a_node_does_nothing_to_a_terminal(formatter: type[logging.Formatter]) -> None:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "it said %s\nand %s", ("\x1b[2J", "\x07"), None)
    assert "\x1b" not in formatter("%(message)s").format(record)
    assert "\x07" not in formatter("%(message)s").format(record)
    said = formatter("%(levelname)s %(message)s").format(record).split("\n")
    assert [each[:6] for each in said] == ["WARNIN", "  and "], "a node's words make no record of ours"


def test_an_error_that_quotes_a_node_makes_no_line_of_ours() -> None:
    quoted = EngineError("it said no\ntimeeval-run: all is well", host="node1", remedy="Look there")
    assert cli_streams.told(quoted) == "node1: it said no\n  timeeval-run: all is well. Look there"
    several = EngineError("2 hosts may not run this:\n  node1: x\nRun `rm`\n", remedy="Run `up`")
    assert cli_streams.told(several) == "2 hosts may not run this:\n  node1: x\n  Run `rm`\nRun `up`"
    assert cli_streams.told("one\ntwo") == "one\n  two"


def test_why_nodes_are_not_proven_is_a_line_for_each_cause() -> None:
    errors = {name: NotVerifiedError("edited: x\nRun `curl`", host=name) for name in ("node1", "node2")}
    assert folded(errors) == ["node[1-2]: edited: x Run `curl`"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["explain", "here"], {"provisioning.explain.explain": (0, ["here: \nthere: fine"])}),
        (["clean", "--dry-run"], {"provisioning.cleaning.clean": (0, ["here: \nthere: fine"])}),
        (["exec", "--", "x"], {"provisioning.everywhere.open_session": NodeError("no\nthere: fine", host="here")}),
        (["status"], {"provisioning.status.open_cluster": ProvisionError("no\nthere: fine", host="here")}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_node_says_makes_no_line_of_a_command(
    command: list[str], said: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[cluster]\nname = "x"\nhosts = ["here"]\ndriver = "here"\nresults = "/srv/r"\n')
    for place, answer in said.items():
        monkeypatch.setattr(place, Mock(**{"side_effect" if isinstance(answer, Exception) else "return_value": answer}))
    monkeypatch.setattr("sys.argv", ["timeeval-provision", *command[:1], "--cluster", str(file), *command[1:]])
    if command[0] == "explain":
        monkeypatch.setattr("sys.argv", ["timeeval-provision", *command, "--cluster", str(file)])
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), pytest.raises(SystemExit):
        main()
    lines = told.getvalue().splitlines()
    assert "  there: fine" in lines, lines
    assert "there: fine" not in lines
