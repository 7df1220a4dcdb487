"""The test of a cell: what it finds, what it must not find, and how it says that it cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats

from detectors.drift import cell_test
from detectors.reference import Reference, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

N = 20_000
WEIGHTS = 1 / np.arange(1, 201)
SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray[Any, Any]]] = {
    "normal": lambda g, n: g.normal(size=n),
    "lognormal": lambda g, n: g.lognormal(size=n),
    "counts": lambda g, n: g.poisson(3, n),
    "zero-inflated": lambda g, n: np.where(g.random(n) < 0.9, 0.0, g.exponential(size=n)),
    "nearly constant": lambda g, n: np.where(g.random(n) < 0.998, 0.0, g.random(n)),
    "five classes": lambda g, n: g.choice(list("abcde"), n, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
    "200 classes": lambda g, n: g.choice(200, n, p=WEIGHTS / WEIGHTS.sum()).astype(str),
    "boolean": lambda g, n: g.random(n) < 0.2,
}


def subject(values: object) -> Subject:
    return Reference.build({"x": values}).features[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [60, 150, 300, 1500])
def test_without_drift_p_values_keep_their_level(shape: str, n: int) -> None:
    rng, draw = np.random.default_rng([n, len(shape)]), SHAPES[shape]
    p_values: list[float] = []
    for _ in range(3):
        reference = subject(draw(rng, N))
        values = draw(rng, 100 * n).reshape(100, n)
        p_values += [cell_test(reference, reference.slots_of(v)).p_value or 0.0 for v in values]
    for level, allowed in ((0.1, 1.0), (0.01, 1.7)):  # 1.7: what STATISTICS states for the saddlepoint's tail
        rejected = sum(p <= level for p in p_values)
        assert rejected <= scipy.stats.binom.ppf(0.9995, len(p_values), allowed * level)


@pytest.mark.parametrize("n", [150, 1000])
def test_on_continuous_data_the_test_is_not_needlessly_cautious(n: int) -> None:
    rng = np.random.default_rng(n)
    reference = subject(rng.normal(size=N))
    p_values = [cell_test(reference, reference.slots_of(rng.normal(size=n))).p_value or 0.0 for _ in range(400)]
    assert sum(p <= 0.1 for p in p_values) >= scipy.stats.binom.ppf(0.001, 400, 0.07)


def test_a_shift_of_a_tenth_of_a_deviation_is_seen_as_often_as_stated() -> None:
    rng = np.random.default_rng(8)
    reference = subject(rng.normal(size=50_000))
    seen = [
        (cell_test(reference, reference.slots_of(rng.normal(0.1, 1, 1000))).p_value or 0) < 0.0059 for _ in range(300)
    ]
    assert 0.4 < np.mean(seen) < 0.75


@pytest.mark.parametrize(("shift", "expected"), [(0.1, 0.0096), (0.25, 0.060), (1 / 3, 0.104), (0.5, 0.24)])
def test_the_effect_of_a_shift_is_its_population_psi_over_ten_bins(shift: float, expected: float) -> None:
    quantiles = scipy.stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    reference = subject(quantiles)
    found = cell_test(reference, reference.slots_of(quantiles + shift))
    assert found.effect_size == pytest.approx(expected, rel=0.06)


def test_the_effect_does_not_grow_when_the_window_shrinks() -> None:
    rng = np.random.default_rng(2)
    reference = subject(rng.normal(size=50_000))
    effects = [cell_test(reference, reference.slots_of(rng.normal(size=200))).effect_size for _ in range(300)]
    assert abs(np.mean(effects)) < 0.003  # raw PSI would be 0.044


@pytest.mark.parametrize("low", [0.0, 0.3, 1.0])
def test_a_constant_that_comes_to_life_has_an_effect_of_15_and_more(low: float) -> None:
    rng = np.random.default_rng(1)
    reference = subject(np.full(8736, 0.5))
    window = np.where(rng.random(336) < low, 0.5 - rng.random(336), 0.5 + rng.random(336))
    found = cell_test(reference, reference.slots_of(window))
    assert found.effect_size >= 15
    assert (found.p_value or 0) < 1e-100
    assert found.method == "exact share of other values"
    assert {label for label, _, _ in found.top} <= {"below 0.5", "= 0.5", "above 0.5"}


def test_a_constant_that_stays_constant_is_no_drift() -> None:
    found = cell_test(subject(["a"] * 5000), np.array([400, 0, 0, 3, 0]))
    assert found.p_value == 1.0
    assert found.psi < 0.01


def test_values_out_of_range_are_drift() -> None:
    reference = subject(np.arange(10_000.0))
    window = np.concatenate((np.arange(0, 10_000, 20.0), np.full(100, 1e6)))
    found = cell_test(reference, reference.slots_of(window))
    assert (found.p_value or 0) < 1e-6
    assert found.top[0][0].startswith("from ")


def test_new_categories_are_seen_though_pooling_would_hide_them() -> None:
    reference = subject(["a"] * 5000 + ["b"] * 5000)
    window = ["a"] * 250 + ["b"] * 238 + ["new"] * 12  # of 500: the share of b is what it could well be by chance
    found = cell_test(reference, reference.slots_of(window))
    assert (found.p_value or 0) < 1e-6
    assert found.method == "exact share of other categories"
    assert found.top[0][0] == "other"


def test_missing_values_and_type_errors_are_no_drift() -> None:
    rng = np.random.default_rng(6)
    reference = subject(rng.normal(size=N))
    window = reference.slots_of(rng.normal(size=500))
    with_gaps = window.copy()
    with_gaps[-2:] += 10_000
    assert cell_test(reference, with_gaps) == cell_test(reference, window)


@pytest.mark.parametrize("n", [0, 1, 49])
def test_fewer_than_fifty_values_are_insufficient(n: int) -> None:
    reference = subject(np.arange(1000.0))
    found = cell_test(reference, reference.slots_of(np.full(n, 500.0)))
    assert found.insufficient
    assert found.p_value is None
    assert found.n == n


def test_a_reference_below_ten_windows_is_said() -> None:
    reference = subject(np.arange(1000.0))
    assert not cell_test(reference, reference.slots_of(np.arange(0, 1000, 10.0))).decides_alone
    assert cell_test(reference, reference.slots_of(np.arange(0, 1000, 9.0))).decides_alone


def test_the_same_counts_have_the_same_result_whoever_computes_it() -> None:
    rng = np.random.default_rng(9)
    reference = subject(rng.normal(size=N))
    again = Subject.from_dict(reference.to_dict())
    window = reference.slots_of(rng.normal(0.2, 1, 120))
    assert cell_test(reference, window) == cell_test(again, window)


def test_a_vector_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="slots"):
        cell_test(subject(np.arange(100.0)), np.zeros(5, np.int64))


@pytest.mark.parametrize("n", [60, 150, 300])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_a_result_holds_plain_numbers_that_json_can_write(n: int, shift: float) -> None:
    rng = np.random.default_rng(10)
    reference = subject(rng.normal(size=N))
    found = cell_test(reference, reference.slots_of(rng.normal(shift, 1, n)))
    assert {type(v) for v in (found.p_value, found.statistic, found.effect_size, found.psi)} == {float}
