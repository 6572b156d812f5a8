import numpy as np
from methods.deep import helpers


def first_column(data: np.ndarray) -> np.ndarray:
    return helpers.column(data, 0)
