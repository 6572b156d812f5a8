"""Environments that others made: verified in place, equal on all nodes, and not one byte of them changes."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from environment_lab import MINOR, Lab

from provisioning.node import adopted, look, venvs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return an environment as a person might have made it."""
    root = tmp_path_factory.mktemp("model")
    (root / "index").mkdir()
    with pytest.MonkeyPatch.context() as own:
        own.setenv("XDG_CACHE_HOME", str(root / "cache"))
        own.setenv("PIP_NO_INDEX", "1")
        own.setenv("PIP_FIND_LINKS", str(root / "index"))
        own.setenv("PIP_CONFIG_FILE", os.devnull)
        lab = Lab(root)
        lab.make()
    shutil.rmtree(lab.prefix / venvs.MARKER)
    for folder in list(lab.prefix.rglob("__pycache__")):
        shutil.rmtree(folder)
    return root


@pytest.fixture
def lab(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(model / "cache"))
    (tmp_path / "index").mkdir()
    lab = Lab(tmp_path)
    lab.fields = {"manage": False}
    shutil.copytree(model / "srv" / "envs" / "demo", lab.prefix, symlinks=True)
    return lab


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        content = b"" if path.is_symlink() or path.is_dir() else path.read_bytes()
        found[str(path.relative_to(folder))] = (path.lstat().st_mtime_ns, hashlib.sha256(content).hexdigest())
    return found


def messages(difference) -> str:
    assert not difference.changes
    return " | ".join(finding.message for finding in difference.findings)


def test_it_is_verified_and_nothing_below_its_prefix_changes(lab):
    before = contents(lab.prefix)
    observed, desired, difference = lab.look()
    assert difference.empty
    assert messages(difference) == ""
    assert observed["environment"]["state"] == "adopted"
    assert lab.look(deep=True)[2].empty
    asked = {"prefix": str(lab.prefix), "adopted": lab.cluster.environment.adoption(lab.cluster.state)}
    seen = look._environment(Path(asked["prefix"]), asked["adopted"])
    assert seen["identity"] == observed["environment"]["identity"]
    assert desired.houses == {}
    assert contents(lab.prefix) == before
    assert lab.resource.folders(lab.cluster) == ()


def test_a_file_is_read_once_until_it_changes(lab, monkeypatch):
    lab.look()
    read = []
    digest = venvs.digest_of
    monkeypatch.setattr(venvs, "digest_of", lambda path, promise: read.append(path.name) or digest(path, promise))
    lab.look()
    assert read == []
    victim = lab.packages() / "dep" / "__init__.py"
    before = victim.stat()
    victim.write_bytes(victim.read_bytes().replace(b"1.0", b"6.6"))
    assert "dep/__init__.py was changed after it was installed" in messages(lab.look()[2])
    assert read == ["__init__.py"]
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    question = lab.resource.question(lab.cluster, lab.node, None)["adopted"]
    assert adopted.look(lab.prefix, question[0], Path(question[1]), deep=True)["edited"]


def test_a_file_that_is_gone_is_named(lab):
    (lab.packages() / "pkg" / "__init__.py").unlink()
    assert "pkg/__init__.py is missing" in messages(lab.look()[2])


def test_versions_are_compared_with_the_lock(lab):
    lab.lock.write_text("dep==2.0 --hash=sha256:00\nother>=1 ; python_version < '3'\nmore\n")
    said = messages(lab.look()[2])
    assert "dep 1.0 is there, dep==2.0 is asked for" in said
    assert "more is not there" in said
    assert "other" not in said


def test_a_local_project_must_be_the_one_on_this_machine(lab):
    (lab.project / "pkg" / "__init__.py").write_text("answer = 43\n")
    assert "mine==1.0 there is not the project on this machine" in messages(lab.look()[2])


