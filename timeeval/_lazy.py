"""Loading of public names when they are first touched (PEP 562).

Listing the names of a package must not cost the import of pandas, Docker's SDK or Dask, so packages tell here where
their names live and Python asks when somebody uses one.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazy_attributes(
    package: str, where: Mapping[str, str], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a module-level ``__getattr__`` and ``__dir__`` for a package.

    Parameters
    ----------
    package
        Full name of the package (``__name__``).
    where
        Public name to the full name of the module that defines it.
    submodules
        Names of submodules that are reachable as attributes without having been imported explicitly.

    Returns
    -------
    tuple of two callables
        What to assign to ``__getattr__``, which raises ``AttributeError`` for unknown names, and to ``__dir__``.
    """
    modules = frozenset(submodules)

    def load(name: str) -> Any:  # noqa: ANN401
        if name in where:
            value = getattr(importlib.import_module(where[name]), name)
        elif name in modules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        # Later look-ups must not come through here again.
        setattr(importlib.import_module(package), name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *where, *modules})

    return load, names
