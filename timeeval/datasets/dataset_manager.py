"""The datasets of one folder."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from timeeval.datasets.datasets import Datasets
from timeeval.datasets.index import DatasetRecord, frame_of, join_frames, read_index, write_index
from timeeval.datasets.locations import readable
from timeeval.datasets.metadata import DatasetId
from timeeval.errors import TimeEvalError

__all__ = ["DatasetManager", "DatasetRecord"]


class DatasetManager(Datasets):
    """The datasets of one folder, for reading and for adding.

    Parameters
    ----------
    data_folder
        Folder with the index ``datasets.csv``; paths in the index are relative to it.
    custom_datasets_file
        JSON file with own datasets.
    create_if_missing
        Make an empty index (and the folder) instead of an error if there is none.

    Raises
    ------
    FileNotFoundError
        If there is no index and none shall be made.
    DatasetIndexError
        If the index is malformed; names line and column.

    Notes
    -----
    As a context manager it saves on exit.
    """

    def __init__(
        self,
        data_folder: str | Path,
        custom_datasets_file: str | Path | None = None,
        create_if_missing: bool = True,
    ) -> None:
        self._folder = Path(os.path.abspath(data_folder))  # noqa: PTH100 - as declared, links unresolved
        self._filepath = readable(self._folder / self.INDEX_FILENAME)
        self._dirty = False
        if not self._filepath.exists():
            if not create_if_missing:
                msg = f"Could not find the index file {self._filepath}. Is {self._folder} a dataset folder?"
                raise FileNotFoundError(msg)
            self._create()
        elsewhere = self._filepath.parent != self._folder
        self._base = self._folder if elsewhere else self._folder.resolve()
        super().__init__(read_index(self._filepath), custom_datasets_file)

    def _create(self) -> None:
        folder = self._filepath.parent
        if not folder.exists():
            self._log.warning("The dataset folder %s does not exist; it is made.", folder)
            folder.mkdir(parents=True)
        write_index(frame_of([]), self._filepath)

    @property
    def _log(self) -> logging.Logger:
        return logging.getLogger(type(self).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.save()

    def _get_dataset_path_internal(self, dataset_id: DatasetId, train: bool = False) -> Path:
        return self._base / self._path_of(dataset_id, train)

    def refresh(self, force: bool = False) -> None:
        """Read the index again.

        Parameters
        ----------
        force
            Forget unsaved changes.

        Raises
        ------
        TimeEvalError
            If there are unsaved changes and ``force`` is not set.
        """
        if self._dirty and not force:
            msg = f"There are unsaved changes to {self._filepath}"
            raise TimeEvalError(msg, remedy="Save them with save(), or forget them with refresh(force=True)")
        self._df = read_index(self._filepath)
        self._dirty = False

    def add_dataset(self, dataset: DatasetRecord) -> None:
        """Add a dataset, or replace the one with the same name; :meth:`save` makes it last."""
        self.add_datasets([dataset])

    def add_datasets(self, datasets: Iterable[DatasetRecord]) -> None:
        """Add datasets, or replace those with the same names; :meth:`save` makes it last."""
        self._df = join_frames([self._df, frame_of(datasets)])
        self._dirty = True

    def save(self) -> None:
        """Write the index, in one step."""
        write_index(self._df, self._filepath)
        self._dirty = False
