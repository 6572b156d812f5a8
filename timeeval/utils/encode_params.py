"""Parameters as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from timeeval.params.params import Params


class NumpyEncoder(json.JSONEncoder):
    """Writes NumPy scalars and arrays as the Python values they stand for."""

    def default(self, o: Any) -> Any:  # noqa: ANN401
        """Return a value that JSON has for one it does not have."""
        if isinstance(o, np.ndarray):
            return o.tolist()
        if isinstance(o, np.complexfloating):
            return {"real": float(o.real), "imag": float(o.imag)}
        if isinstance(o, np.void):
            return None
        if isinstance(o, np.generic):
            return o.item()
        return super().default(o)


def dumps_params(params: "Params") -> str:
    """Write a setting as JSON text."""
    return json.dumps(params.to_dict(), cls=NumpyEncoder)


def dump_params(params: "Params", fh: str | Path | TextIO) -> None:
    """Write a setting as JSON into a file.

    Parameters
    ----------
    params
        The setting.
    fh
        Path of the file, or an open text file, which is closed afterwards.
    """
    if isinstance(fh, str | Path):
        Path(fh).write_text(dumps_params(params), encoding="utf-8")
        return
    with fh:
        fh.write(dumps_params(params))
