"""Arrays in messages that are JSON: base64 of their little-endian values, exact and short."""

from base64 import b64decode, b64encode

import numpy as np


def packed(array: np.ndarray) -> str:
    """The values of an array, row by row."""
    return b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def unpacked(text: str, kind: type[np.generic], rows: int) -> np.ndarray:
    """[rows, columns] of what `packed` gave."""
    values = np.frombuffer(b64decode(text), np.dtype(kind).newbyteorder("<")).astype(kind)
    return values.reshape(rows, len(values) // max(rows, 1))
