"""The checks of a feature: each against its definition, its size by enumeration, and the fault that it is for."""

from __future__ import annotations

import doctest
from collections import Counter
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from detectors.quality import LEAST_N, Checks, QualityResult, quality_test
from detectors.reference import Reference
from tests.oracle.shares import fisher, one_bin, splits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detectors.reference import Subject

LEVEL = 1e-6
"""About what the budget leaves to one test of one window."""


def subject(values: Sequence[Any], kind: str | None = None) -> Subject:
    return Reference.build({"f": values}, types={"f": kind} if kind else None).features[0]


def found(reference: Subject, values: Sequence[Any]) -> dict[str, QualityResult]:
    return {r.check: r for r in quality_test(reference, reference.slots_of(values))}


AMOUNTS = [float(v) for v in range(1, 1001)]
COUNTRIES = ["de"] * 600 + ["fr"] * 398 + ["uk"] * 2


def test_each_kind_has_the_checks_that_make_sense_for_it() -> None:
    assert list(found(subject(AMOUNTS), AMOUNTS)) == ["missing", "type_error", "out_of_range", "constant"]
    assert list(found(subject(COUNTRIES), COUNTRIES)) == ["missing", "type_error", "unseen", "constant"]
    assert list(found(subject([True, False] * 50), [True])) == ["missing", "type_error", "constant"]
    assert list(found(subject([5.0] * 50), [5.0])) == ["missing", "type_error", "out_of_range"]


def test_the_reference_itself_raises_nothing() -> None:
    for reference, values in ((subject(AMOUNTS), AMOUNTS), (subject(COUNTRIES), COUNTRIES)):
        assert {r.p_value for r in found(reference, values).values()} == {1.0}


def test_missing_and_type_errors_are_fishers_test_of_rows() -> None:
    reference = subject([*AMOUNTS[:990], *([None] * 10)])
    results = found(reference, [*AMOUNTS[:85], None, None, None, *(["?"] * 12)])
    for check, before, hits in (("missing", 10, 3), ("type_error", 0, 12)):
        result = results[check]
        assert (result.hits, result.n, result.share) == (hits, 100, hits / 100)
        assert result.reference_share == before / 1000
        assert result.p_value == pytest.approx(float(fisher(before, 1000, hits, 100)), rel=1e-10)


def test_a_jump_to_five_per_cent_of_nulls_is_found_in_every_window_of_a_thousand() -> None:
    rng = np.random.default_rng(11)
    reference = subject(
        [None if r < 0.001 else v for r, v in zip(rng.random(50_000), rng.normal(size=50_000), strict=True)]
    )
    checks = Checks([reference])
    bins = reference.counts[1:-3] / reference.counts[1:-3].sum()
    nulls = rng.binomial(1_000, 0.05, 400)
    windows = np.zeros((400, reference.width), np.int64)
    windows[:, 1:-3] = [rng.multinomial(1_000 - k, bins) for k in nulls]
    windows[:, -2] = nulls
    p = checks.test(windows).p_value
    assert checks.cells[0] == ("f", "missing")
    assert (p[:, 0] < LEVEL).all()
    assert (p[:, 1:] == 1).all()


def test_a_feature_that_is_gone_is_told_from_one_that_was_never_there() -> None:
    results = found(subject(AMOUNTS), [None] * 40)
    assert results["missing"].gone
    assert results["missing"].p_value is not None
    assert results["missing"].p_value < LEVEL
    assert results["missing"].sentence == "f is gone: missing in all 40 rows (0.00% in the reference)"
    assert all(results[check].insufficient for check in ("out_of_range", "constant"))
    assert not found(subject([1.0, 2.0] + [None] * 10), [None] * 39 + [1.0])["missing"].gone


