"""The datasets of several folders."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.datasets.datasets import Datasets
from timeeval.datasets.index import join_frames, read_index
from timeeval.datasets.locations import readable
from timeeval.datasets.metadata import DatasetId

if TYPE_CHECKING:
    import pandas as pd


class MultiDatasetManager(Datasets):
    """The datasets of several folders, for reading.

    Parameters
    ----------
    data_folders
        Folders with an index ``datasets.csv`` each. Of two datasets with the same name the one of the later folder
        counts, with a warning.
    custom_datasets_file
        JSON file with own datasets.

    Raises
    ------
    FileNotFoundError
        If an index is missing; names all that are.
    DatasetIndexError
        If an index is malformed; names line and column.
    """

    def __init__(self, data_folders: Iterable[str | Path], custom_datasets_file: str | Path | None = None) -> None:
        self._folders = [Path(os.path.abspath(folder)) for folder in data_folders]  # noqa: PTH100 - links unresolved
        self._folder_of: dict[DatasetId, Path] = {}
        super().__init__(self._load(), custom_datasets_file)

    @property
    def _log(self) -> logging.Logger:
        return logging.getLogger(type(self).__name__)

    def _load(self) -> "pd.DataFrame":
        files = {folder: readable(folder / self.INDEX_FILENAME) for folder in self._folders}
        missing = [str(file) for file in files.values() if not file.exists()]
        if missing:
            msg = f"Could not find the index files {', '.join(missing)}. Are their folders dataset folders?"
            raise FileNotFoundError(msg)
        if not files:
            msg = "Could not find the index files: no dataset folder was given."
            raise FileNotFoundError(msg)
        frames = []
        self._folder_of = {}
        for folder, file in files.items():
            frame = read_index(file)
            base = folder if file.parent != folder else folder.resolve()
            for identity in frame.index:
                if identity in self._folder_of:
                    self._log.warning(
                        "The dataset %s is in %s and in %s; the latter counts.",
                        identity,
                        self._folder_of[identity],
                        base,
                    )
                self._folder_of[identity] = base
            frames.append(frame)
        return join_frames(frames)

    def _get_dataset_path_internal(self, dataset_id: DatasetId, train: bool = False) -> Path:
        path = self._path_of(dataset_id, train)
        return self._folder_of[dataset_id] / path

    def refresh(self, force: bool = False) -> None:  # noqa: ARG002 - nothing can be unsaved here
        """Read all indices again."""
        self._df = self._load()
