"""Two vectors side by side: the level is kept at small n, worse is found, and how much worse is said in the right unit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from detectors.performance import Comparison, compare, count_classes, count_errors

Vector = NDArray[np.int64]
World = Callable[[np.random.Generator, int], Vector]
REFERENCE = 20_000
RUNS = 400


def calibrated(rng: np.random.Generator, n: int) -> Vector:
    score = rng.random(n)
    return _scored(rng.random(n) < score, score)


def rare(rng: np.random.Generator, n: int) -> Vector:
    score = rng.beta(0.1, 5, n)
    return _scored(rng.random(n) < score, score)


def overconfident(rng: np.random.Generator, n: int) -> Vector:
    true = rng.random(n)
    return _scored(rng.random(n) < 0.2 + 0.6 * true, np.clip(1.5 * true - 0.25, 0.02, 0.98))


def _scored(actual: NDArray[np.bool_], score: NDArray[np.float64]) -> Vector:
    return count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)


def rare_classes(rng: np.random.Generator, n: int) -> Vector:
    actual = rng.choice(4, n, p=[0.9, 0.06, 0.03, 0.01])
    predicted = np.where(rng.random(n) < 0.2, rng.integers(0, 4, n), actual)
    return count_classes(actual, predicted, "multiclass", 4)


def heavy_tailed(rng: np.random.Generator, n: int) -> Vector:
    return count_errors(rng.standard_t(4, n), np.zeros(n))


def skewed(rng: np.random.Generator, n: int) -> Vector:
    return count_errors(rng.lognormal(0, 1, n) - 1.6, np.zeros(n))


def whole_numbers(rng: np.random.Generator, n: int) -> Vector:
    return count_errors((rng.poisson(3, n) - 3).astype(np.float64), np.zeros(n))


WORLDS: dict[str, tuple[World, str, int]] = {
    "calibrated": (calibrated, "binary", 2),
    "rare": (rare, "binary", 2),
    "overconfident": (overconfident, "binary", 2),
    "rare classes": (rare_classes, "multiclass", 4),
    "heavy-tailed": (heavy_tailed, "regression", 0),
    "skewed": (skewed, "regression", 0),
    "whole numbers": (whole_numbers, "regression", 0),
}


@cache
def reference(world: str, seed: int) -> Vector:
    make, _, _ = WORLDS[world]
    return make(np.random.default_rng(1_000_000 + seed), REFERENCE)


def compared(world: str, current: Vector, seed: int = 0) -> dict[str, Comparison]:
    _, task, classes = WORLDS[world]
    return compare(reference(world, seed), current, task, [""] * classes)


@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("world", WORLDS)
def test_without_a_change_every_metric_keeps_its_level(world: str, n: int) -> None:
    rng = np.random.default_rng(n)
    runs = [compared(world, WORLDS[world][0](rng, n), seed % 20) for seed in range(RUNS)]
    for name in runs[0]:
        p_values = np.array([run[name].p_value for run in runs])
        for level in (0.05, 0.01):
            assert np.count_nonzero(p_values <= level) <= scipy.stats.binom.ppf(0.999, RUNS, level), (name, level)


def test_macro_averages_pass_over_classes_that_were_hardly_met() -> None:
    def vector(rare_right: int, rare_wrong: int) -> Vector:
        actual = np.array([0] * 500 + [1] * (rare_right + rare_wrong))
        predicted = np.array([0] * 450 + [2] * 50 + [1] * rare_right + [0] * rare_wrong)
        return count_classes(actual, predicted, "multiclass", 3)

    few = compare(vector(90, 10), vector(0, 3), "multiclass", "abc")["recall"]
    assert few.worse_by == pytest.approx(0.45)
    assert few.p_value == pytest.approx(0.5, abs=0.01)
    assert compare(vector(90, 10), vector(10, 20), "multiclass", "abc")["recall"].p_value < 1e-6


def test_losses_and_errors_are_worse_relative_to_the_reference_and_rates_absolutely() -> None:
    rng = np.random.default_rng(1)
    off = rng.random(2000)
    found = compared("calibrated", _scored(rng.random(2000) < 0.5, off))
    for name in ("log_loss", "brier"):
        was, now = found[name].reference.value, found[name].current.value
        assert was is not None
        assert now is not None
        assert found[name].worse_by == pytest.approx((now - was) / was)
    accuracy = found["accuracy"]
    assert accuracy.worse_by == pytest.approx((accuracy.reference.value or 0) - (accuracy.current.value or 0))
    assert {name for name, one in found.items() if one.p_value < 1e-6} == set(found)


def test_a_bias_either_way_is_worse_in_units_of_the_mean_absolute_error() -> None:
    rng = np.random.default_rng(2)
    for shift in (-0.5, 0.5):
        found = compared("heavy-tailed", count_errors(rng.standard_t(4, 1000) + shift, np.zeros(1000)))
        mae = found["mae"].reference.value or 0.0
        both = found["bias"]
        change = (both.current.value or 0.0) - (both.reference.value or 0.0)
        assert both.worse_by == pytest.approx(abs(change) / mae)
        assert found["bias"].p_value < 1e-6
        assert found["residual_p50"].p_value < 1e-6


def test_a_perfect_reference_has_no_unit_for_growth() -> None:
    perfect = count_errors(np.zeros(100), np.zeros(100))
    found = compare(perfect, count_errors(np.full(50, 0.25), np.zeros(50)), "regression", ())
    assert (found["mae"].worse_by, found["mae"].p_value) == (0.25, 0.0)


@pytest.mark.parametrize("world", WORLDS)
def test_nothing_against_anything_is_no_change(world: str) -> None:
    nothing = np.zeros_like(reference(world, 0))
    assert {one.p_value for one in compared(world, nothing).values()} == {1.0}
    assert {one.worse_by for one in compared(world, nothing).values()} == {None}


def test_only_metrics_of_the_task_can_be_named() -> None:
    vector = reference("calibrated", 0)
    assert list(compare(vector, vector, "binary", ("", "yes"), ("brier", "f1"))) == ["brier", "f1"]
    with pytest.raises(ValueError, match="no metric 'mae' of a binary task"):
        compare(vector, vector, "binary", ("", "yes"), ("mae",))


@pytest.mark.parametrize("slope", [1.0, 0.6, -1.0])
@pytest.mark.parametrize(("known", "n"), [(100, 4_000), (400, 8_000)])
def test_a_small_reference_of_scores_that_are_off_does_not_make_a_large_window_look_worse(
    slope: float, known: int, n: int
) -> None:
    rng = np.random.default_rng(30)
    level, runs = 0.01, 150

    def drawn(size: int) -> Vector:
        score = rng.random(size)
        return _scored(rng.random(size) < 0.5 + slope * (score - 0.5), score)

    found = [compare(drawn(known), drawn(n), "binary", ("", "yes")) for _ in range(runs)]
    for metric in ("roc_auc", "log_loss", "brier", "ece"):
        rejected = sum(c[metric].p_value <= level for c in found)
        assert rejected <= runs * level + 3.5 * np.sqrt(runs * level), metric


def test_areas_of_a_handful_are_never_found_worse() -> None:
    rng = np.random.default_rng(5)
    actual = rng.integers(0, 2, 20_000)
    reference = count_classes(actual, actual, "binary", 2, np.where(actual, 0.9, 0.1) + rng.normal(0, 0.3, 20_000))
    few = np.array([1, 1, 0, 0, 0])
    for n, is_worse in ((1, False), (12, True)):  # the worst order there is, of 5 and of 60
        truth = np.tile(few, n)
        current = count_classes(truth, truth, "binary", 2, np.where(truth, 0.2, 0.8))
        for name in ("roc_auc", "pr_auc"):
            p_value = compare(reference, current, "binary", ("", "yes"), [name])[name].p_value
            assert (p_value < 1e-3) == is_worse
