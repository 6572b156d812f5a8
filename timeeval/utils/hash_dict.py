"""Identities of parameter settings."""

from collections.abc import Mapping
from typing import Any

try:
    # for texts as short as these OpenSSL's takes twice the time
    from _md5 import md5 as _md5  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # an interpreter built without it
    from hashlib import md5 as _md5

#: Types whose ``repr`` is the same whatever NumPy's version; settings made of these alone take the fast way.
_PLAIN = frozenset({str, int, float, bool, type(None)})


def hash_dict(x: Mapping[str, Any]) -> str:
    """Identify a dictionary by its content.

    Parameters
    ----------
    x
        Keys must be sortable; the order of insertion does not matter.

    Returns
    -------
    str
        MD5, in hexadecimal digits, of the text of the sorted list of items. NumPy scalars are written as the Python
        values they stand for, so that the identity is the same for ``2`` and ``np.int64(2)`` and for every version of
        NumPy.
    """
    return digest(f"[{', '.join(item_text(item) for item in sorted(x.items()))}]")


def item_text(item: tuple[str, Any]) -> str:
    """Text of one key-value pair as :func:`hash_dict` takes it."""
    if type(item[1]) in _PLAIN:
        return repr(item)
    import numpy as np

    # NumPy 2 writes np.int64(2) where NumPy 1 wrote 2, also inside of lists and tuples.
    with np.printoptions(legacy="1.25"):
        return repr(item)


def digest(text: str) -> str:
    """MD5 of a text (UTF-8), in hexadecimal digits."""
    return str(begin(text).hexdigest())


def begin(text: str) -> Any:  # noqa: ANN401 - a hash object, whose type has no public name
    """Begin the MD5 of a text (UTF-8) that goes on."""
    return _md5(text.encode("utf-8"), usedforsecurity=False)
