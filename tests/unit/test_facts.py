"""Facts of nodes side by side: equal values folded, and what a difference can change."""

from __future__ import annotations

import json
from typing import Any

from provisioning import facts
from provisioning.node import observe_host
from provisioning.report import NodeReport, Report, matrix_document, odd


def host(**changed: Any) -> dict[str, Any]:
    seen = observe_host.observe({"paths": [], "python": None})
    return {"host": {**seen, **changed}}


def environment(**packages: str) -> dict[str, Any]:
    installed = {f"{name}=={version}": "ab" * 32 for name, version in packages.items()}
    there = {"identity": repr(packages) + "x" * 12, "python": "3.11.2", "installed": installed, "compiled": True}
    return {"environment": {"environment": there}}


def rows(**answers: dict[str, Any]) -> dict[str, facts.Row]:
    return {row.fact: row for row in facts.matrix({name: facts.flat(seen) for name, seen in answers.items()})}


def test_the_odd_one_out_is_named_and_the_others_are_folded() -> None:
    nodes = {f"node{number:02}": host(kernel="6.1.0") for number in range(1, 8)}
    found = rows(**nodes, node08=host(kernel="5.10.0"))
    assert str(found["kernel"]) == "kernel: node[01-07]: 6.1.0; node08: 5.10.0 (may change run times)"
    assert found["libc"].equal
    assert "boot" not in found
    told = list(facts.lines(list(found.values())))
    assert told == [f"odd   {found['kernel']}"]
    everything = list(facts.lines(list(found.values()), everything=True))
    assert len(everything) == len(found)
    assert f"equal libc: node[01-08]: {found['libc'].values[0][0]}" in everything


def test_this_machine_has_a_processor_and_a_system() -> None:
    told = facts.flat(host())
    assert told["processor"] not in {"", "unknown"}
    assert told["system"]
    assert told["memory"].endswith("GiB")


def test_differences_are_marked_by_what_they_can_change() -> None:
    cpu = {"model": "x", "units": ["y"], "smt": True, "governor": None}
    found = rows(a=host(cpu=cpu, rsync="0.1", cores=4096), b=host())
    effects = {name: row.effect for name, row in found.items() if not row.equal}
    assert effects.items() >= {"processor": "results", "vector units": "results", "cores": "times"}.items()
    assert effects["rsync"] == "nothing"
    assert not any("rsync" in line for line in facts.lines(list(found.values())))


def test_what_is_not_there_is_a_value_too() -> None:
    images = {"images": {"images": {"x:1": None}}}
    other = {"images": {"images": {"x:1": {"print": "ab" * 32}}}}
    data = {"datasets": {"folders": {"/d": {"digest": "cd" * 32, "marked": True}}}}
    found = rows(a={**images, **data}, b={**other, "datasets": {"folders": {"/d": {"digest": "", "marked": False}}}})
    assert str(found["image x:1"]) == "image x:1: a: not there; b: abababababab (may change results)"
    assert str(found["dataset /d"]) == "dataset /d: a: cdcdcdcdcdcd; b: not there (may change results)"
    absent = rows(a=environment(dep="1"), b={"environment": {"environment": {"state": "absent"}}})
    assert absent["environment"].values[1] == ("absent", ("b",))
    assert absent["package dep"].values[1] == ("unknown", ("b",))


def test_many_packages_are_counted_and_few_are_named() -> None:
    few = rows(a=environment(one="1", two="1"), b=environment(one="1", two="2"))
    assert any(
        "package two: a: 1 (abababababab); b: 2 (abababababab)" in line for line in facts.lines(list(few.values()))
    )
    many = rows(a=environment(**dict.fromkeys("cdefg", "1")), b=environment(**dict.fromkeys("cdefg", "2")))
    told = list(facts.lines(list(many.values())))
    assert told[-1] == "odd   5 packages differ (may change results); --matrix names them"
    assert len(list(facts.lines(list(many.values()), everything=True))) == len(many)


def test_only_commands_that_compare_tell_of_odd_nodes() -> None:
    report = Report((NodeReport("a", facts=host(cores=4)), NodeReport("b", facts=host(cores=8)), NodeReport("c")))
    assert list(odd(report, "check")) == ["odd   cores: a: 4; b: 8 (may change run times)"]
    assert list(odd(report, "sync-datasets")) == []
    told = json.loads(matrix_document(report))
    assert told["schema"] == "timeeval.matrix/1"
    cores = next(row for row in told["facts"] if row["fact"] == "cores")
    values = [{"value": "4", "nodes": ["a"]}, {"value": "8", "nodes": ["b"]}]
    assert cores == {"fact": "cores", "changes": "times", "equal": False, "values": values}


def test_steps_between_two_looks_come_in_the_order_of_their_weight() -> None:
    before, after = {"rsync": "3.2", "kernel": "6.1", "boot": "a"}, {"kernel": "6.2", "python": "3.11", "boot": "b"}
    assert [(s.fact, s.before, s.after) for s in facts.steps(before, after)] == [
        ("python", None, "3.11"),
        ("kernel", "6.1", "6.2"),
        ("rsync", "3.2", None),
        ("boot", "a", "b"),
    ]
    assert "boot" not in {step.fact for step in facts.steps(before, after, own=False)}
