"""From whatever holds elements to an array of NumPy. The extension module calls these functions for what is not one already."""

from typing import Any

import numpy as np

from sslm._errors import exception


def as_array(value: object, dtype: str) -> np.ndarray:
    """An array of what speaks DLPack, `__array_interface__` or the buffer protocol, by its own type; of numbers and lists, by `dtype`."""
    try:
        if isinstance(value, np.ndarray):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        if hasattr(value, "__array_interface__") or hasattr(value, "__array__") or _has_buffer(value):
            return np.asarray(value)
        if value is not None:  # which would be NaN
            return np.asarray(value, dtype)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise exception(
            "input", f"array: expected what NumPy can read, found {type(value).__name__}: {error}"
        ) from error
    raise exception("input", "array: expected what NumPy can read, found None")


def as_native(array: np.ndarray) -> np.ndarray:
    """The same elements in the machine's order of bytes."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _has_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True
