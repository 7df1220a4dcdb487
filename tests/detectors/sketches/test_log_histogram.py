"""LogHistogram: the stated relative error for any data, exact bins, a bounded state."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import LogHistogram
from detectors.sketches.log_mapping import bins_per_octave, log_mapping
from tests.oracle.sketches import log_bin, order_statistic

if TYPE_CHECKING:
    from collections.abc import Callable

QUANTILES = [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0]


def right(sketch: LogHistogram, q: float, exact: float) -> bool:
    """Whether the answer is as near to the value as promised, compared without rounding."""
    allowed = Fraction(sketch.relative_error) * abs(Fraction(exact)) if abs(exact) >= sketch.lowest else sketch.lowest
    return abs(Fraction(sketch.quantile(q)) - Fraction(exact)) <= allowed


SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "lognormal": lambda rng, n: rng.lognormal(3, 2, n),
    "exponential": lambda rng, n: rng.exponential(10, n),
    "pareto": lambda rng, n: rng.pareto(0.7, n),
    "normal around zero": lambda rng, n: rng.normal(size=n),
    "zero-inflated": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
    "whole numbers": lambda rng, n: rng.poisson(3, n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.random()),
    "two far points": lambda rng, n: rng.choice([1e-5, 1e11], n),
    "negative": lambda rng, n: -rng.lognormal(0, 3, n),
    "ascending": lambda _, n: np.arange(1.0, n + 1),
}


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1_000, 30_000])
@pytest.mark.parametrize("error", [0.001, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_quantile_of_every_shape_keeps_the_stated_error(shape: str, error: float, size: int) -> None:
    values = SHAPES[shape](np.random.default_rng(size), size)
    sketch = LogHistogram(error)
    sketch.update(values)
    assert sketch.relative_error <= error
    for q in QUANTILES:
        exact = order_statistic(values.tolist(), q)
        assert right(sketch, q, exact)


@settings(deadline=None)  # the first example loads the compiled loop
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=50), st.floats(0, 1), st.sampled_from([0.003, 0.1]))
def test_any_values_keep_the_stated_error_or_are_known_to_lie_beyond(
    values: list[float], q: float, error: float
) -> None:
    sketch = LogHistogram(error)
    sketch.update(values)
    exact = order_statistic(values, q)
    if abs(exact) >= sketch.highest:
        assert sketch.quantile(q) == math.copysign(math.inf, exact)
    else:
        assert right(sketch, q, exact)


@pytest.mark.parametrize("per_octave", [2, 3, 35, 69])
def test_bins_are_cut_at_the_exact_roots_of_two(per_octave: int) -> None:
    mapping = log_mapping(per_octave)
    for octave in (-20, -1, 0, 7, 39):
        for boundary in mapping.boundaries[:-1].tolist():
            edge = math.ldexp(1 + boundary / 2**52, octave)
            for size in (math.nextafter(edge, 0.0), edge, math.nextafter(edge, math.inf)):
                k = log_bin(size, per_octave)
                one = LogHistogram._blank(per_octave, -30, 50)  # noqa: SLF001  # a layout by its number of bins
                one.update([size])
                assert one._positive.first == k  # noqa: SLF001  # the bin is the point
                assert one.quantile(0.5) == mapping.answer(k)


@pytest.mark.parametrize("error", [0.001, 0.01, 0.02, 0.1, 0.2])
def test_the_fewest_bins_that_keep_the_error_are_taken(error: float) -> None:
    n = bins_per_octave(error)
    assert log_mapping(n).relative_error <= error
    assert (2 ** (1 / (n - 1)) - 1) / (2 ** (1 / (n - 1)) + 1) > error
    assert log_mapping(n).relative_error == pytest.approx((2 ** (1 / n) - 1) / (2 ** (1 / n) + 1))


def test_zero_small_large_and_missing_values_have_places_of_their_own() -> None:
    sketch = LogHistogram(lowest=1.0, highest=1024.0)
    below, least = math.nextafter(1.0, 0.0), 1.0
    most, beyond = math.nextafter(1024.0, 0.0), 1024.0
    sketch.update([0.0, -0.0, below, -below, least, -least, most, -most, beyond, -beyond, math.inf, None, math.nan])
    assert (sketch.n, sketch.missing, sketch.beyond) == (11, 2, (1, 2))
    answers = [sketch.quantile(rank / 10) for rank in range(11)]
    assert answers[0] == -math.inf
    assert answers[1] == pytest.approx(-1024, rel=0.011)
    assert answers[2] == pytest.approx(-1, rel=0.011)
    assert answers[3:7] == [0.0] * 4
    assert answers[7:9] == [-answers[2], -answers[1]]
    assert answers[9:] == [math.inf] * 2


def test_the_range_is_rounded_outwards_to_powers_of_two() -> None:
    default = LogHistogram()
    assert (default.lowest, default.highest) == (2.0**-20, 2.0**40)
    exact = LogHistogram(lowest=0.25, highest=8.0)
    assert (exact.lowest, exact.highest) == (0.25, 8.0)
    whole = LogHistogram(lowest=2.0**-1022, highest=2.0**1023)
    whole.update([2.0**-1022, 5e-324, 8.9e307, 1.7e308])
    assert whole.quantile(0) == 0
    assert whole.quantile(0.4) == pytest.approx(2.0**-1022, rel=0.01)
    assert whole.quantile(0.7) == pytest.approx(8.9e307, rel=0.01)
    assert whole.quantile(1) == math.inf


def test_nothing_has_no_quantile_and_no_quantile_lies_beyond_one() -> None:
    sketch = LogHistogram()
    sketch.update([])
    sketch.update([None])
    assert math.isnan(sketch.quantile(0.5))
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            sketch.quantile(q)


@pytest.mark.parametrize(
    "layout",
    [
        {"relative_error": 0.0},
        {"relative_error": 0.3},
        {"relative_error": math.nan},
        {"lowest": 0.0},
        {"lowest": 2.0, "highest": 2.0},
        {"highest": math.inf},
        {"lowest": math.nan},
    ],
)
def test_layouts_that_keep_nothing_are_refused(layout: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"relative error|lowest"):
        LogHistogram(**layout)


def test_the_state_is_bounded_whatever_comes() -> None:
    sketch = LogHistogram()
    rng = np.random.default_rng(8)
    sketch.update(rng.choice([-1.0, 1.0], 1_000_000) * np.exp(rng.uniform(-700, 700, 1_000_000)))
    assert len(sketch._positive.counts) == len(sketch._negative.counts) == 2_100  # noqa: SLF001  # the bound
    assert len(sketch.to_bytes()) <= 2 * 2_100 * 2 + 40
