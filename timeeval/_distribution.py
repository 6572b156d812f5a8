"""The check that no other distribution owns the import name ``timeeval`` here."""

from importlib import metadata

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
