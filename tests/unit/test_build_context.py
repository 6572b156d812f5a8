"""Build contexts: what is sent to the engine, and that only content decides its digest."""

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import UsageError
from provisioning.node.docker import plain, same
from provisioning.resources.images import context


def make(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def packed(folder):
    stream = io.BytesIO()
    context.pack(folder, stream)
    return stream


def test_equal_content_gives_equal_bytes_whatever_the_checkout(tmp_path):
    files = {"Dockerfile": "FROM scratch\n", "b/main.py": "x", "a.txt": "y"}
    one, other = make(tmp_path / "one", files), make(tmp_path / "other", dict(reversed(files.items())))
    os.utime(other / "a.txt", (1, 1))
    (other / "a.txt").chmod(0o600)
    assert packed(one).getvalue() == packed(other).getvalue()
    assert context.digest(packed(one), {"base": "1"}) == context.digest(packed(other), {"base": "1"})
    (other / "a.txt").chmod(0o755)
    assert packed(one).getvalue() != packed(other).getvalue()


def test_another_base_is_another_image(tmp_path):
    folder = make(tmp_path, {"Dockerfile": "FROM base\n"})
    assert context.digest(packed(folder), {"base": "1"}) != context.digest(packed(folder), {"base": "2"})


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", {"a.py", "sub/b.py", "sub/deep/c.log", "notes.md", ".dockerignore"}),
        ("*.md\n", {"a.py", "sub/b.py", "sub/deep/c.log", ".dockerignore"}),
        ("sub\n", {"a.py", "notes.md", ".dockerignore"}),
        ("/sub/\n", {"a.py", "notes.md", ".dockerignore"}),
        ("**/*.log\n", {"a.py", "sub/b.py", "notes.md", ".dockerignore"}),
        ("*.py\n", {"sub/b.py", "sub/deep/c.log", "notes.md", ".dockerignore"}),
        ("# all\n*\n!sub/b.py\n", {"sub/b.py"}),
        ("?.py\nDockerfile\n", {"sub/b.py", "sub/deep/c.log", "notes.md", ".dockerignore"}),
    ],
)
def test_dockerignore_leaves_out_what_it_says(tmp_path, rules, left):
    names = ("a.py", "sub/b.py", "sub/deep/c.log", "notes.md")
    make(tmp_path, {"Dockerfile": "FROM scratch\n", ".dockerignore": rules, **dict.fromkeys(names, "x")})
    assert set(context.files(tmp_path)) == left | {"Dockerfile"}


def test_links_travel_as_links(tmp_path):
    make(tmp_path, {"Dockerfile": "FROM scratch\n", "real.txt": "x"})
    (tmp_path / "link.txt").symlink_to("real.txt")
    stream = packed(tmp_path)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        assert archive.getmember("link.txt").linkname == "real.txt"


def test_a_folder_without_dockerfile_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no Dockerfile"):
        context.files(tmp_path)


def test_bases_are_images_and_not_stages_or_arguments():
    text = (
        "ARG X\nFROM --platform=linux/amd64 python:3.11 AS build\nFROM build as more\n"
        "FROM host:5000/base\nFROM $X\nFROM scratch\nfrom python:3.11\n"
    )
    assert context.bases(text) == ("python:3.11", "host:5000/base:latest")


@given(
    st.lists(st.sampled_from(["*", "**", "**/", "?", "a", "b", ".", "[", "(", "\\", "/", " "]), min_size=1).map("".join)
)
def test_a_pattern_without_wildcards_matches_its_own_name_alone(line):
    pattern = context._pattern(line)
    if not set(line) & set("*?") and not line.startswith("./"):
        assert pattern.match(line)
        assert pattern.match(line + "/below")
        assert not pattern.match(line + "x")


def test_images_are_the_same_by_id_or_across_stores_by_content():
    wanted = {"id": "sha256:1", "print": "p", "store": "classic"}
    assert same({"id": "sha256:1", "print": "q"}, wanted, "classic")
    assert not same({"id": "sha256:2", "print": "p"}, wanted, "classic")
    assert same({"id": "sha256:2", "print": "p"}, wanted, "containerd")
    assert not same({"id": "sha256:2", "print": "q"}, wanted, "containerd")
    assert not same(None, wanted, "classic")
    assert plain("docker.io/library/a:1") == "a:1"