def test_a_node_that_differs_from_most_is_named_with_what_differs(lab):
    observed, _, _ = lab.look()
    installed = dict(observed["environment"]["installed"])
    odd = {**installed, "dep==1.0": "other", "strange==1.0": "x"}
    odd.pop("mine==1.0")
    other = {**observed, "environment": {**observed["environment"], "installed": odd, "identity": "odd"}}
    facts = {"a": {"environment": observed}, "b": {"environment": observed}, "c": {"environment": other}}
    lab.fields["projects"] = ()
    desired = lab.resource.desired(lab.cluster, facts, None)
    assert lab.resource.difference(lab.cluster, lab.node, observed, desired).empty
    said = messages(lab.resource.difference(lab.cluster, lab.node, other, desired))
    assert (
        "differs from that of 2 of 3 nodes: it has dep==1.0 with other files, strange==1.0; they have mine==1.0" in said
    )


def test_stray_files_in_site_packages_count(lab):
    before = lab.look()[0]["environment"]["identity"]
    (lab.packages() / "sitecustomize.py").write_text("import os\n")
    assert lab.look()[0]["environment"]["identity"] != before


def test_what_reaches_out_of_the_prefix_is_named(lab):
    info = lab.packages() / "dep-1.0.dist-info"
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///home/me/dep", "dir_info": {"editable": True}}))
    config = lab.prefix / "pyvenv.cfg"
    config.write_text(
        config.read_text().replace("include-system-site-packages = false", "") + "include-system-site-packages = true\n"
    )
    (info / "RECORD").unlink()
    said = messages(lab.look()[2])
    assert "dep is imported from outside" in said
    assert "also sees the packages of" in said
    assert "no RECORD tells the files of dep" in said


def test_a_link_to_an_environment_is_followed(lab, tmp_path):
    lab.prefix.rename(tmp_path / "real")
    lab.prefix.symlink_to(tmp_path / "real")
    assert lab.look()[2].empty


def test_what_is_no_environment_of_that_version_is_said(lab, tmp_path):
    assert adopted.look(lab.prefix, "3.1", tmp_path / "note")["why"].endswith("not Python 3.1")
    shutil.rmtree(lab.prefix)
    assert "there is no environment at" in messages(lab.look()[2])
    (lab.prefix / "bin").mkdir(parents=True)
    assert "bin/python does not start" in messages(lab.look()[2])
    (lab.prefix / "bin" / "python").symlink_to("/bin/false")
    assert "bin/python does not start: status 1" in messages(lab.look()[2])


def test_conda_packages_count_and_their_files_are_proven(lab):
    library = lab.prefix / "lib" / "libblas.so"
    library.write_bytes(b"blas")
    digest = hashlib.sha256(b"blas").hexdigest()
    (lab.prefix / "conda-meta").mkdir()
    (lab.prefix / "lib" / "python3.1").symlink_to(f"python{MINOR}")
    paths = [
        {"_path": "lib/libblas.so", "path_type": "hardlink", "sha256": "00", "sha256_in_prefix": digest},
        {"_path": "lib/libcblas.so", "path_type": "softlink", "sha256": digest},
    ]
    meta = {"name": "libblas", "version": "3.9", "build": "mkl", "paths_data": {"paths": paths}}
    (lab.prefix / "conda-meta" / "libblas-3.9-mkl.json").write_text(json.dumps(meta))
    observed, _, difference = lab.look()
    assert difference.empty
    assert "conda:libblas==3.9=mkl" in observed["environment"]["installed"]
    library.write_bytes(b"slab")
    assert "lib/libblas.so was changed" in messages(lab.look()[2])


def test_a_run_leaves_no_byte_code_there(lab):
    before = contents(lab.prefix)
    from timeeval.cluster import make_engine

    lab.look()
    engine = make_engine(lab.cluster, [lab.node], "r", results_path=Path("r"))
    environment = engine._settings.all_environment()
    python = str(lab.prefix / "bin" / "python")
    subprocess.run([python, "-c", "import dep, pkg"], env={**os.environ, **environment}, check=True)
    assert contents(lab.prefix) == before
