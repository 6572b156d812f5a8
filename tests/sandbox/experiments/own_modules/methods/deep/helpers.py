import numpy as np


def column(data: np.ndarray, number: int) -> np.ndarray:
    return data[:, number].astype(float)
