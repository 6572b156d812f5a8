"""Saying what takes the place of names that are not provided."""

from collections.abc import Callable, Mapping
from typing import NoReturn


class GoneAttribute:
    """An attribute of a class that TimeEval 1.5 had and this project has not.

    Parameters
    ----------
    instead
        The reason and what to use.
    """

    def __init__(self, instead: str) -> None:
        self._instead = instead
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{owner.__name__}.{name}"

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{self._name} is not provided: {self._instead}.")


def gone(package: str, names: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """Make a module-level ``__getattr__`` for names that TimeEval 1.5 had and this project has not.

    Parameters
    ----------
    package
        Full name of the module (``__name__``).
    names
        Name to the reason and what to use.

    Returns
    -------
    callable
        Raises ``ImportError`` for these names, ``AttributeError`` for unknown ones.
    """

    def missing(name: str) -> NoReturn:
        if name in names:
            raise ImportError(f"{package}.{name} is not provided: {names[name]}.", name=f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return missing
