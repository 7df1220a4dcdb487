"""Histogram: exact counts, moments as fractions compute them, a state that fits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import Bins, Histogram
from detectors.sketches.fixed_point import Scale, add_moments, add_words, read_words, write_words
from schemas.errors import StateMismatch
from tests.oracle.sketches import slot, units

EDGES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8, unique_by=lambda x: x + 0.0)
VALUES = st.lists(st.one_of(st.floats(), st.floats(-1e3, 1e3), st.sampled_from([0.5, 1.0])), max_size=40)


@settings(deadline=None)  # the first example loads the compiled loops
@given(EDGES, VALUES)
def test_counts_and_moments_are_those_of_the_oracle(edges: list[float], values: list[float]) -> None:
    bins = Bins(np.array(sorted(edges)))
    sketch = Histogram(bins)
    sketch.update(values)
    counts = [0] * bins.width
    for value in values:
        counts[slot(bins.edges.tolist(), value)] += 1
    assert sketch.counts.tolist() == counts

    present = [v for v in values if not math.isnan(v)]
    found = [units(v, bins.scale.centre, bins.scale.exponent) for v in present]
    inside = [u for u in found if u is not None]
    assert (sketch.n, sketch.outside) == (len(present), found.count(None))
    if not inside:
        assert math.isnan(sketch.mean)
        assert math.isnan(sketch.variance)
        return
    unit = Fraction(1, 2) ** bins.scale.exponent
    mean = Fraction(sum(inside), len(inside))
    assert sketch.mean == float(Fraction(bins.scale.centre) + mean * unit)
    spread = sum((u - mean) ** 2 for u in inside) / len(inside) * unit**2
    assert sketch.variance == (float(spread) if spread < Fraction(1.7976931348623157e308) else math.inf)


@settings(deadline=None)  # the first example loads the compiled loops
@given(EDGES)
def test_every_value_of_the_reference_and_eight_times_beyond_is_in_range(edges: list[float]) -> None:
    low, high = min(edges), max(edges)
    scale = Scale.of(low, high)
    reach = max(Fraction(high) - Fraction(scale.centre), Fraction(scale.centre) - Fraction(low))
    if Fraction(scale.reach) < 2**1023:  # a float64 holds no wider range
        assert 8 * reach <= Fraction(scale.reach)
    unit = Fraction(1, 2) ** scale.exponent
    if Fraction(scale.reach) > Fraction(2) ** -900 and high > math.nextafter(low, math.inf):
        assert unit / 2 <= reach * Fraction(1, 2) ** 37


def test_a_constant_reference_gets_the_range_of_its_size() -> None:
    bins = Bins(np.array([2.5, math.nextafter(2.5, math.inf)]))
    sketch = Histogram(bins)
    sketch.update([2.5, 3.5, 1e9])
    assert (sketch.mean, sketch.outside) == (3.0, 1)
    zero = Histogram(Bins(np.array([0.0, 5e-324])))
    zero.update([0.0, 1.0])
    assert (zero.mean, zero.variance) == (0.5, 0.25)


def test_moments_agree_with_numpy_where_numpy_is_exact_enough() -> None:
    rng = np.random.default_rng(5)
    values = 1.7e9 + rng.normal(size=100_000)  # a spread that float sums of squares lose
    sketch = Histogram(Bins(np.linspace(values.min(), np.nextafter(values.max(), np.inf), 101)))
    sketch.update(values)
    assert sketch.outside == 0
    assert sketch.mean == pytest.approx(np.mean(values - 1.7e9) + 1.7e9, rel=1e-15)
    assert sketch.variance == pytest.approx(np.var(values - 1.7e9), rel=1e-9)


def test_blocks_of_partial_sums_are_carried_over_exactly() -> None:
    size = (1 << 20) + 3  # one block and a bit
    bins = Bins(np.array([0.0, 1.0]))
    limit = math.nextafter(bins.scale.reach + bins.scale.centre, 0.0)  # the largest units there are
    sketch = Histogram(bins)
    sketch.update(np.full(size, limit))
    expected = units(limit, bins.scale.centre, bins.scale.exponent)
    assert expected == 2**40
    assert sketch.outside == 0
    assert sketch.mean == bins.scale.reach + bins.scale.centre  # half a unit beside the value, as stated
    assert sketch._sums() == (size * 2**40, size * 2**80)  # noqa: SLF001  # the state itself is the point


def test_2_to_the_40_values_of_the_largest_size_overflow_nothing() -> None:
    state = np.zeros(6, np.int64)
    add_moments(state, 0, 0.0, 1.0, np.array([2.0**40 - 0.25]))  # rounds to 2**40 units
    for _ in range(40):
        add_words(state, 0, state.copy(), 0)
    assert read_words(state[1:3]) == 2**80
    assert read_words(state[3:6]) == 2**120
    negative = np.zeros(6, np.int64)
    add_moments(negative, 0, 0.0, 1.0, np.array([-(2.0**40) + 0.25]))
    for _ in range(40):
        add_words(negative, 0, negative.copy(), 0)
    assert read_words(negative[1:3]) == -(2**80)
    add_words(state, 0, negative, 0)
    assert read_words(state[1:3]) == 0
    assert read_words(state[3:6]) == 2**121
    assert (state[4:6] >= 0).all()
    assert (state[4:6] < 2**32).all()


@settings(deadline=None)  # the first example loads the compiled loops
@given(st.integers(-(2**94), 2**94))
def test_words_spell_every_number_once(number: int) -> None:
    words = np.empty(2, np.int64)
    write_words(number, words)
    assert read_words(words) == number
    assert 0 <= words[1] < 2**32


def test_numbers_beyond_their_words_are_refused() -> None:
    with pytest.raises(ValueError, match="larger"):
        write_words(2**95, np.empty(2, np.int64))


def test_one_feature_of_a_pane_takes_at_most_a_kibibyte() -> None:
    rng = np.random.default_rng(6)
    bins = Bins(np.quantile(rng.lognormal(size=50_000), np.linspace(0, 1, 101)))
    sketch = Histogram(bins)
    sketch.update(rng.lognormal(size=1_000_000))
    assert sketch._state.nbytes == 872  # noqa: SLF001  # the size is the point
    assert len(sketch.to_bytes()) <= 400
    full = Histogram(bins)
    full._state[: bins.width] = 2**33 - 1  # noqa: SLF001  # counts of 2**40 values: five bytes each
    assert len(full.to_bytes()) <= 1024


def test_the_bytes_of_a_known_histogram_stay_as_they_are() -> None:
    sketch = Histogram(Bins(np.array([0.0, 1.0, 2.0])))
    sketch.update([0.5, 1.5, 1.5, 300.0, None])
    parts = {
        "magic, version, kind, checksum": "646c736b 0100 68697374 44e66759",
        "fingerprint": "3352c09e12f9e7ba",
        "sum": "00000000080000000000000000000000",
        "sum of squares": "0000000000000000c000000000000000",
        "below, two bins, above, missing, outside": "00 01 02 01 01 01",
    }
    assert sketch.to_bytes() == bytes.fromhex("".join(parts.values()))


def test_other_bins_are_named_as_the_reason() -> None:
    data = Histogram(Bins(np.array([0.0, 1.0]))).to_bytes()
    with pytest.raises(StateMismatch, match="not over"):
        Histogram.from_bytes(data, Bins(np.array([0.0, 2.0])))
