"""What every sketch promises.

`tests/detectors/sketches/test_laws.py` asks the same of ours with drawn examples; a new sketch gets at least this.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from detectors.sketches.envelope import VERSION
from schemas.errors import StateCorrupt, StateError, StateNewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detectors.registry import Summary

VALUES: Final = np.random.default_rng(1).integers(0, 300, 3000)
"""Rows of whole numbers, many of them repeated: both numbers and categories. Their places are the ids of the rows."""


def update(entry: Summary, sketch: Any, rows: NDArray[np.int64]) -> None:  # noqa: ANN401  # any sketch
    """Count some rows of VALUES."""
    values = VALUES[rows].tolist()
    if entry.rows:
        sketch.update(values, rows=rows)
    else:
        sketch.update(values)


def of(entry: Summary, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401  # any sketch
    """The sketch of some rows of VALUES."""
    sketch = entry.make()
    update(entry, sketch, rows)
    return sketch


def merging_is_associative_and_commutative_and_empty_changes_nothing(entry: Summary) -> None:
    a, b, c = (of(entry, rows) for rows in np.split(np.arange(3000), [500, 600]))
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b).to_bytes() == b.merge(a).to_bytes()
    assert a.merge(entry.make()) == entry.make().merge(a) == a
    assert a != b


def cut_order_workers_and_restarts_change_no_byte(entry: Summary) -> None:
    rng = np.random.default_rng(2)
    whole = of(entry, np.arange(3000)).to_bytes()
    for _ in range(5):
        cuts = np.sort(rng.integers(0, 3000, 4))
        parts = np.split(rng.permutation(3000), cuts)
        merged, single = entry.make(), entry.make()
        for part in parts:
            merged = merged.merge(of(entry, part))
            update(entry, single, part)
            single = entry.read(single.to_bytes())
        assert merged.to_bytes() == single.to_bytes() == whole


def bytes_and_back_is_the_identity(entry: Summary) -> None:
    for rows in (np.arange(0), np.arange(1), np.arange(3000)):
        sketch = of(entry, rows)
        again = entry.read(sketch.to_bytes())
        assert again == sketch
        assert again.to_bytes() == sketch.to_bytes()


def merging_leaves_its_operands_alone(entry: Summary) -> None:
    a, b = of(entry, np.arange(100)), of(entry, np.arange(100, 300))
    before = a.to_bytes(), b.to_bytes()
    update(entry, a.merge(b), np.arange(300, 3000))
    assert (a.to_bytes(), b.to_bytes()) == before


def damaged_bytes_are_state_errors(entry: Summary) -> None:
    good, rng = of(entry, np.arange(3000)).to_bytes(), np.random.default_rng(3)
    for at in rng.integers(0, len(good), 50).tolist():
        with pytest.raises(StateCorrupt):
            entry.read(good[:at])
        damaged = bytearray(good)
        damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(StateError):
            entry.read(bytes(damaged))
    for content in (b"", b"\0" * 40, rng.bytes(100)):
        with pytest.raises(StateCorrupt):
            entry.read(content)


def a_newer_format_is_named(entry: Summary) -> None:
    good = entry.make().to_bytes()
    with pytest.raises(StateNewer, match=f"format {VERSION + 1}"):
        entry.read(good[:4] + struct.pack("<H", VERSION + 1) + good[6:])


LAWS: Final[tuple[Callable[[Summary], None], ...]] = (
    merging_is_associative_and_commutative_and_empty_changes_nothing,
    cut_order_workers_and_restarts_change_no_byte,
    bytes_and_back_is_the_identity,
    merging_leaves_its_operands_alone,
    damaged_bytes_are_state_errors,
    a_newer_format_is_named,
)
