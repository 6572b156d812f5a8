"""The user's own modules travel with the script; others have to be installed on the nodes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Commands


EXPERIMENTS = Path(__file__).parent / "experiments"
OWN = EXPERIMENTS / "own_modules"


def test_a_package_beside_the_script_runs_on_nodes_that_do_not_have_it(
    provisioned: Path, commands: Commands, tmp_path: Path
) -> None:
    done = commands.run("timeeval-run", OWN / "run.py", "--cluster", provisioned, "--results", tmp_path, seconds=150)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.iterdir()
    table = (folder / "results.csv").read_text(encoding="utf-8")
    assert table.count("Status.OK") == 3, table
    (run,) = json.loads((folder / "run.json").read_text(encoding="utf-8"))["runs"]
    below = {"methods.deviation", "methods.deep", "methods.deep.helpers", "methods.deep.median"}
    assert run["local_modules"].keys() == {"late", "methods"} | below
    assert run["local_modules"]["late"] == hashlib.sha256((OWN / "late.py").read_bytes()).hexdigest()


def test_a_module_that_the_nodes_lack_is_named_with_what_to_do(
    provisioned: Path, commands: Commands, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    text = (EXPERIMENTS / "slow.py").read_text(encoding="utf-8")
    text = text.replace("import numpy as np", "import pytest\nimport numpy as np")  # the driver has it, nodes do not
    script.write_text(text.replace("time.sleep(SECONDS)", "pytest.approx(SECONDS)"), encoding="utf-8")
    done = commands.run("timeeval-run", script, "--cluster", provisioned, "--results", tmp_path / "r", "--", "0", "1")
    assert done.returncode == 16, done.stdout + done.stderr
    assert "node[1-3]: the environment has no module pytest" in done.stderr
    assert "[environment] requirements" in done.stderr

    text = text.replace("import pytest\n", "").replace("time.sleep(SECONDS)", "import pytest")  # nothing tells before
    script.write_text(text, encoding="utf-8")
    done = commands.run("timeeval-run", script, "--cluster", provisioned, "--results", tmp_path / "r", "--", "0", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    table = next((tmp_path / "r").glob("*/results.csv")).read_text(encoding="utf-8")
    assert "the module pytest cannot be imported here" in table
    assert "[environment] requirements" in table
