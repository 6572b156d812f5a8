"""The index of a dataset folder: which datasets it lists, and which files are theirs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import UsageError

if TYPE_CHECKING:
    from provisioning.inventory import DatasetFolder


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the index: a dataset and its files relative to the folder."""

    id: tuple[str, str]
    files: tuple[str, ...]


def read_index(folder: DatasetFolder) -> tuple[Listed, ...]:
    """Read which datasets a folder lists.

    Parameters
    ----------
    folder : DatasetFolder
        The folder on the driver.

    Returns
    -------
    tuple of Listed
        In the order of the index.

    Raises
    ------
    UsageError
        When the index is not there, is no CSV, or has not the columns of a TimeEval index; names the line.
    """
    file = folder.source / folder.index
    try:
        return _listed(file)
    except FileNotFoundError:
        raise UsageError(f"there is no {file}", remedy="write it with DatasetManager, or name another index") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is not CSV in UTF-8: {error}", remedy="write it with DatasetManager") from error


def _listed(file: Path) -> tuple[Listed, ...]:
    with file.open(newline="", encoding="utf-8") as stream:
        # not DictReader: this is done for thousands of rows whenever a command begins
        rows = csv.reader(stream)
        names = next(rows, [])
        columns = ("collection_name", "dataset_name", "train_path", "test_path")
        lacking = sorted(set(columns) - set(names))
        if lacking:
            raise UsageError(f"{file} has no column {', '.join(lacking)}", remedy="write it with DatasetManager")
        collection, dataset, train, test = (names.index(column) for column in columns)
        listed = []
        for row in rows:
            if len(row) == len(names):
                paths = tuple(path for path in (row[train], row[test]) if path)
                listed.append(Listed((row[collection], row[dataset]), paths))
            elif row:
                message = f"{file}, line {rows.line_num}: {len(row)} values for {len(names)} columns"
                raise UsageError(message, remedy="write every column, empty where nothing is known")
        return tuple(listed)
