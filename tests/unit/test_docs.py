"""The snippets of docs/ run as they stand; those that need a cluster or an image are checked to be Python."""

from __future__ import annotations

import re
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SNIPPET = re.compile(r"^```python( cluster)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)?(?:#([^)]+))?\)")
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
WITH_SNIPPETS = [page for page in PAGES if SNIPPET.search((DOCS / page).read_text(encoding="utf-8"))]


def snippets(page: str) -> Iterator[tuple[types.CodeType, bool]]:
    """Yield the compiled snippets of a page and whether they can run here; lines are those of the page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in SNIPPET.finditer(text):
        line = text.count("\n", 0, found.start(2))
        yield compile("\n" * line + found[2], str(DOCS / page), "exec"), found[1] is None


def run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page's snippets one after the other, as one script."""
    script = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)
    for code, runs_here in snippets(page):
        if runs_here:
            exec(code, script.__dict__)  # noqa: S102 - our own pages


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that docs/datasets.md makes, which the other pages use."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        run("datasets.md", monkeypatch)
    return folder / "data"


def test_the_concepts_have_pages_with_snippets() -> None:
    concepts = "algorithms datasets distributed docker-algorithm experiments heuristics metrics parameters"
    assert set(WITH_SNIPPETS) >= {f"{concept}.md" for concept in concepts.split()}


@pytest.mark.parametrize("page", WITH_SNIPPETS)
@pytest.mark.timeout(180)  # some evaluate, in processes of their own
def test_snippets_do_what_they_say(page: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "datasets.md":
        return assert_made(data)
    shutil.copytree(data, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return run(page, monkeypatch)


def assert_made(data: Path) -> None:
    assert sorted(path.name for path in data.iterdir()) == [
        "bump.test.csv",
        "datasets.csv",
        "flat.test.csv",
        "noisy.test.csv",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in LINK.findall((DOCS / page).read_text(encoding="utf-8")):
        path = DOCS / (target or page)
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
