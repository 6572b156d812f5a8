"""Catalogues made from folders of algorithm repositories."""

import json

import numpy as np
import pytest

from timeeval.algorithms import load, manifests
from timeeval.algorithms.manifests import AlgorithmLoader

MANIFEST = {
    "title": "Demo",
    "description": "A demo",
    "version": "0.3.0",
    "inputDimensionality": "Multivariate",
    "learningType": "Semi-Supervised",
    "trainingStep": {"parameters": [{"name": "a", "type": "int", "optional": "true", "defaultValue": 1}]},
    "executionStep": {
        "parameters": [
            {"name": "a", "type": "float", "optional": "true", "defaultValue": 2, "description": "later"},
            {"name": "b", "type": "boolean", "defaultValue": "False", "description": "A flag"},
        ]
    },
}
POST = (
    "# Demo\n<!--BEGIN:timeeval-post-->\n  ```python\n  import numpy as np\n\n"
    "  def post_demo(scores, args):\n      return np.zeros_like(scores)\n  ```\n<!--END:timeeval-post-->\n"
)


def algorithm(folder, name="demo", manifest=MANIFEST, readme=POST):
    (folder / name).mkdir()
    if manifest is not None:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        (folder / name / "manifest.json").write_text(text, encoding="utf-8")
    if readme is not None:
        (folder / name / "README.md").write_text(readme, encoding="utf-8")
    return folder


def test_details(tmp_path):
    algorithm(tmp_path)
    for ignored in (".git", "data", "results", "0-base-images"):
        (tmp_path / ignored).mkdir()
    loader = AlgorithmLoader(tmp_path)
    assert loader.algorithm_names == ["demo"]
    detail = loader.algo_detail("demo")
    block = detail.pop("post_process_block")
    assert block.startswith("import numpy as np\n\ndef post_demo(scores, args):\n    return")
    assert detail == {
        "name": "demo",
        "display_name": "Demo",
        "description": "A demo",
        "training_type": "semi-supervised",
        "input_dimensionality": "multivariate",
        "version": "0.3.0",
        "params": {
            "a": {"name": "a", "type": "int", "defaultValue": 1, "description": ""},
            "b": {"name": "b", "type": "boolean", "defaultValue": "False", "description": "A flag"},
        },
        "available": True,
        "post_function_name": "post_demo",
    }
    (tmp_path / "demo" / "AVAILABILITY.md").touch()
    assert not AlgorithmLoader(tmp_path).algo_detail("demo")["available"]


def test_the_printed_catalogue_can_be_loaded(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    manifests.main([str(algorithm(tmp_path / "folder", "my-demo")), "--image-prefix", "lab/"])
    path = tmp_path / "catalogue.json"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    made = load(path).my_demo()
    assert made.main.image == "lab/my-demo:0.3.0"
    assert made.postprocess(np.ones(3), {}).tolist() == [0, 0, 0]
    assert made.param_schema["b"]["defaultValue"] == "False"


@pytest.mark.parametrize(
    ("manifest", "readme", "kind"),
    [
        (None, POST, manifests.MissingManifestWarning),
        (MANIFEST, None, manifests.MissingReadmeWarning),
        ("{", POST, manifests.InvalidManifestWarning),
        ("[]", POST, manifests.InvalidManifestWarning),
        ({**MANIFEST, "learningType": "none"}, POST, manifests.InvalidManifestWarning),
        *(
            ({k: v for k, v in MANIFEST.items() if k != key}, POST, manifests.InvalidManifestWarning)
            for key in ("title", "learningType", "inputDimensionality")
        ),
    ],
)
def test_what_cannot_be_used_is_left_out_with_a_warning(tmp_path, manifest, readme, kind):
    loader = AlgorithmLoader(algorithm(tmp_path, manifest=manifest, readme=readme))
    with pytest.warns(kind, match="left out"):
        assert loader.all_algorithms == []


@pytest.mark.parametrize("readme", ["```python\nprint()\n```\n", POST.replace("def post_demo(scores, args)", "x = 1")])
def test_code_that_is_no_post_processing_is_named(tmp_path, readme):
    loader = AlgorithmLoader(algorithm(tmp_path, readme=readme))
    with pytest.warns(manifests.AlgorithmManifestLoadingWarning, match="no post-processing"):
        assert "post_function_name" not in loader.algo_detail("demo")


def test_a_folder_is_needed(tmp_path, capsys):
    with pytest.raises(ValueError, match="is not a folder"):
        AlgorithmLoader(tmp_path / "none")
    with pytest.raises(SystemExit, match="2"):
        manifests.main([str(tmp_path / "none")])
    assert "is not a folder" in capsys.readouterr().err
