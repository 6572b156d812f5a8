"""Layers on the driver as they travel: packed once, known by digest, and as patches against layers a node has."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from provisioning.errors import ProvisionError
from provisioning.kept import cache_folder
from provisioning.manifest import Entry
from provisioning.node import tree
from provisioning.node.layers import short
from provisioning.node.store import sweep
from provisioning.node.zstd import LONG, has_zstd
from provisioning.resources.environment.wheels import has, keep
from provisioning.resources.images.packer import FORMS, Form, packer
from provisioning.resources.images.saving import CHUNK, WrongLayerError

WORTH = 0.7
"""A patch that is larger than this part of the packed layer is not worth making."""
LARGEST = (1 << 31) - (1 << 20)
"""Bytes of the largest layer that a patch reaches into: the window of zstd ends at 2 GiB."""
EFFORT = 1 << 20
"""Bytes of a patch from which on a better one is looked for: seconds here, once, against bytes to every node."""
QUICK = ("-3",)
BETTER = ("-9", "--zstd=chainLog=20,hashLog=20")
"""Level 9 with tables that fit a processor's cache: three fifths of its time, and hardly more bytes."""
HISTORY = 8


class LayerStore:
    """The driver's store of layers, configurations and patches, laid out like the one on the nodes.

    Parameters
    ----------
    folder : Path, optional
        By default a folder in the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "images"

    def __contains__(self, layer: str) -> bool:
        """Return whether a layer is here in any form."""
        return any(self._noted(layer, form) is not None for form in FORMS)

    def raw_size(self, layer: str) -> int | None:
        """Return the bytes of a layer's archive; None when it was never here."""
        note = tree.read_json(str(self._note(layer)))
        return int(note["size"]) if isinstance(note, dict) else None

    def put(
        self,
        layer: str,
        pieces: Iterator[bytes],
        size: int | None = None,
        *,
        tell: Callable[[bytes], None] | None = None,
    ) -> Entry:
        """Pack a layer and return its file.

        Parameters
        ----------
        layer : str
            Digest of what is packed.
        pieces : iterator of bytes
        size : int, optional
            Bytes of all pieces, as far as that is known.
        tell : callable, optional
            Gets the packed bytes while they are made; the longer it takes, the more is made of the time.

        Raises
        ------
        WrongLayerError
            When the pieces do not have the digest `layer`, or another length; nothing is kept then.
        """
        form: Form = "zst" if has_zstd() else "gz"
        digest, count = hashlib.sha256(), 0
        with self._scratch() as scratch:
            file = scratch / _name(layer, form)
            with packer(file, form, tell) as packing:
                for piece in pieces:
                    digest.update(piece)
                    count += len(piece)
                    packing.write(piece)
            if f"sha256:{digest.hexdigest()}" != layer or size not in {None, count}:
                raise WrongLayerError(f"{count} bytes with digest {digest.hexdigest()}")
            entry = keep(file, self.folder)
            self._write(layer, count, form, entry)
            return entry

    def packed(self, layer: str, form: Form) -> Entry:
        """Return a layer's file in one form; packed anew when it is here in the other."""
        found = self._noted(layer, form)
        if found is None:
            with self._scratch() as scratch, self.raw(layer) as raw:
                file = scratch / _name(layer, form)
                with raw.open("rb") as source, packer(file, form) as packing:
                    shutil.copyfileobj(source, packing, CHUNK)
                found = keep(file, self.folder)
                self._write(layer, raw.stat().st_size, form, found)
        return found

    def patch(self, layer: str, basis: str, *, best: bool = False) -> Entry | None:
        """Return what makes `layer` of `basis`; None when that is hardly less than the packed layer itself.

        Parameters
        ----------
        layer, basis : str
        best : bool
            Whether a large one is made again with more effort. Which basis is the better one shows without.
        """
        if best:
            quick = self.patch(layer, basis)
            return quick if quick is None or quick.size <= EFFORT else self._made(layer, basis, BETTER)
        return self._made(layer, basis, QUICK)

    def _made(self, layer: str, basis: str, level: Sequence[str]) -> Entry | None:
        note = self.folder / "notes" / f"{short(basis)}-{short(layer)}{level[0]}.json"
        known = tree.read_json(str(note))
        if isinstance(known, list) and (not known or has(self.folder, Entry(*known))):
            return Entry(*known) if known else None
        with self._scratch() as scratch, self.raw(layer) as new, self.raw(basis) as old:
            file = scratch / f"{layer.removeprefix('sha256:')}.from-{short(basis)}.zst"
            patch = ["zstd", "-q", "-f", *level, f"--patch-from={old}", str(new), "-o", str(file)]
            _run(patch, "making a patch")
            worth = file.stat().st_size < WORTH * self.packed(layer, "zst").size
            entry = keep(file, self.folder) if worth else None
        tree.write_json(str(note), [] if entry is None else [entry.path, entry.size, entry.sha256])
        return entry

    @contextmanager
    def raw(self, layer: str) -> Iterator[Path]:
        """Unpack a layer for as long as it is looked at."""
        with self._scratch() as scratch:
            file = scratch / "layer.tar"
            packed = self._noted(layer, "zst")
            if packed is not None:
                command = ["zstd", "-q", "-d", LONG, str(self.folder / packed.path), "-o", str(file)]
                _run(command, f"unpacking layer {layer}")
            else:
                zipped = self._noted(layer, "gz")
                if zipped is None:
                    raise ProvisionError(f"layer {layer} is gone from {self.folder}", remedy="run the command again")
                with gzip.open(self.folder / zipped.path) as source, file.open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
            yield file

    # --- what belongs to images -----------------------------------------------------------------------------------

    def config(self, image: str) -> str | None:
        """Return the configuration of an image of this id, as it was saved."""
        known = tree.read_json(str(self._config(image)))
        return known if isinstance(known, str) else None

    def put_config(self, image: str, config: bytes) -> None:
        """Keep an image's configuration."""
        self._make_folders()
        tree.write_json(str(self._config(image)), config.decode("utf-8"))

    def stacks(self, name: str) -> list[list[str]]:
        """Return the layers that images of this name had here, the newest first."""
        known = tree.read_json(str(self._history(name)))
        return known if isinstance(known, list) else []

    def remember(self, name: str, layers: Sequence[str]) -> None:
        """Note the layers of the newest image of this name."""
        self._make_folders()
        earlier = [stack for stack in self.stacks(name) if stack != list(layers)]
        tree.write_json(str(self._history(name)), [list(layers), *earlier][:HISTORY])

    def sweep(self, most: int, layers: Iterable[str]) -> list[str]:
        """Remove what was not used for longest, until at most so many bytes are left; return its paths.

        These layers stay in any case. To be called before `shipment.pieces` is asked, never between two times.
        """
        found = [self._noted(layer, form) for layer in layers for form in FORMS]
        return sweep(self.folder, most, [entry.path for entry in found if entry is not None])

    def _make_folders(self) -> None:
        for name in ("notes", "configs", "names"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def _config(self, image: str) -> Path:
        return self.folder / "configs" / f"{image.removeprefix('sha256:')}.json"

    def _history(self, name: str) -> Path:
        return self.folder / "names" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _note(self, layer: str) -> Path:
        return self.folder / "notes" / f"{layer.removeprefix('sha256:')}.json"

    def _noted(self, layer: str, form: Form) -> Entry | None:
        note = tree.read_json(str(self._note(layer)))
        row = note.get(form) if isinstance(note, dict) else None
        entry = None if row is None else Entry(*row)
        return entry if entry is not None and has(self.folder, entry) else None

    def _write(self, layer: str, size: int, form: Form, entry: Entry) -> None:
        note = tree.read_json(str(self._note(layer)))
        known = note if isinstance(note, dict) else {}
        tree.write_json(str(self._note(layer)), {**known, "size": size, form: [entry.path, entry.size, entry.sha256]})

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self._make_folders()
        with tempfile.TemporaryDirectory(prefix=".packing-", dir=self.folder) as folder:
            yield Path(folder)


def _name(layer: str, form: Form) -> str:
    return f"{layer.removeprefix('sha256:')}.tar.{form}"


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(list(command), capture_output=True, check=False)
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise ProvisionError(f"{what} failed on the driver: {words}", remedy="see whether its disk has room")
