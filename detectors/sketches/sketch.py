"""What every sketch can do: the protocol that `detectors.sketches` keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Sketch(Protocol):
    """A summary of values that adds up.

    `update` counts a batch in place; how values are cut into batches, and their order, changes nothing. `merge` returns
    a new sketch of the values of both: exactly the sketch of all of them, so it is associative and commutative, and an
    empty sketch changes nothing. `to_bytes` is the state, `from_bytes` its inverse. Equal are sketches with the same
    layout and the same state.
    """

    def merge(self, other: Self) -> Self:
        """Return the sketch of the values of both; raises ValueError when their layouts differ."""
        ...

    def to_bytes(self) -> bytes:
        """Return the state as bytes, the same bytes for the same state."""
        ...


def as_float64(values: Sequence[float | None] | NDArray[Any]) -> NDArray[np.float64]:
    """Return a batch of numbers as float64[n], None as NaN.

    Raises:
        ValueError: the values are no numbers, or not in one dimension.
    """
    if not isinstance(values, np.ndarray) and any(isinstance(v, (str, bytes, complex)) for v in values):
        raise ValueError("a batch holds numbers (None or NaN: missing), got text or complex numbers")
    if isinstance(values, np.ndarray) and values.dtype.kind not in "fiubO":
        raise ValueError(f"a batch holds numbers (None or NaN: missing), got an array of {values.dtype}")
    try:
        with np.errstate(over="ignore"):  # a wider float that float64 cannot hold is an infinity
            found = np.require(values, np.float64, "C")
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a batch holds numbers (None or NaN: missing): {error}") from error
    if found.ndim != 1:
        raise ValueError(f"a batch has one dimension, got the shape {found.shape}")
    return found
