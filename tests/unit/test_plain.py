"""Text from elsewhere: nothing in it moves a terminal or breaks a database."""

from __future__ import annotations

import logging

import pytest

from provisioning import plain as provisioning_plain
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
