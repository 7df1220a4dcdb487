"""Proxies for performance: low confidence, the error rate to expect, and whether scores still come true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import count_classes, layout, merge
from detectors.performance.calibration_drift import EXACT, CalibrationDrift, calibration_drift
from detectors.performance.proxies import ScoreProxies
from detectors.reference import Reference
from tests.oracle import proxies as oracle

HOUR = 3_600_000
Scores = NDArray[np.float64]
Vector = NDArray[np.int64]


def table(rng: np.random.Generator, score: Scores, threshold: float = 0.5) -> dict[str, Any]:
    """Calibrated scores, answers by a threshold."""
    return {
        "x": score,
        "score": score,
        "prediction": np.where(score > threshold, "yes", "no"),
        "label": np.where(rng.random(len(score)) < score, "yes", "no"),
    }


def built(columns: dict[str, Any], **said: Any) -> Reference:  # noqa: ANN401  # any setting
    return Reference.build(columns, task="binary", positive_class="yes", **said)


def compiled(reference: Reference) -> ScoreProxies:
    made = ScoreProxies.of(reference)
    assert made is not None
    return made


def slots(reference: Reference, score: Scores) -> Vector:
    assert reference.score is not None
    return reference.score.slots_of(score)


def outcomes(rng: np.random.Generator, score: Scores, chance: Scores | None = None) -> Vector:
    """The outcome vector of scores whose labels are positive with `chance` (default: what the scores say)."""
    actual = rng.random(len(score)) < (score if chance is None else chance)
    return count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)


# -- what a reference knows -------------------------------------------------------------------------------------------


def test_a_reference_keeps_what_answers_and_labels_went_with_each_score() -> None:
    rng = np.random.default_rng(1)
    columns = table(rng, rng.random(500))
    score: list[float | None] = columns["score"].tolist()
    truth: list[str | None] = columns["label"].tolist()
    answer: list[str | None] = columns["prediction"].tolist()
    truth[:100], score[-3:], answer[50:60] = [None] * 100, [None] * 3, [None] * 10
    reference = built(columns | {"score": score, "label": truth, "prediction": answer})
    assert reference.score is not None
    assert reference.scored is not None
    expected = np.zeros((4, reference.score.width), np.int64)
    for slot, s, t, a in zip(reference.score.slot_of_each(score), score, truth, answer, strict=True):
        said = a if a is not None or s is None else ("yes" if s >= 0.5 else "no")
        expected[:, slot] += [
            said == "yes",
            t is not None,
            t == "yes",
            t is not None and (t == "yes") != (said == "yes"),
        ]
    assert reference.scored.tolist() == expected.tolist()
    again = Reference.from_json(reference.to_json())
    assert again == reference
    assert again.scored is not None
    assert again.scored.tolist() == expected.tolist()


def test_references_without_that_still_load_and_have_no_proxies_of_scores() -> None:
    rng = np.random.default_rng(1)
    old = replace(built(table(rng, rng.random(500))), scored=None)
    assert Reference.from_json(old.to_json()) == old
    assert b"scored" not in old.to_json()
    assert ScoreProxies.of(old) is None


@pytest.mark.parametrize("shape", [(3, 104), (4, 7), (4,)])
def test_counts_that_do_not_fit_the_score_are_refused(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="do not fit the score"):
        replace(built(table(rng, rng.random(500))), scored=np.zeros(shape, np.int64))


# -- low confidence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_the_boundary_is_where_answers_change_and_the_band_around_it_holds_a_tenth(threshold: float) -> None:
    rng = np.random.default_rng(2)
    score = rng.random(20_000)
    found = compiled(built(table(rng, score, threshold)))
    assert found.boundary is not None
    assert found.band is not None
    assert found.boundary == pytest.approx(threshold, abs=0.011)
    low, high = found.band
    assert low < threshold < high
    assert found.share == pytest.approx(((score >= low) & (score < high)).mean(), abs=1e-9)
    assert found.share == pytest.approx(0.1, abs=0.011)


def test_low_confidence_is_the_share_of_scores_in_the_band_and_fishers_test_of_it() -> None:
    rng = np.random.default_rng(3)
    score, window = rng.random(2_000), rng.beta(3, 3, 60)
    reference = built(table(rng, score))
    made = compiled(reference)
    found = made.low_confidence(slots(reference, window))
    assert found is not None
    assert made.band is not None
    low, high = made.band
    near, known = int(((window >= low) & (window < high)).sum()), int(((score >= low) & (score < high)).sum())
    assert (found.value, found.n) == (near / 60, 60)
    assert found.reference_value == pytest.approx(known / 2_000, rel=1e-12)
    assert found.p_value == pytest.approx(float(oracle.fisher(known, 2_000, near, 60)), rel=1e-9)


def test_where_answers_do_not_follow_the_score_there_is_no_boundary() -> None:
    rng = np.random.default_rng(4)
    columns = table(rng, rng.random(2_000))
    columns["prediction"] = np.where(rng.random(2_000) < 0.5, "yes", "no")
    reference = built(columns)
    made = compiled(reference)
    assert (made.boundary, made.band, made.share) == (None, None, None)
    assert made.low_confidence(slots(reference, rng.random(100))) is None
    assert made.estimated_error_rate(slots(reference, rng.random(100))) is not None


def test_scores_of_two_values_have_no_band_of_a_tenth() -> None:
    rng = np.random.default_rng(4)
    made = compiled(built(table(rng, np.where(rng.random(2_000) < 0.5, 0.1, 0.9))))
    assert made.band is None


def test_a_rare_positive_class_has_its_boundary_in_the_uppermost_bin() -> None:
    rng = np.random.default_rng(5)
    score = rng.beta(0.1, 5, 20_000)
    made = compiled(built(table(rng, score)))
    assert made.boundary is not None
    assert 0.005 < (score >= made.boundary).mean() < 0.02


# -- estimated error rate ---------------------------------------------------------------------------------------------


def test_the_estimate_is_the_sum_over_bins_of_what_the_reference_got_wrong_there() -> None:
    rng = np.random.default_rng(6)
    score = rng.random(20_000)
    columns = table(rng, score)
    reference = built(columns)
    assert reference.score is not None
    wrong = columns["label"] != columns["prediction"]
    at = reference.score.slot_of_each(score)
    window = rng.beta(4, 4, 500)
    expected = np.mean([wrong[at == k].mean() for k in reference.score.slot_of_each(window)])
    found = compiled(reference).estimated_error_rate(slots(reference, window))
    assert found is not None
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.reference_value == pytest.approx(wrong.mean(), rel=1e-12)
    assert found.p_value < 1e-6


def test_the_windows_error_rate_lies_around_the_estimate_as_its_standard_error_says() -> None:
    rng = np.random.default_rng(7)
    z = []
    for _ in range(40):
        reference = built(table(rng, rng.random(3_000)))
        made = compiled(reference)
        for _ in range(20):
            score = rng.beta(2, 2, 300)  # other scores than the reference's, and they mean the same
            found = made.estimated_error_rate(slots(reference, score))
            assert found is not None
            realised = ((rng.random(300) < score) != (score > 0.5)).mean()
            z.append((realised - found.value) / found.standard_error)
    assert np.mean(z) == pytest.approx(0, abs=0.25)  # 40 references, whose labels their windows share
    assert np.std(z) == pytest.approx(1, abs=0.15)


def test_concept_drift_is_invisible_to_scores_and_seen_by_calibration() -> None:
    rng = np.random.default_rng(8)
    score = rng.random(20_000)
    reference = built(table(rng, score))
    assert reference.outcomes is not None
    made, now = compiled(reference), rng.random(1_000)
    turned = outcomes(rng, now, 1 - now)
    found = made.estimated_error_rate(slots(reference, now))
    assert found is not None
    assert turned[layout.ERRORS] / 1_000 > 0.7
    assert found.value == pytest.approx(0.25, abs=0.02)
    assert found.p_value > 0.01
    seen = calibration_drift(reference.outcomes, turned)
    assert seen is not None
    assert seen.p_value < 1e-12
    assert seen.slope < seen.level


@pytest.mark.parametrize("rows", [0, 10, 49])
def test_a_small_window_is_not_tested(rows: int) -> None:
    rng = np.random.default_rng(9)
    reference = built(table(rng, rng.random(2_000)))
    made, now = compiled(reference), slots(reference, np.full(rows, 0.5))
    for found in (made.low_confidence(now), made.estimated_error_rate(now)):
        assert (found is None) == (rows == 0)
        assert found is None or found.p_value == 1.0


def test_scores_beyond_the_reference_count_as_its_outermost_bin_and_are_told() -> None:
    rng = np.random.default_rng(10)
    reference = built(table(rng, 0.2 + 0.6 * rng.random(5_000)))
    made = compiled(reference)
    inside = made.estimated_error_rate(slots(reference, np.array([0.201] * 50 + [0.799] * 50)))
    beyond = made.estimated_error_rate(slots(reference, np.array([0.01] * 50 + [0.99] * 50)))
    assert inside is not None
    assert beyond is not None
    assert (inside.value, inside.outside, beyond.outside) == (beyond.value, 0.0, 1.0)


def test_few_labels_give_no_estimate() -> None:
    rng = np.random.default_rng(11)
    columns = table(rng, rng.random(2_000))
    columns["label"] = [t if i < 199 else None for i, t in enumerate(columns["label"])]
    made = compiled(built(columns))
    assert made.rate is None
    assert made.estimated_error_rate(slots(built(columns), rng.random(100))) is None


def test_another_slot_vector_is_refused() -> None:
    rng = np.random.default_rng(12)
    made = compiled(built(table(rng, rng.random(2_000))))
    for of in (made.low_confidence, made.estimated_error_rate):
        with pytest.raises(ValueError, match="104 counts"):
            of(np.zeros(7, np.int64))


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.1, 5.0)])
@pytest.mark.parametrize("n", [50, 300])
def test_without_drift_the_tests_reject_no_more_often_than_their_level(a: float, b: float, n: int) -> None:
    rng = np.random.default_rng(13)
    found: list[tuple[float, float]] = []
    for _ in range(40):
        reference = built(table(rng, rng.beta(a, b, 4_000)))
        made = compiled(reference)
        for _ in range(50):
            now = slots(reference, rng.beta(a, b, n))
            low, error = made.low_confidence(now), made.estimated_error_rate(now)
            assert error is not None
            found.append((1.0 if low is None else low.p_value, error.p_value))
    for level in (0.05, 0.01):
        rates = (np.array(found) <= level).mean(axis=0)
        assert (rates <= level + 3.5 * np.sqrt(level / len(found))).all()


@pytest.mark.parametrize("proxy", ["low_confidence", "estimated_error_rate"])
def test_a_daily_rhythm_of_the_reference_is_no_change_and_the_same_scores_at_another_hour_are(proxy: str) -> None:
    rng = np.random.default_rng(14)
    hours = np.repeat(np.arange(28 * 24), 60)
    night = (hours % 24) < 12
    score = np.where(night, rng.beta(5, 5, len(hours)), rng.beta(0.4, 0.4, len(hours)))
    reference = built({"event_time": hours * HOUR} | table(rng, score), window_ms=HOUR)
    made = compiled(reference)
    assert made.season == "day"
    at_night = [slots(reference, rng.beta(5, 5, 200)) for _ in range(30)]
    calm = [getattr(made, proxy)(now, 24 * HOUR * 40).p_value for now in at_night]
    moved = [getattr(made, proxy)(now, 24 * HOUR * 40 + 15 * HOUR).p_value for now in at_night]
    assert min(calm) > 1e-3
    assert max(moved) < 1e-3


def test_a_level_that_wanders_in_the_reference_makes_rows_count_for_fewer() -> None:
    rng = np.random.default_rng(15)
    hours = np.repeat(np.arange(28 * 24), 60)
    steady = rng.random(len(hours))
    wander = np.repeat(rng.normal(0, 0.15, 28 * 24), 60)
    plain = compiled(built({"event_time": hours * HOUR} | table(rng, steady), window_ms=HOUR))
    wide = compiled(built({"event_time": hours * HOUR} | table(rng, np.clip(steady + wander, 0, 1)), window_ms=HOUR))
    assert plain.phi < 1.3
    assert wide.phi > 3


# -- calibration ------------------------------------------------------------------------------------------------------


def from_strata(strata: list[tuple[int, int, int, int]]) -> tuple[Vector, Vector]:
    """Outcome vectors with (known, known positives, n, positives) in each bin, ascending."""
    vectors = []
    for at in (0, 2):
        vector = np.zeros(layout.width("binary", 2), np.int64)
        histograms = layout.score_histograms(vector)
        for b, stratum in enumerate(strata):
            n, positives = stratum[at : at + 2]
            histograms[:, b] = n - positives, positives
        vector[layout.N] = histograms.sum()
        vectors.append(vector)
    return vectors[0], vectors[1]


sizes = st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(1, 4), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(sizes, min_size=1, max_size=4))
def test_level_and_slope_are_what_listing_every_outcome_gives(made: list[tuple[int, int, int, int]]) -> None:
    strata = [(big, min(k, big), n, min(x, n)) for big, k, n, x in made]
    found = calibration_drift(*from_strata(strata))
    assert found is not None
    spread = [oracle.variance(*s) for s in strata]
    if not sum(spread):
        assert (found.level, found.slope, found.p_value) == (1.0, 1.0, 1.0)
        return
    upper = [2 * (sum(spread[:b]) + spread[b] / 2) >= sum(spread) for b in range(len(strata))]
    on_the_edge = any(2 * (sum(spread[:b]) + spread[b] / 2) == sum(spread) for b in range(len(strata)))
    level, slope = oracle.stratified(strata, upper)
    assert found.level == pytest.approx(float(level), rel=1e-9)
    if not on_the_edge:  # there rounding decides on which side a bin lies
        assert found.slope == pytest.approx(float(slope), rel=1e-9)
        assert found.p_value == pytest.approx(min(1.0, 2 * float(min(level, slope))), rel=1e-9)
    assert found.observed == sum(s[3] for s in strata)
    assert found.expected == pytest.approx(sum(n * (k + x) / (big + n) for big, k, n, x in strata), rel=1e-12)


def drift(rng: np.random.Generator, known: Vector, n: int, chance: Any = None) -> CalibrationDrift:  # noqa: ANN401  # a function
    score = rng.random(n)
    found = calibration_drift(known, outcomes(rng, score, None if chance is None else chance(score)))
    assert found is not None
    return found


@pytest.mark.parametrize("n", [20, 300, 20_000])
def test_scores_that_come_true_reject_no_more_often_than_the_level(n: int) -> None:
    rng = np.random.default_rng(16)
    p = []
    for _ in range(10 if n > 1_000 else 8):
        known = outcomes(rng, rng.random(40_000))
        p += [drift(rng, known, n).p_value for _ in range(25)]
    for level in (0.1, 0.02):
        assert np.mean(np.array(p) <= level) <= level + 3.5 * np.sqrt(level / len(p))


def test_few_labels_show_that_scores_say_too_little_or_are_too_sure() -> None:
    rng = np.random.default_rng(17)
    known = outcomes(rng, rng.random(20_000))
    more = drift(rng, known, 200, lambda s: np.clip(s + 0.2, 0, 1))
    sure = drift(rng, known, 200, lambda s: 0.5 + (s - 0.5) * 0.2)
    assert more.p_value < 1e-4
    assert more.level < more.slope
    assert more.excess > 0.1
    assert sure.p_value < 1e-4
    assert sure.slope < sure.level
    assert sure.tilt < -0.1


def test_other_scores_alone_are_no_calibration_drift() -> None:
    rng = np.random.default_rng(18)
    known = outcomes(rng, rng.random(20_000))
    p = [calibration_drift(known, outcomes(rng, rng.beta(5, 2, 500))) for _ in range(40)]
    assert min(c.p_value for c in p if c is not None) > 1e-3


def test_the_normal_law_joins_the_exact_one() -> None:
    rng = np.random.default_rng(19)
    known = outcomes(rng, rng.random(50_000))
    for shift in (0.0, 0.02, 0.04):
        window = outcomes(rng, score := rng.random(6_500), np.clip(score + shift, 0, 1))
        exact = calibration_drift(known, window)
        assert exact is not None
        assert exact.observed > EXACT  # so both are asked below
        normal = _by_the_normal_law(known, window)
        assert normal.level == pytest.approx(exact.level, rel=0.05)
        assert normal.slope == pytest.approx(exact.slope, rel=0.05)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2.0, 2.0)])
def test_given_the_totals_the_normal_law_rejects_nine_to_ten_times_in_ten_levels(a: float, b: float) -> None:
    rng = np.random.default_rng(22)
    was, now = (layout.score_histograms(outcomes(rng, rng.beta(a, b, n))) for n in (20_000, 30_000))
    known, n, positives = was.sum(axis=0), now.sum(axis=0), was[1] + now[1]
    # Every sum of positives that the totals allow, with its exact probability.
    chances = np.ones(1)
    for big, small, k in zip(known, n, positives, strict=True):
        x = np.arange(min(small, k) + 1)
        chances = np.convolve(chances, scipy.stats.hypergeom.pmf(x, big + small, k, small))
    spread = np.sqrt(chances @ np.arange(len(chances)) ** 2 - (chances @ np.arange(len(chances))) ** 2)
    assert spread**2 > EXACT
    upper, lower = chances[::-1].cumsum()[::-1], chances.cumsum()
    for level in (0.05, 0.01, 0.001, 1e-4):
        # The least and the largest sum that the test rejects lie within a few of the exact quantiles.
        high = int(np.searchsorted(-upper, -level / 2)) - 3
        while _level_at(known, n, positives, high) > level:
            high += 1
        low = int(np.searchsorted(lower, level / 2)) + 3
        while _level_at(known, n, positives, low) > level:
            low -= 1
        assert 0.9 * level <= upper[high] + lower[low] <= level


def _level_at(known: Vector, n: Vector, positives: Vector, total: int) -> float:
    """The level's p-value of a window with these totals and so many positives, however they lie in the bins."""
    least, most = np.maximum(0, positives - known), np.minimum(n, positives)
    x = np.clip(np.floor(n * positives / (known + n)).astype(np.int64), least, most)
    while short := total - int(x.sum()):
        free = np.flatnonzero(x < most if short > 0 else x > least)[: abs(short)]
        x[free] += np.sign(short)
    strata = zip((known).tolist(), (positives - x).tolist(), n.tolist(), x.tolist(), strict=True)
    found = calibration_drift(*from_strata(list(strata)))
    assert found is not None
    return found.level


def _by_the_normal_law(known: Vector, window: Vector) -> CalibrationDrift:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detectors.performance.calibration_drift.EXACT", 0.0)
        found = calibration_drift(known, window)
    assert found is not None
    return found


def test_bins_that_the_reference_does_not_know_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(20)
    known = outcomes(rng, rng.random(5_000) / 2)
    found = calibration_drift(known, outcomes(rng, np.concatenate([rng.random(100) / 2, np.full(30, 0.9)])))
    assert found is not None
    assert (found.n, found.unknown) == (100, 30)
    assert calibration_drift(known, outcomes(rng, np.full(30, 0.9))) is None
    assert calibration_drift(known, np.zeros_like(known)) is None


def test_merged_panes_have_the_calibration_of_their_labels() -> None:
    rng = np.random.default_rng(21)
    known, panes = outcomes(rng, rng.random(5_000)), [outcomes(rng, rng.random(50)) for _ in range(6)]
    assert calibration_drift(known, merge(*panes)) == calibration_drift(known, merge(*panes[::-1]))


def test_vectors_of_another_task_are_refused() -> None:
    with pytest.raises(ValueError, match="235 counts"):
        calibration_drift(np.zeros(11, np.int64), np.zeros(11, np.int64))
