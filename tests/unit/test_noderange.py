import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import UsageError
from provisioning.noderange import expand, fold, split

names = st.lists(
    st.from_regex(r"[a-z]{0,3}[0-9]{1,3}(\.[a-z]{1,3}[0-9]{0,2})?", fullmatch=True) | st.sampled_from(["gpu", "a.b"]),
    max_size=30,
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("node1", ["node1"]),
        ("node[08-11].lab", ["node08.lab", "node09.lab", "node10.lab", "node11.lab"]),
        ("node[8-11]", ["node8", "node9", "node10", "node11"]),
        ("n[1,3-4],gpu1", ["n1", "n3", "n4", "gpu1"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("10.0.0.[9-10]", ["10.0.0.9", "10.0.0.10"]),
        ("", []),
    ],
)
def test_expand(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected


@pytest.mark.parametrize(
    "pattern", ["n[", "n]", "n[a]", "n[]", "n[3-1]", "n[1-]", "n[[1]]", "n[0-99999999]", "n[1-999]" * 3]
)
def test_what_is_no_range_is_refused_with_a_remedy(pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand(pattern)
    assert caught.value.remedy


@given(names)
def test_expand_undoes_fold(some: list[str]) -> None:
    folded = fold(some)
    assert set(expand(folded)) == set(some)
    assert len(expand(folded)) == len(set(some))


@given(names)
def test_folding_is_idempotent(some: list[str]) -> None:
    assert fold(expand(fold(some))) == fold(some)


def test_fold_reads_well() -> None:
    assert fold(f"node{number:02}.lab" for number in [1, 2, 3, 9, 10, 11]) == "node[01-03,09-11].lab"
    assert fold(["rack1n1", "rack1n2", "rack2n1", "rack2n2", "gpu"]) == "rack[1-2]n[1-2],gpu"


def test_commas_inside_brackets_do_not_split() -> None:
    assert split(" node[01-03,07] , gpu1,,") == ["node[01-03,07]", "gpu1"]
