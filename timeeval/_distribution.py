"""The check that no other distribution owns the import name ``timeeval`` here."""

import os
import sys

#: Distribution whose files lie in the same folders as ours.
FOREIGN_DISTRIBUTION = "TimeEval"


def refuse_foreign_distribution(name: str = FOREIGN_DISTRIBUTION) -> None:
    """Refuse to start beside a distribution that holds the same package.

    Parameters
    ----------
    name
        Name of the other distribution.

    Raises
    ------
    ForeignDistributionError
        If it is installed in this environment: files of both would be mixed.
    """
    if not _may_be_here(name):
        return
    from importlib import metadata

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return
    from timeeval.errors import ForeignDistributionError

    msg = (
        f"The distribution {name} {version} is installed in this environment. It owns the same import name 'timeeval' "
        "as timeeval-cluster, and the files of both would be mixed."
    )
    remedy = f"Run 'pip uninstall {name}', then reinstall timeeval-cluster."
    raise ForeignDistributionError(msg, remedy=remedy)


def _may_be_here(name: str) -> bool:
    """Tell whether a folder on the path has the record of a distribution; `importlib.metadata` costs 20 ms to ask."""
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")  # noqa: PTH208 - pathlib is not loaded yet
        except OSError:  # an archive, or not there
            if os.path.isfile(folder):  # noqa: PTH113
                return True
            continue
        for entry in entries:
            if entry.endswith("-info") and entry.partition("-")[0].partition(".")[0].lower() == name.lower():
                return True
    return False