def test_values_outside_of_the_reference_are_beta_binomial_by_order_statistics() -> None:
    # Wilks 1941: the mass between the least and the greatest of N values is beta(N - 1, 2).
    reference = subject(AMOUNTS)
    for outside in range(1, 12):
        values = [*AMOUNTS[: 100 - outside], *([0.5] * (outside // 2)), *([2000.0] * (outside - outside // 2))]
        expected = betabinom.sf(outside - 1, 100, 2, 999)
        assert found(reference, values)["out_of_range"].p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("reference_n", "n"), [(4, 10), (7, 10)])
def test_the_range_of_every_split_of_one_sample_exceeds_no_level(reference_n: int, n: int) -> None:
    """All ways to call N of N + n distinct values the reference; its own extremes are the range."""
    outside: Counter[int] = Counter()
    for before, now in splits([float(v) for v in range(reference_n + n)], n):
        low, high = min(before), max(before)  # type: ignore[type-var]  # floats
        outside[sum(v < low or v > high for v in now)] += 1  # type: ignore[operator]  # floats
    reference = subject([float(v) for v in range(reference_n)])
    total, spent = sum(outside.values()), 0
    for x in range(n, 0, -1):
        spent += outside[x]
        p = found(reference, [-1.0] * x + [1.0] * (n - x))["out_of_range"].p_value
        assert p == pytest.approx(spent / total, rel=1e-12)


def test_a_constant_feature_is_told_with_the_probability_that_one_bin_takes_all() -> None:
    reference = subject(COUNTRIES)
    for n in (LEAST_N, 20, 60):
        result = found(reference, ["de"] * n)["constant"]
        assert result.p_value == pytest.approx(float(one_bin([600, 398, 2], n)), rel=1e-10)
        assert (result.reference_share, result.share, result.where) == (0.6, 1.0, (("de", 0.6, 1.0),))
    assert found(reference, ["de"] * 99 + ["fr"])["constant"].p_value == 1.0


def test_one_bin_of_every_split_of_one_sample_exceeds_no_level() -> None:
    rows, n = ["a"] * 12 + ["b"] * 2 + ["c"], 10
    seen: Counter[Fraction] = Counter()
    for before, now in splits(rows, n):
        counts = Counter(before)
        stuck = len(set(now)) == 1 and len(counts) > 1 and now[0] in counts
        seen[one_bin(list(counts.values()), n) if stuck else Fraction(1)] += 1
    total, spent = sum(seen.values()), 0
    for p in sorted(seen):
        spent += seen[p]
        assert Fraction(spent, total) <= p


def test_values_that_are_all_out_of_range_are_not_called_constant() -> None:
    results = found(subject(AMOUNTS), [5000.0 + i for i in range(50)])
    assert results["constant"].p_value == 1.0
    assert results["out_of_range"].p_value is not None
    assert results["out_of_range"].p_value < LEVEL
    assert results["out_of_range"].where == (("below 1", 0.0, 0.0), ("above 1000", 0.0, 1.0))


@pytest.mark.parametrize(("value", "stuck"), [(0.5, False), (1.0, True), (1000.0, True), (1000.5, False)])
def test_only_a_bin_of_the_reference_can_be_where_a_feature_is_stuck(value: float, stuck: bool) -> None:  # noqa: FBT001  # a table
    assert ((found(subject(AMOUNTS), [value] * 50)["constant"].p_value or 0) < LEVEL) == stuck


def test_a_stuck_sensor_a_renamed_country_and_text_for_a_number_are_found() -> None:
    assert (found(subject(AMOUNTS), [17.0] * 20)["constant"].p_value or 0) < LEVEL
    assert (found(subject(COUNTRIES), ["de"] * 90 + ["DE"] * 10)["unseen"].p_value or 0) < LEVEL
    assert (found(subject(AMOUNTS), [*AMOUNTS[:90], *(["n/a"] * 10)])["type_error"].p_value or 0) < LEVEL


@pytest.mark.parametrize("values", [[], [None], [1.0], [float("inf")], [None] * (LEAST_N - 1), ["x"] * (LEAST_N - 1)])
def test_a_handful_of_rows_is_insufficient(values: list[Any]) -> None:
    for result in found(subject(AMOUNTS), values).values():
        assert (result.p_value, result.insufficient) == (None, True)


def test_nan_is_missing_and_takes_no_part_in_what_is_about_values() -> None:
    results = found(subject(AMOUNTS), [float("nan"), None, 0.5, 1000.5, *AMOUNTS[:20]])
    assert (results["missing"].hits, results["missing"].n) == (2, 24)
    assert (results["out_of_range"].hits, results["out_of_range"].n) == (2, 22)


def test_a_window_beside_a_small_reference_decides_alone() -> None:
    assert found(subject(AMOUNTS), AMOUNTS[:101])["missing"].decides_alone
    assert not found(subject(AMOUNTS), AMOUNTS[:100])["missing"].decides_alone


SUBJECTS = (
    subject(AMOUNTS),
    subject(COUNTRIES),
    subject([True, False] * 50),
    subject([str(i) for i in range(300)] * 2 + ["rare"]),
    subject([0.0] * 90 + [1.0, 2.0, None] * 10),
    subject([7.0] * 30),
)
# A column of one type, because what a mixed one means is decided over the whole column.
NUMBER = st.sampled_from([None, float("nan"), 0.0, 1.0, 7.0, 500.5, 5000.0])
TEXT = st.sampled_from([None, "de", "uk", "xx", "17", "rare"])
ROW = st.sampled_from([None, float("nan"), 0.0, 1.0, 7.0, 500.5, 5000.0, "de", "uk", "xx", "17", True, False])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(ROW, max_size=40), min_size=1, max_size=4))
def test_many_subjects_and_windows_at_once_are_the_same_as_one_by_one(windows: list[list[Any]]) -> None:
    vectors = [[s.slots_of(values) for s in SUBJECTS] for values in windows]
    together = list(Checks(SUBJECTS).test(np.stack([np.concatenate(v) for v in vectors])))
    single = [r for v in vectors for s, counts in zip(SUBJECTS, v, strict=True) for r in quality_test(s, counts)]
    assert together == single
    for result in single:
        assert result.p_value is None or 0 <= result.p_value <= 1
        assert 0 <= result.share <= 1
        assert result.hits <= result.n


@settings(deadline=None, max_examples=60)
@given(st.lists(NUMBER, max_size=60) | st.lists(TEXT, max_size=60), st.integers(0, 60))
def test_panes_add_up_to_the_window(values: list[Any], cut: int) -> None:
    for s in SUBJECTS:
        parts = s.slots_of(values[:cut]) + s.slots_of(values[cut:])
        assert quality_test(s, parts) == quality_test(s, s.slots_of(values))


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="these subjects have 109 slots together"):
        Checks([subject(AMOUNTS), subject([1.0])]).test(np.zeros(108, np.int64))


def test_no_subject_has_no_check() -> None:
    assert Checks([]).test(np.zeros(0, np.int64)).p_value.shape == (1, 0)


@pytest.mark.parametrize("module", ["quality.checks", "quality.freshness", "quality.names", "quality", "shares"])
def test_the_examples_run(module: str) -> None:
    told = doctest.testmod(import_module(f"detectors.{module}"))
    assert told.attempted > 0
    assert told.failed == 0
