"""The live view: it adds up bytes, and on no terminal it only logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from provisioning.plain import item
from provisioning.view import TITLES, View

if TYPE_CHECKING:
    import pytest


def test_without_a_terminal_each_step_is_logged_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "provisioning.view"), View(live=False) as view:
        for done in (0, 50, 100):
            view.event("node1", {"title": "copy", "done": done, "total": 100, "unit": "B"})
        view.event("node1", {"title": "failed", "error": "node1: the disk became full"})
    assert [record.getMessage() for record in caplog.records] == [
        "node1: copy",
        "node1: failed: node1: the disk became full",
    ]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_bytes_of_all_nodes_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    with View(live=True) as view:
        view.event("node1", {"title": "copy", "done": 30, "total": 100, "unit": "B"})
        view.event("node2", {"title": "copy", "done": 50, "total": 100, "unit": "B"})
        view.event("node2", {"title": "verify", "done": 1, "total": 2})
        assert view._bar is not None
        assert (view._bar.n, view._bar.total) == (80, 200)
    assert "B" in capsys.readouterr().err


def test_sizes_that_make_no_sense_are_not_shown() -> None:
    with View(live=True) as view:
        for done, total in (("many", 1), (None, None), ([], {}), (-1, 5), (1, 1 << 70), (float("nan"), 1)):
            view.event("node1", {"title": "copy", "done": done, "total": total, "unit": "B"})
        view.event("node1", {"title": 7, "unit": "B"})
        view.event("node2", {"title": "copy", "done": 1, "total": 2, "unit": "B"})
        assert view._bar is not None
        assert (view._bar.n, view._bar.total) == (1, 2)


def test_a_node_that_tells_of_ever_new_things_is_heard_up_to_a_number() -> None:
    with View(live=True) as view:
        for number in range(TITLES + 100):
            view.event("node1", {"title": f"copy {number}", "done": 1, "total": 2, "unit": "B"})
        view.event("node2", {"title": "copy", "done": 1, "total": 2, "unit": "B"})
        assert view._bar is not None
        assert (view._bar.n, view._bar.total) == (TITLES + 1, 2 * (TITLES + 1))


def test_a_node_speaks_for_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "provisioning.view"), View(live=False) as view:
        view.event("node1", {"title": "copy\nnode2: failed", "error": "a\r\n\tb"})
    assert [record.getMessage() for record in caplog.records] == ["node1: copy node2: failed: a b"]
    assert item("error node1: a\nok node2\n  more") == "error node1: a\n  ok node2\n  more"


def test_what_a_node_tells_does_nothing_to_a_terminal(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "provisioning.view"), View(live=True) as view:
        view.event("node1", {"title": "\x1b]0;mine\x07", "error": "\x1b[2J"})
    for said in (caplog.records[0].getMessage(), capsys.readouterr().err.replace("\x1b[A", "")):
        assert "\x1b]" not in said
        assert "\x1b[2J" not in said
