"""The 81 algorithm images that TimeEval knows, as functions: ``lof(params=…, skip_pull=False, timeout=None)``.

The functions are made from ``catalogue.json`` (its form: :mod:`timeeval.algorithms.entries`); editors and type checkers
read the ``.pyi`` files, which ``python -m timeeval.algorithms.stubs FOLDER`` writes. `load` reads your own catalogues.

Examples
--------
>>> from timeeval.algorithms import lof
>>> lof().name
'LOF'
"""

import sys
from pathlib import Path

from timeeval.algorithms.catalogue import Catalogue, install
from timeeval.algorithms.catalogue import load as load  # public, but no algorithm: `import *` leaves it out
from timeeval.algorithms.entries import read_entries

#: The entries of this package's catalogue, by function name.
CATALOGUE = Catalogue(read_entries(Path(__file__).with_name("catalogue.json")), __name__)

__all__ = [*install(CATALOGUE, sys.modules[__name__])]  # noqa: PLE0604 - names of the catalogue
