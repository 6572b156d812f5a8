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
from typing import Dict, Iterable

from provisioning.node import records
from provisioning.node.tree import safe_path

# 1980-01-01, the first moment an entry of a zip archive can have
TIME = 315532800

_HEAD = 16

Laid = Dict[str, Dict[str, int]]


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


def lay_out(bundles: Iterable[Path], scratch: Path) -> Laid:
    """Unpack byte code into a folder of its own: there may be nothing yet that it could lie beside.

    Returns
    -------
    dict
        Path of a ``__pycache__`` folder -> name of a file in it -> bytes of its source.
    """
    laid: Laid = {}
    for bundle in bundles:  # threads would only wait for each other here
        with zipfile.ZipFile(str(bundle)) as archive:
            for info in archive.infolist():
                folder, _, name = safe_path(info.filename).rpartition("/")
                content = archive.read(info)
                if folder not in laid:
                    laid[folder] = {}
                    (scratch / folder).mkdir(parents=True, exist_ok=True)
                (scratch / folder / name).write_bytes(content)
                laid[folder][name] = int.from_bytes(content[_HEAD - 4 : _HEAD], "little")
    return laid


def place(laid: Laid, scratch: Path, site_packages: Path) -> None:
    """Move byte code that was laid out on the same file system beside its sources, and set the time it names.

    What has a source of another length stays where it is.
    """
    for folder, sizes in laid.items():
        above = (site_packages / folder).parent
        sources = {name: above / (name.rsplit(".", 2)[0] + ".py") for name in sizes}
        fits = [name for name, size in sizes.items() if sources[name].stat().st_size == size]
        if len(fits) == len(sizes) and not (site_packages / folder).exists():
            (scratch / folder).rename(site_packages / folder)
        elif fits:
            (site_packages / folder).mkdir(exist_ok=True)
            for name in fits:
                (scratch / folder / name).rename(site_packages / folder / name)
        for name in fits:
            os.utime(str(sources[name]), (TIME, TIME))


def main() -> None:
    """Compile the wheels of [[wheel, archive], ...] on standard input."""
    warnings.simplefilter("ignore")
    for wheel, target in json.load(sys.stdin):
        pack(Path(wheel), Path(target))


if __name__ == "__main__":
    main()
