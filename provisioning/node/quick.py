"""JSON for programs that are over sooner than Python's own `json` is loaded: its halves in C, without the rest.

Where an interpreter has them not, or not as expected, it is `json` itself. Travels with the bootstrap.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple


class _Plain:
    """How `json.loads` reads where it is told nothing else."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def _refuse(value: object) -> object:
    raise TypeError("%s is no JSON value" % type(value).__name__)


def _halves() -> "Optional[Tuple[Callable[[str, int], Tuple[Any, int]], Callable[[object, int], Tuple[str, ...]]]]":
    try:
        import _json

        scan: Any = _json.make_scanner(_Plain)  # type: ignore[arg-type] # an object with these attributes is wanted
        encode: Any = _json.make_encoder(
            None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, True
        )
        good = scan('{"a":[1,2.5,null,true]}', 0) == ({"a": [1, 2.5, None, True]}, 23)
        return (scan, encode) if good and "".join(encode(["\u00e4"], 0)) == '["\\u00e4"]' else None
    except (AttributeError, ImportError, TypeError):
        return None


_HALVES = _halves()


def loads(text: "str | bytes") -> Any:  # noqa: ANN401 - whatever JSON stands for
    """Return the value that a JSON text stands for; ValueError when it is none."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if _HALVES is None:
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = _HALVES[0](text, 0)
    except StopIteration:
        raise ValueError("this is no JSON") from None
    if end != len(text):
        raise ValueError("something follows the JSON")
    return value


def dumps(value: object) -> str:
    """Return a value as JSON, in ASCII and without blanks."""
    if _HALVES is None:
        import json

        return json.dumps(value, separators=(",", ":"))
    return "".join(_HALVES[1](value, 0))
