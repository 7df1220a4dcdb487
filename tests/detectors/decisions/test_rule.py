"""The compiled rule: levels, scales, statements, and one window against a whole history."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decisions import SHARES, Budget, Rule, compile_rule, level
from detectors.drift import cell_test
from detectors.reference import Reference
from loadtest.quality.budget import history, reference_of, skeleton
from loadtest.quality.worlds import BY_NAME, DAY_MS, HOUR_MS, MONDAY_MS, Shift
from schemas.config import Confirmation
from schemas.errors import ConfigError
from streams.engine.alerts import Condition, judge

ONE = Budget(1 / SHARES["drift"], 28 * DAY_MS)
FEATURES = [BY_NAME[name] for name in ("normal_1", "zero_inflated_2", "counts_2", "category_5")]
SUBJECTS = skeleton(np.random.default_rng(1), FEATURES, 20_000)
WATCHED = range(len(SUBJECTS))
ROWS = 400


def past(world: str, days: int = 28, seed: int = 1) -> list[np.ndarray]:
    return history(world, SUBJECTS, np.random.default_rng(seed), days, ROWS)


STEADY = reference_of(SUBJECTS, past("independent"))
FAR = Shift("mean", mean=0.5)
DAILY = reference_of(SUBJECTS, past("daily"))


def rule(reference: Reference, **options: Any) -> Rule:  # noqa: ANN401  # whatever compile_rule takes
    given_options: dict[str, Any] = {"watched": WATCHED, "budget": ONE, "window_ms": HOUR_MS} | options
    return compile_rule(reference, **given_options)


def test_independent_subjects_are_tested_at_all_scales_and_daily_ones_confirm() -> None:
    assert rule(STEADY).scales == (1, 2, 4, 8, 16, 32)
    assert {c.scales for c in rule(STEADY).cells} == {(1, 2, 4, 8, 16, 32)}
    assert rule(DAILY).scales == (1,)
    assert [(c.season, c.scales, c.confirm) for c in rule(DAILY).cells] == [("day", (1,), (2, 3))] * 4
    assert rule(STEADY, scales="off").scales == (1,)


def test_no_level_is_above_the_formula() -> None:
    formula = level(ONE, "drift", HOUR_MS, 4)
    alone = level(ONE, "drift", HOUR_MS, 4, (1, 1))
    for reference in (STEADY, DAILY):
        assert all(0 < c.level <= formula for c in rule(reference, scales="off").cells)
        assert all(sum(c.levels) <= alone * 8.3 / 6 for c in rule(reference).cells if len(c.scales) > 1)


def test_without_an_ordinary_variation_the_levels_are_the_formula_and_p_values_those_of_the_cell_test() -> None:
    reference = reference_of(SUBJECTS, past("daily"), ordinary=False)
    made = rule(reference)
    assert [c.levels for c in made.cells] == [(level(ONE, "drift", HOUR_MS, 4),)] * 4
    window = [w[5] for w in past("daily", 1, seed=9)]
    judged = made.judge({1: window}, MONDAY_MS)
    assert [j.result for j in judged] == [cell_test(s, w) for s, w in zip(reference.subjects, window, strict=True)]
    assert [j.p_value for j in judged] == [j.result.p_value for j in judged]


@pytest.mark.parametrize(
    ("reference", "window_ms", "said"),
    [
        (
            STEADY,
            HOUR_MS,
            r"^budget verified on 28 days of reference: (less than )?\d\.\d episodes of drift expected per 30 days$",
        ),
        (DAILY, HOUR_MS, r"^budget verified on 28 days of reference: "),
        (
            DAILY,
            600_000,
            r"^budget not verified: .* windows of 1h, the model's are 10m \(build it again with --window 10m\)$",
        ),
        (
            reference_of(SUBJECTS, past("daily", 6)),
            HOUR_MS,
            r"^budget not verified: the reference covers 6 days, 28 are needed$",
        ),
        (reference_of(SUBJECTS, past("daily", 6), ordinary=False), HOUR_MS, r"the reference has no event times$"),
        (
            reference_of(SUBJECTS, past("wandering")),
            HOUR_MS,
            r"^budget not verified: the level of .* wanders from day to day",
        ),
        (
            Reference.build({"x": [1.0, 2.0], "event_time": [MONDAY_MS, MONDAY_MS + 1]}),
            HOUR_MS,
            r"^budget not verified: too few of the reference's windows hold 50 values",
        ),
    ],
)
def test_the_rule_says_whether_the_budget_is_verified_and_why_not(
    reference: Reference, window_ms: int, said: str
) -> None:
    made = compile_rule(reference, range(len(reference.subjects)), ONE, window_ms)
    assert made.verified == said.startswith("^budget verified")
    assert pytest.approx(made.expected, abs=2) == 1 or not made.verified
    assert re.search(said, made.statement), made.statement
    if not made.verified:
        assert made.scales == (1,)


def test_a_subject_without_a_habit_leaves_the_budget_unverified() -> None:
    windows = past("independent")
    windows[2] = windows[2] // 20
    assert "too few values of counts_2" in rule(reference_of(SUBJECTS, windows)).statement


@settings(max_examples=15, deadline=None)
@given(st.permutations(list(WATCHED)), st.sampled_from([STEADY, DAILY]))
def test_the_order_of_the_watched_subjects_changes_nothing(order: list[int], reference: Reference) -> None:
    window = [w[8] for w in past("daily", 1, seed=3)]
    plain, shuffled = rule(reference), rule(reference, watched=order)
    assert [shuffled.cells[order.index(i)] for i in WATCHED] == list(plain.cells)
    assert shuffled.statement == plain.statement
    start = MONDAY_MS + 8 * HOUR_MS
    expected = plain.judge({1: window}, start)
    assert [shuffled.judge({1: [window[i] for i in order]}, start)[order.index(i)] for i in WATCHED] == expected


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 1000), st.floats(1, 100), st.sampled_from([STEADY, DAILY]), st.sampled_from(["auto", "off"]))
def test_a_larger_budget_never_lowers_a_level(alarms: float, factor: float, reference: Reference, scales: str) -> None:
    small = rule(reference, budget=Budget(alarms, 30 * DAY_MS), scales=scales)
    large = rule(reference, budget=Budget(alarms * factor, 30 * DAY_MS), scales=scales)
    for one, other in zip(small.cells, large.cells, strict=True):
        assert all(a <= b * (1 + 1e-9) for a, b in zip(one.levels, other.levels, strict=True))


@pytest.mark.parametrize("world", ["independent", "daily"])
def test_a_history_at_once_is_judged_as_window_by_window(world: str) -> None:
    """Also the life of an alert: what `play` calls an alarm is what opens one in the engine."""
    made = rule(STEADY if world == "independent" else DAILY, budget=Budget(300, 30 * DAY_MS))
    before = past(world, 3, seed=5)
    after = history(world, SUBJECTS, np.random.default_rng(6), 3, ROWS, Shift("mean", mean=0.15))
    windows = [np.concatenate(pair) for pair in zip(before, after, strict=True)]
    for w in windows:
        w[20] = 0
    played = made.play(windows, MONDAY_MS)
    conditions = [Condition() for _ in WATCHED]
    for t in range(len(windows[0])):
        vectors = {s: [w[max(0, t + 1 - s) : t + 1].sum(axis=0) for w in windows] for s in made.scales if s <= t + 1}
        judged = made.judge(vectors, MONDAY_MS + t * HOUR_MS)
        assert [j.rejected for j in judged] == played.rejects[:, t].tolist(), t
        if t == 20:
            assert all(j.p_value is None for j in judged)
            continue  # the engine passes it over
        for i, (condition, j) in enumerate(zip(conditions, judged, strict=True)):
            condition.open, condition.resolved = False, -(1 << 62)
            opened = judge(
                condition,
                rejected=j.rejected,
                severity="info",
                window=(t, t + 1),
                confirm=Confirmation(*j.confirm),
                cooldown=0,
            )
            assert (opened == "opened") == bool(played.alarms[i, t]), (i, t)
    assert played.alarms.any()
    assert played.rejects.sum() > played.alarms.sum() or world == "independent"


def test_a_longer_scale_decides_alone_and_is_the_evidence() -> None:
    made = rule(STEADY)
    windows = history("independent", SUBJECTS, np.random.default_rng(4), 2, ROWS, Shift("mean", mean=0.12))
    vectors = {s: [w[48 - s :].sum(axis=0) for w in windows] for s in made.scales}
    judged = made.judge(vectors, MONDAY_MS + 47 * HOUR_MS)[0]
    assert judged.rejected
    assert judged.scale > 1
    assert judged.confirm == (1, 3)
    assert judged.level == made.cells[0].levels[made.scales.index(judged.scale)]
    assert judged.result.n == judged.scale * ROWS
    assert judged.p_value == judged.result.p_value
    assert (judged.p_value or 1) < judged.level


def test_an_alert_of_a_longer_scale_ends_soon_after_the_change_does() -> None:
    made, rng, last = rule(STEADY), np.random.default_rng(4), []
    for trial in range(12):
        shifted = history("independent", SUBJECTS, rng, 3, ROWS, Shift("mean", mean=0.5))
        well = past("independent", 3, seed=100 + trial)
        played = made.play([np.concatenate(pair) for pair in zip(shifted, well, strict=True)], MONDAY_MS)
        assert played.rejects[0, 3:72].all()
        last.append(int(np.flatnonzero(played.rejects[0])[-1]) - 71)
    assert max(last) < 32
    assert np.mean(last) < 14


def test_a_large_window_beside_a_small_reference_decides_alone_at_the_level_of_one_window() -> None:
    reference = Reference.build({"x": np.random.default_rng(1).normal(size=3000)})
    made = compile_rule(reference, [0], ONE, HOUR_MS)
    judged = made.judge({1: [reference.subjects[0].counts // 5]}, 0)[0]
    assert judged.result.decides_alone
    assert judged.confirm == (1, 3)
    assert judged.level == level(ONE, "drift", HOUR_MS, 1, (1, 1))


def test_a_history_of_large_and_small_windows_is_judged_as_window_by_window() -> None:
    rng = np.random.default_rng(2)
    subject = Reference.build({"x": rng.normal(size=3000)}).subjects[0]
    made = compile_rule(Reference.build({"x": rng.normal(size=3000)}), [0], Budget(1000, 30 * DAY_MS), HOUR_MS)
    rows = np.array([subject.slots_of(rng.normal(0.12, 1, n)) for n in rng.choice([200, 250, 600, 900], 40)])
    played = made.play([rows], 0)
    judged = [made.judge({1: [row]}, t * HOUR_MS)[0] for t, row in enumerate(rows)]
    assert [j.rejected for j in judged] == played.rejects[0].tolist()
    recent = [sum(j.rejected for j in judged[max(0, t - 2) : t + 1]) for t in range(len(judged))]
    alarms = [j.rejected and found >= j.confirm[0] for j, found in zip(judged, recent, strict=True)]
    assert alarms == played.alarms[0].tolist()
    assert {j.confirm for j in judged if j.rejected} == {(1, 3), (2, 3)}


def test_an_hour_of_the_week_beside_four_others_still_confirms() -> None:
    reference = reference_of(SUBJECTS, past("weekly"))
    made = rule(reference)
    assert {c.season for c in made.cells} == {"week"}
    assert not any(
        j.result.decides_alone for j in made.judge({1: [w[3] for w in past("weekly", 1, 7)]}, MONDAY_MS + 3 * HOUR_MS)
    )


def test_evidence_of_a_daily_subject_is_against_its_hour() -> None:
    made = rule(DAILY)
    window = [w[6] for w in past("daily", 1, seed=2)]
    found = made.judge({1: window}, MONDAY_MS + 6 * HOUR_MS)
    wrong = made.judge({1: window}, MONDAY_MS + 18 * HOUR_MS)
    j, k = found[0], wrong[0]
    assert j.result.psi < 0.02
    assert k.result.psi > 0.1
    assert (j.p_value or 0) > 1e-3
    assert (k.p_value or 1) < 1e-6


def test_a_window_with_too_few_values_decides_nothing() -> None:
    judged = rule(STEADY).judge({1: [s.counts * 0 for s in SUBJECTS]}, 0)
    assert [(j.p_value, j.rejected, j.result.insufficient) for j in judged] == [(None, False, True)] * 4


@pytest.mark.parametrize("rows", [0, ROWS])
def test_a_subject_without_values_decides_nothing_however_far_it_had_moved(rows: int) -> None:
    """The sums of the longer scales are still those of the shift, whether no row comes or rows with nothing in them."""
    made, shifted = rule(STEADY), 40
    windows = [w[: shifted + 4] for w in history("independent", SUBJECTS, np.random.default_rng(9), 2, ROWS, FAR)]
    windows[0][shifted:] = 0
    windows[0][shifted:, -2] = rows  # missing
    played = made.play(windows, MONDAY_MS)
    assert played.rejects[:, shifted - 1].all()
    assert not played.rejects[0, shifted:].any()
    assert not played.alarms[0, shifted:].any()
    assert played.rejects[1:, shifted:].all(), "the others go on"
    for t in range(shifted - 1, shifted + 4):
        vectors = {s: [w[t + 1 - s : t + 1].sum(axis=0) for w in windows] for s in made.scales}
        judged = made.judge(vectors, MONDAY_MS + t * HOUR_MS)
        assert [j.rejected for j in judged] == played.rejects[:, t].tolist(), t
        assert (judged[0].p_value is None) == (t >= shifted), t


def test_a_rule_over_nothing_judges_nothing() -> None:
    made = compile_rule(STEADY, [], ONE, HOUR_MS)
    assert made.judge({1: []}, 0) == []
    assert made.play([], 0).episodes == 0


def test_wrong_vectors_scales_and_windows_are_refused() -> None:
    made = rule(STEADY)
    with pytest.raises(ValueError, match="scale 1"):
        made.judge({2: [s.counts for s in SUBJECTS]}, 0)
    with pytest.raises(ValueError, match="4 subjects"):
        made.judge({1: [SUBJECTS[0].counts]}, 0)
    with pytest.raises(ConfigError, match="auto or off"):
        rule(STEADY, scales="some")
    with pytest.raises(ConfigError, match="positive windows"):
        rule(STEADY, window_ms=0)
