"""What provisioning asks of an experiment, by running `timeeval-run EXPERIMENT --needs` in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioning.commands import needs_of
from provisioning.errors import UsageError
from provisioning.inventory import Cluster, load

DATA = Path(__file__).resolve().parents[2] / "examples" / "data" / "nab"
SCRIPT = """
from timeeval import Algorithm, DatasetManager, TimeEval
from timeeval.adapters import DockerAdapter
datasets = DatasetManager("/somewhere/on/nodes", create_if_missing=False)
algorithm = Algorithm("a", DockerAdapter("team/image", tag="3"), data_as_file=True)
TimeEval(datasets, [("NAB-realTraffic", "speed_6005")], [algorithm], distributed=True).run()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    file = tmp_path / "cluster.toml"
    file.write_text(
        '[cluster]\nname = "lab"\nhosts = ["node1"]\nresults = "/srv/results"\n'
        f'[[datasets]]\nsource = "{DATA}"\npath = "/somewhere/on/nodes"\n'
        '[environment]\nprefix = "/srv/env"\npython = "3.11"\nrequirements = []\nprojects = []\n',
        encoding="utf-8",
    )
    return load(file)


def test_a_script_tells_its_datasets_and_images(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    needs = needs_of(script, cluster)
    assert needs.images == ("team/image:3",)
    (need,) = needs.datasets
    assert str(need.path) == "/somewhere/on/nodes"
    assert need.files == ("NAB-realTraffic/speed_6005.test.csv",)


def test_a_script_that_fails_is_named_with_its_error(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text('raise ValueError("boom")', encoding="utf-8")
    with pytest.raises(UsageError, match=r"broken\.py cannot say what it needs: ValueError: boom") as failure:
        needs_of(script, cluster)
    assert "Traceback" in (failure.value.details or "")


def test_a_script_that_is_missing_is_named(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no experiment .*nowhere\.py"):
        needs_of(tmp_path / "nowhere.py", cluster)
