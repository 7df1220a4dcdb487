"""Quantiles of residuals against the residuals themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import absolute_quantile, count_errors, quantile_p_value, residual_quantile
from detectors.performance.residuals import QUANTILES, kurtosis

ERRORS = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.floats(-1e-3, 1e-3), st.sampled_from([0.0, 1.0, -1.0])), min_size=1
)
LEVELS = st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.9, 0.95, 0.99])


def vector(errors: object) -> NDArray[np.int64]:
    column = np.asarray(errors, float)
    return count_errors(column, np.zeros(len(column)))


@given(ERRORS, LEVELS)
def test_a_quantile_is_that_order_statistic_within_a_bin(errors: list[float], q: float) -> None:
    for of, values in (
        (residual_quantile, sorted(errors)),
        (absolute_quantile, sorted(abs(e) for e in errors)),
    ):
        found = of(vector(errors), q)
        assert found.value is not None
        distance = [abs(values[k - 1] - found.value) for k in _ranks(q, len(values))]
        assert min(distance) <= found.bin_error * (1 + 1e-9)
        assert found.bin_error <= max(2.0**-31, 0.125 * max(abs(found.value), 2.0**-32)) * (1 + 1e-9)


def _ranks(q: float, n: int) -> set[int]:
    """The order statistics that a rank of q * n may mean, rounding included."""
    return {min(n, max(1, k)) for k in (math.ceil(q * n - 1e-9), math.ceil(q * n + 1e-9))}


@pytest.mark.parametrize("name", sorted(QUANTILES))
def test_its_standard_error_is_the_deviation_over_repeated_samples(name: str) -> None:
    of = residual_quantile if name.startswith("residual") else absolute_quantile
    rng = np.random.default_rng(4)
    found = [of(vector(rng.normal(1, 2, 1000)), QUANTILES[name]) for _ in range(300)]
    deviation = np.std([m.value or 0.0 for m in found])
    assert np.mean([m.standard_error or 0.0 for m in found]) == pytest.approx(deviation, rel=0.15)


def test_the_kurtosis_is_that_of_the_errors_within_a_percent() -> None:
    rng = np.random.default_rng(5)
    for errors in (rng.normal(0, 3, 20_000), rng.laplace(0, 1e-4, 20_000), rng.standard_t(9, 20_000)):
        exact = float((errors**4).mean() / (errors**2).mean() ** 2)
        assert kurtosis(vector(errors)) == pytest.approx(exact, rel=0.01)
    assert kurtosis(vector(np.zeros(5))) == kurtosis(vector([])) == 1.0


@pytest.mark.parametrize("name", sorted(QUANTILES))
def test_quantiles_of_whole_numbers_keep_their_level(name: str) -> None:
    rng = np.random.default_rng(6)
    reference = vector(rng.poisson(3, 20_000) - 3.0)
    p_values = [quantile_p_value(reference, vector(rng.poisson(3, 60) - 3.0), name) for _ in range(1500)]
    for level in (0.05, 0.01):
        limit = scipy.stats.binom.ppf(0.999, 1500, level) / 1500
        assert np.mean(np.array(p_values) <= level) <= limit


def test_a_quantile_that_moved_is_found_and_only_that() -> None:
    rng = np.random.default_rng(7)
    reference, wider = vector(rng.normal(0, 1, 20_000)), vector(rng.normal(0, 1.5, 1000))
    found = {name: quantile_p_value(reference, wider, name) for name in QUANTILES}
    assert {name for name, p in found.items() if p < 1e-4} == set(QUANTILES) - {"residual_p50"}
    higher = vector(rng.normal(0.3, 1, 1000))
    assert quantile_p_value(reference, higher, "residual_p50") < 1e-4
    narrower = vector(rng.normal(0, 0.5, 1000))
    assert quantile_p_value(reference, narrower, "absolute_p95") == pytest.approx(1.0)


def test_no_outcomes_are_no_change() -> None:
    nothing, some = vector([]), vector([1.0, 2.0])
    assert {quantile_p_value(nothing, some, n) for n in QUANTILES} == {1.0}
    assert {quantile_p_value(some, nothing, n) for n in QUANTILES} == {1.0}


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, math.nan])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        residual_quantile(vector([1.0]), q)
