"""Byte code that travels: compiled once from a wheel on the driver, unpacked beside the sources on every node.

Python takes byte code for current when it names the size and the time of change of its source. Sources that come with
byte code therefore get one fixed time everywhere; who edits one later changes its time, and Python compiles it anew.

Standard library, Python >= 3.8; ``python -m provisioning.node.bytecode`` compiles what its standard input lists.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Iterable

from provisioning.node import records
from provisioning.node.tree import safe_path

# 1980-01-01, the first moment an entry of a zip archive can have
TIME = 315532800

_HEAD = 16


def pack(wheel: Path, target: Path) -> None:
    """Compile the modules in a wheel into an archive of what has to lie in site-packages.

    What does not compile is left out, as installers do: templates and tests of old syntax.
    """
    tag = sys.implementation.cache_tag
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.comment = importlib.util.MAGIC_NUMBER.hex().encode()
        for info in source.infolist():
            path = records.installed_path(info.filename)
            if path is None or not path.endswith(".py") or path.startswith("../"):
                continue
            text = source.read(info)
            try:
                code = compile(text, path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError):
                continue
            folder, _, name = path.rpartition("/")
            place = "%s__pycache__/%s.%s.pyc" % (folder + "/" if folder else "", name[:-3], tag)
            head = importlib.util.MAGIC_NUMBER + b"".join(n.to_bytes(4, "little") for n in (0, TIME, len(text)))
            made.writestr(zipfile.ZipInfo(place, (1980, 1, 1, 0, 0, 0)), head + marshal.dumps(code), compress_type=8)


def magic_of(bundle: Path) -> str:
    """Return the number (hex) of the byte code in an archive: interpreters of one minor version share it."""
    with zipfile.ZipFile(bundle) as archive:
        return archive.comment.decode("ascii", "replace")


def unpack(bundles: Iterable[Path], site_packages: Path) -> None:
    """Put byte code beside its sources, and give these the time that it names."""
    for bundle in bundles:  # threads would only wait for each other here
        _unpack(bundle, site_packages)


def _unpack(bundle: Path, site_packages: Path) -> None:
    made = set()
    with zipfile.ZipFile(bundle) as archive:
        for info in archive.infolist():
            place = site_packages / safe_path(info.filename)
            folder = place.parent
            source = folder.parent / (place.name.rsplit(".", 2)[0] + ".py")
            content = archive.read(info)
            if folder not in made:
                folder.mkdir(exist_ok=True)
                made.add(folder)
            if source.stat().st_size == int.from_bytes(content[_HEAD - 4 : _HEAD], "little"):
                place.write_bytes(content)
                os.utime(str(source), (TIME, TIME))


def main() -> None:
    """Compile the wheels of [[wheel, archive], ...] on standard input."""
    warnings.simplefilter("ignore")
    for wheel, target in json.load(sys.stdin):
        pack(Path(wheel), Path(target))


if __name__ == "__main__":
    main()
