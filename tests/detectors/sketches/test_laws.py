"""What every sketch promises: exact merges, any cut of the batches, state as bytes, and nothing but typed errors."""

from __future__ import annotations

import contextlib
import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import Bins, Distinct, HeavyHitters, Histogram, LogHistogram
from detectors.sketches.envelope import HEAD, MAGIC, VERSION
from schemas.errors import StateCorrupt, StateError, StateNewer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BINS = Bins(np.array([-3.0, 0.0, 5e-324, 1.0, 2.5, 1e6]))
NUMBERS = st.one_of(
    st.none(),
    st.floats(),
    st.floats(-4, 4),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, 1e6, 5e-324, 1e308, math.inf, -math.inf, math.nan]),
)
CATEGORIES = st.one_of(st.none(), st.just(math.nan), st.text(max_size=2), st.booleans(), st.integers(0, 9))
ROWS = st.tuples(CATEGORIES, st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)))


@dataclass(frozen=True)
class Kind:
    """One sketch: how to make an empty one, what it counts, how it reads bytes, and one that it must not merge with."""

    name: str
    empty: Callable[[], Any]
    item: st.SearchStrategy[Any]
    read: Callable[[bytes], Any]
    other: Callable[[], Any]

    def of(self, items: Sequence[Any]) -> Any:  # noqa: ANN401  # one of four sketches
        """The sketch of one batch."""
        sketch = self.empty()
        self.update(sketch, items)
        return sketch

    def update(self, sketch: Any, items: Sequence[Any]) -> None:  # noqa: ANN401  # as above
        """Count a batch."""
        if self.name == "heavy hitters":
            sketch.update([category for category, _ in items], rows=[row for _, row in items])
        else:
            sketch.update(items)


KINDS = [
    Kind(
        "histogram",
        lambda: Histogram(BINS),
        NUMBERS,
        lambda data: Histogram.from_bytes(data, BINS),
        lambda: Histogram(Bins(np.array([0.0, 1.0]))),
    ),
    Kind("log histogram", LogHistogram, NUMBERS, LogHistogram.from_bytes, lambda: LogHistogram(0.02)),
    Kind("log histogram", LogHistogram, NUMBERS, LogHistogram.from_bytes, lambda: LogHistogram(highest=1e9)),
    Kind("distinct", lambda: Distinct(6), CATEGORIES, Distinct.from_bytes, Distinct),
    Kind("heavy hitters", lambda: HeavyHitters(8), ROWS, HeavyHitters.from_bytes, HeavyHitters),
]
every = pytest.mark.parametrize("kind", KINDS[:2] + KINDS[3:], ids=lambda k: k.name)


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_merging_is_associative_and_commutative_and_empty_changes_nothing(kind: Kind, data: st.DataObject) -> None:
    a, b, c = (kind.of(data.draw(st.lists(kind.item, max_size=30))) for _ in range(3))
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).to_bytes() == b.merge(a).to_bytes()
    assert a.merge(kind.empty()) == kind.empty().merge(a) == a


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_cut_order_workers_and_restarts_change_no_byte(kind: Kind, data: st.DataObject) -> None:
    items = data.draw(st.lists(kind.item, max_size=60))
    whole = kind.of(items)
    cut = data.draw(st.integers(0, len(items)))
    restarted = kind.read(kind.of(items[:cut]).to_bytes())
    kind.update(restarted, items[cut:])
    single = kind.empty()
    for item in data.draw(st.permutations(items)):
        kind.update(single, [item])
    merged = kind.of(items[:cut]).merge(kind.of(items[cut:]))
    assert {restarted.to_bytes(), single.to_bytes(), merged.to_bytes()} == {whole.to_bytes()}


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_bytes_and_back_is_the_identity(kind: Kind, data: st.DataObject) -> None:
    sketch = kind.of(data.draw(st.lists(kind.item, max_size=60)))
    restored = kind.read(sketch.to_bytes())
    assert restored == sketch
    assert restored.to_bytes() == sketch.to_bytes()


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_merging_leaves_its_operands_alone_and_shares_nothing_with_them(kind: Kind, data: st.DataObject) -> None:
    a, b = (kind.of(data.draw(st.lists(kind.item, max_size=10))) for _ in range(2))
    before = a.to_bytes(), b.to_bytes()
    merged = a.merge(b)
    kind.update(merged, data.draw(st.lists(kind.item, max_size=10)))
    assert (a.to_bytes(), b.to_bytes()) == before


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_equal_is_what_has_equal_bytes(kind: Kind, data: st.DataObject) -> None:
    a, b = (kind.of(data.draw(st.lists(kind.item, max_size=3))) for _ in range(2))
    assert (a == b) == (a.to_bytes() == b.to_bytes())
    assert a != "something else"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_other_layouts_are_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"differ|same|merge|add up"):
        kind.empty().merge(kind.other())


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_arbitrary_bytes_raise_state_errors_only(kind: Kind, data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=80))
    with pytest.raises(StateError):
        kind.read(content)


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_a_sealed_payload_of_anything_is_refused_or_is_a_sketch_that_writes_it(kind: Kind, data: st.DataObject) -> None:
    good = kind.of(data.draw(st.lists(kind.item, max_size=20))).to_bytes()
    payload = bytearray(good[HEAD.size :])
    for _ in range(data.draw(st.integers(0, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))] + data.draw(st.binary(max_size=12))
    sealed = HEAD.pack(MAGIC, VERSION, good[6:10], zlib.crc32(good[6:10] + payload)) + payload
    with contextlib.suppress(StateError):
        assert kind.read(sealed).to_bytes() == sealed


@every
@settings(deadline=None)  # the first example loads the compiled loops
@given(data=st.data())
def test_damage_is_noticed(kind: Kind, data: st.DataObject) -> None:
    good = kind.of(data.draw(st.lists(kind.item, max_size=20))).to_bytes()
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(good)
    damaged[at] ^= 1 << bit
    with pytest.raises((StateCorrupt, StateNewer)):  # a bit of the version makes a newer one
        kind.read(bytes(damaged))
    with pytest.raises(StateCorrupt):
        kind.read(good[:at])


@every
def test_a_newer_format_is_named(kind: Kind) -> None:
    good = kind.empty().to_bytes()
    with pytest.raises(StateNewer, match=f"format {VERSION + 1}, this driftline reads up to {VERSION}"):
        kind.read(good[:4] + struct.pack("<H", VERSION + 1) + good[6:])
    with pytest.raises(StateCorrupt):
        kind.read(good[:4] + struct.pack("<H", 0) + good[6:])


@every
def test_the_bytes_of_another_kind_are_corrupt(kind: Kind) -> None:
    for other in KINDS:
        if other.name != kind.name:
            with pytest.raises(StateCorrupt, match="kind"):
                kind.read(other.empty().to_bytes())


@every
def test_a_batch_of_several_dimensions_is_refused_and_counts_nothing(kind: Kind) -> None:
    sketch = kind.empty()
    rows = {"rows": [1, 2]} if kind.name == "heavy hitters" else {}
    with pytest.raises(ValueError, match="dimension"):
        sketch.update(np.zeros((2, 2)), **rows)
    assert sketch == kind.empty()
