"""From a folder of algorithm repositories to a catalogue.

::

    python -m timeeval.algorithms.manifests FOLDER [--image-prefix ghcr.io/timeeval/] > catalogue.json

Each algorithm is a sub-folder with ``manifest.json`` and ``README.md``. The README may hold the function that makes
point scores of the image's output: a fenced code block between ``<!--BEGIN:timeeval-post-->`` and
``<!--END:timeeval-post-->``. What cannot be read is left out with a warning.
`timeeval.algorithms.load` reads the result.
"""

import argparse
import json
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from timeeval.algorithms.entries import DIMENSIONALITIES, TRAINING_TYPES, Entry, Parameter, write_entries

#: Sub-folders that are no algorithms.
IGNORED: Final = frozenset({"results", "data", "scripts", "0-base-images", "1-intermediate-images", "2-scripts"})

_MARKED = re.compile(r"<!--BEGIN:timeeval-post-->(.*?)<!--END:timeeval-post-->", re.DOTALL)
_FENCED = re.compile(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"^def\s+(\w+)", re.MULTILINE)


class AlgorithmManifestLoadingWarning(RuntimeWarning):
    """An algorithm's folder holds something that cannot be used."""


class MissingManifestWarning(AlgorithmManifestLoadingWarning):
    """A folder has no ``manifest.json``."""


class MissingReadmeWarning(AlgorithmManifestLoadingWarning):
    """A folder has no ``README.md``."""


class InvalidManifestWarning(AlgorithmManifestLoadingWarning):
    """A ``manifest.json`` is not JSON, or lacks what a catalogue needs."""


class AlgorithmLoader:
    """Reads the algorithms of a folder, when they are first asked for.

    Parameters
    ----------
    timeeval_algorithms_path
        Folder whose sub-folders are algorithms.

    Raises
    ------
    ValueError
        If it is not a folder.
    """

    def __init__(self, timeeval_algorithms_path: str | Path) -> None:
        self.path = Path(timeeval_algorithms_path)
        if not self.path.is_dir():
            msg = f"{self.path} is not a folder; give the one whose sub-folders hold manifest.json and README.md."
            raise ValueError(msg)

    @cached_property
    def _details(self) -> dict[str, dict[str, Any]]:
        return dict(self._read())

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for folder in sorted(self.path.iterdir()):
            if not folder.is_dir() or folder.name.startswith(".") or folder.name in IGNORED:
                continue
            manifest, readme = self._parse_manifest(folder), self._parse_readme(folder)
            if manifest is not None and readme is not None:
                available = not (folder / "AVAILABILITY.md").exists()
                yield folder.name, {"name": folder.name, **manifest, "available": available, **readme}

    @property
    def algorithm_names(self) -> list[str]:
        """Names of the folders, sorted."""
        return list(self._details)

    @property
    def all_algorithms(self) -> list[dict[str, Any]]:
        """Details of all algorithms, by name."""
        return list(self._details.values())

    def algo_detail(self, algo_name: str) -> dict[str, Any]:
        """Return what is known of one algorithm.

        Returns
        -------
        dict
            ``name``, ``display_name``, ``description``, ``training_type``, ``input_dimensionality``, ``version``,
            ``params`` (schema by parameter name), ``available`` and, if the README has one, ``post_function_name`` and
            ``post_process_block``.

        Raises
        ------
        KeyError
            If there is no such algorithm.
        """
        return self._details[algo_name]

    def _parse_manifest(self, folder: Path) -> dict[str, Any] | None:
        path = folder / "manifest.json"
        if not path.is_file():
            _warn(MissingManifestWarning, f"{folder.name}: there is no manifest.json, the folder is left out")
            return None
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            return {
                "display_name": manifest["title"],
                "description": manifest.get("description", ""),
                "training_type": _one_of(manifest, "learningType", TRAINING_TYPES),
                "input_dimensionality": _one_of(manifest, "inputDimensionality", DIMENSIONALITIES),
                "version": manifest.get("version", "latest"),
                "params": _parameters(manifest),
            }
        except KeyError as error:
            fault = f"{error.args[0]!r} is missing"
        except (ValueError, TypeError, AttributeError) as error:
            fault = str(error)
        _warn(InvalidManifestWarning, f"{path}: {fault}; the algorithm is left out")
        return None

    def _parse_readme(self, folder: Path) -> dict[str, Any] | None:
        path = folder / "README.md"
        if not path.is_file():
            _warn(MissingReadmeWarning, f"{folder.name}: there is no README.md, the folder is left out")
            return None
        text = path.read_text(encoding="utf-8")
        marked = _MARKED.search(text)
        if marked is None:
            if _FENCED.search(text):
                _warn(
                    AlgorithmManifestLoadingWarning,
                    f"{path} has code, but none between <!--BEGIN:timeeval-post--> and <!--END:timeeval-post-->: "
                    "the algorithm has no post-processing",
                )
            return {}
        block = _FENCED.search(marked[1])
        code = textwrap.dedent(block[1]).strip() if block else ""
        function = _FUNCTION.search(code)
        if function is None:
            _warn(
                AlgorithmManifestLoadingWarning,
                f"{path}: no fenced function stands between the markers: the algorithm has no post-processing",
            )
            return {}
        return {"post_function_name": function[1], "post_process_block": code}


def _warn(kind: type[AlgorithmManifestLoadingWarning], message: str) -> None:
    warnings.warn(message, kind, stacklevel=4)


def _one_of(manifest: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = str(manifest[key]).lower()
    if value not in choices:
        raise ValueError(f"{key!r} must be one of {', '.join(choices)}, but is {manifest[key]!r}")
    return value


def _parameters(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of training, then those of execution; the first of a name wins."""
    found: dict[str, dict[str, Any]] = {}
    for step in ("trainingStep", "executionStep"):
        for parameter in (manifest.get(step) or {}).get("parameters", []):
            schema = {key: parameter[key] for key in ("name", "type", "defaultValue")}
            found.setdefault(parameter["name"], {**schema, "description": parameter.get("description", "")})
    return found


def entries(loader: AlgorithmLoader, image_prefix: str = "ghcr.io/timeeval/") -> tuple[Entry, ...]:
    """Return the catalogue entries of a folder's algorithms.

    Parameters
    ----------
    loader
        The folder.
    image_prefix
        What stands before the folder's name in the name of its image.
    """
    return tuple(
        Entry(
            function=re.sub(r"\W", "_", detail["name"]),
            name=detail["display_name"],
            image=image_prefix + detail["name"],
            tag=detail["version"],
            training_type=detail["training_type"],
            input_dimensionality=detail["input_dimensionality"],
            parameters=tuple(
                Parameter(p["name"], p["type"], p["defaultValue"], p["description"]) for p in detail["params"].values()
            ),
            postprocess=detail.get("post_function_name"),
            postprocess_source=detail.get("post_process_block"),
            image_published=detail["available"],
        )
        for detail in loader.all_algorithms
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the catalogue of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m timeeval.algorithms.manifests", description="Print the catalogue of a folder of algorithms."
    )
    parser.add_argument("folder", help="its sub-folders hold manifest.json and README.md")
    parser.add_argument("--image-prefix", default="ghcr.io/timeeval/", help="stands before the names of images")
    given = parser.parse_args(arguments)
    try:
        loader = AlgorithmLoader(given.folder)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(write_entries(entries(loader, given.image_prefix)))


if __name__ == "__main__":
    main()
