"""What a reference learns from its own windows, and how that is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.views import drift_vector, view
from detectors.reference import Reference
from detectors.reference.ordinary import DAY_MS, HOUR_MS, Habit, Ordinary, positions, slots_at
from schemas.errors import ConfigError, ReferenceMismatch

MONDAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
ROWS = 210  # an hour; above 200, so that no p-value is simulated


def table(days: int, level: str = "", seed: int = 1) -> dict[str, Any]:
    """Rows of some days, one feature steady and one that follows `level`."""
    rng = np.random.default_rng(seed)
    hours = days * 24
    at = np.repeat(np.arange(hours), ROWS)
    mean = np.zeros(hours)
    hour = np.arange(hours)
    if level in {"day", "week"}:
        mean = 0.6 * np.sin(2 * np.pi * (hour % 24) / 24)
    if level == "week":
        mean += 0.8 * ((hour // 24) % 7 >= 5)
    return {
        "event_time": MONDAY + at * HOUR_MS + rng.integers(0, HOUR_MS, len(at)),
        "steady": rng.normal(size=len(at)),
        "level": rng.normal(size=len(at)) + mean[at],
        "kind": rng.choice(["a", "b", "c"], len(at)),
    }


def learned(content: dict[str, Any], **options: Any) -> Ordinary:  # noqa: ANN401  # whatever build takes
    ordinary = Reference.build(content, window_ms=HOUR_MS, **options).ordinary
    assert ordinary is not None
    return ordinary


def habit(ordinary: Ordinary, index: int) -> Habit:
    found = ordinary.subjects[index]
    assert found is not None
    return found


SHORT = Reference.build(table(5), window_ms=HOUR_MS)


@pytest.mark.parametrize(("level", "days", "expected"), [("", 7, "none"), ("day", 7, "day"), ("week", 28, "week")])
def test_a_subject_gets_the_simplest_season_that_its_windows_ask_for(level: str, days: int, expected: str) -> None:
    found = learned(table(days, level))
    assert [h.season for h in found.subjects if h is not None] == ["none", expected, "none"]


def test_a_weekly_pattern_needs_28_days_to_be_learned() -> None:
    assert habit(learned(table(21, "week")), 1).season == "day"


def test_the_slots_of_a_season_are_hours_of_the_day_and_of_the_week_in_utc() -> None:
    for hour in range(24 * 15):
        at = datetime.fromtimestamp(MONDAY / 1000 + 3600 * hour, UTC)
        since_thursday = (at.weekday() - 3) % 7  # the epoch was a Thursday
        start = np.array([MONDAY + hour * HOUR_MS])
        assert slots_at("day", HOUR_MS, start).tolist() == [at.hour]
        assert slots_at("week", HOUR_MS, start).tolist() == [since_thursday * 24 + at.hour]
        assert slots_at("none", HOUR_MS, start).tolist() == [0]


def test_the_baselines_of_all_hours_sum_up_to_the_reference_in_every_view() -> None:
    reference = Reference.build(table(7, "day"), window_ms=HOUR_MS)
    assert reference.ordinary is not None
    for subject, found in zip(reference.subjects, reference.ordinary.subjects, strict=True):
        assert found is not None
        seen, whole = view(subject), drift_vector(subject, subject.counts)
        baselines = found.baselines(subject)
        assert baselines.shape == (24 if found.season == "day" else 1, subject.width)
        summed = drift_vector(subject, baselines.sum(axis=0))
        for starts in (seen.fine, seen.coarse):
            assert np.add.reduceat(summed, starts).tolist() == np.add.reduceat(whole, starts).tolist()


def test_every_window_has_a_score_in_order_of_time_and_one_with_few_values_has_none() -> None:
    content = table(5)
    hour = (content["event_time"] - MONDAY) // HOUR_MS
    keep = (hour != 7) & ((hour != 9) | (np.arange(len(hour)) % 10 == 0))
    found = learned({name: values[keep] for name, values in content.items()})
    assert (found.windows, found.start_ms, found.window_ms) == (120, MONDAY, HOUR_MS)
    assert np.flatnonzero(np.isnan(habit(found, 0).scores[0])).tolist() == [7, 9]


def test_longer_scales_are_scored_where_the_reference_is_long_enough_and_steady() -> None:
    assert len(habit(learned(table(5)), 0).scores) == 3  # 120 hours: 20 stretches of 1, 2 and 4
    assert len(habit(learned(table(28, "week")), 0).scores) == 6
    assert len(habit(learned(table(28, "week")), 1).scores) == 1


def test_the_order_of_rows_does_not_matter() -> None:
    content = table(5)
    order = np.random.default_rng(4).permutation(len(content["steady"]))
    shuffled = {name: values[order] for name, values in content.items()}
    assert Reference.build(shuffled, window_ms=HOUR_MS).to_json() == SHORT.to_json()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_windows_are_those_that_a_live_model_has_whenever_the_table_begins(offset: int) -> None:
    times = MONDAY + offset * 1000 + np.arange(60 * 60) * 60_000
    found = learned({"event_time": times, "x": np.arange(len(times)) % 7})
    assert found.start_ms % HOUR_MS == 0
    assert found.start_ms <= times[0] < found.start_ms + HOUR_MS
    assert found.start_ms + found.span_ms - HOUR_MS <= times[-1] < found.start_ms + found.span_ms


@pytest.mark.parametrize(
    "content",
    [
        {"x": [1.0, 2.0] * 5000},
        {"x": [1.0, 2.0] * 5000, "event_time": [MONDAY] * 10_000},
        {"x": [1.0, 2.0] * 5000, "event_time": [None] * 10_000},
        {"x": [1.0, 2.0] * 500, "event_time": [MONDAY + i * HOUR_MS // 4 for i in range(1000)]},
        {"x": [1.0] + [None] * 9999, "event_time": [MONDAY + i * HOUR_MS // 100 for i in range(10_000)]},
    ],
)
def test_without_times_or_with_too_few_rows_a_window_nothing_is_learned(content: dict[str, Any]) -> None:
    reference = Reference.build(content, window_ms=HOUR_MS)
    assert reference.ordinary is None
    assert orjson.loads(reference.to_json())["version"] == 1


def test_a_subject_with_too_few_values_has_no_habit_beside_one_that_has() -> None:
    content = table(5)
    content["rare"] = [1.0 if i % 100 == 0 else None for i in range(len(content["steady"]))]
    assert [h is None for h in learned(content).subjects] == [False, False, False, True]


def test_rows_without_a_time_belong_to_no_window() -> None:
    content = table(5)
    times = content["event_time"].astype(float)
    times[::2] = np.nan
    assert habit(learned(content | {"event_time": times}), 0).n == pytest.approx(ROWS / 2, abs=0.1)


def test_a_constant_feature_has_a_habit() -> None:
    found = habit(learned(table(5) | {"steady": np.ones(5 * 24 * ROWS)}), 0)
    assert found.season == "none"
    assert float(np.nanmax(found.scores)) == 0.0


def test_saving_and_loading_is_the_identity_and_decides_alike() -> None:
    again = Reference.from_json(SHORT.to_json())
    assert again == SHORT
    assert again.to_json() == SHORT.to_json()
    assert again.ordinary is not None
    assert SHORT.ordinary is not None
    for ours, theirs in zip(SHORT.ordinary.subjects, again.ordinary.subjects, strict=True):
        assert ours is not None
        assert theirs is not None
        assert np.array_equal(ours.scores, theirs.scores, equal_nan=True)
        assert ours.to_dict() == theirs.to_dict()


def test_the_version_says_whether_there_is_an_ordinary_variation() -> None:
    content = orjson.loads(SHORT.to_json())
    assert content["version"] == 2
    short = Reference.build({name: values[:300] for name, values in table(5).items()}, window_ms=HOUR_MS)
    old = orjson.loads(short.to_json())
    assert old["version"] == 1
    assert "ordinary" not in old
    assert Reference.from_json(short.to_json()) == short


def test_a_newer_version_is_refused() -> None:
    newer = orjson.dumps(orjson.loads(SHORT.to_json()) | {"version": 99})
    with pytest.raises(ReferenceMismatch, match=r"version 99.*upgrade"):
        Reference.from_json(newer)


def test_an_ordinary_variation_changes_the_content_but_not_the_shape() -> None:
    without = Reference.build({n: v for n, v in table(5).items() if n != "event_time"})
    assert without.shape_hash == SHORT.shape_hash
    assert without.content_hash != SHORT.content_hash
    edited = orjson.loads(SHORT.to_json())
    edited["ordinary"]["subjects"][0]["n"] += 1
    with pytest.raises(ReferenceMismatch, match="edited or damaged"):
        Reference.from_json(orjson.dumps(edited))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("season", "moon"),
        ("baseline", [[1, 2]]),
        ("baseline", []),
        ("dispersion", [1, 1, 1, 1, 1]),
        ("dispersion", [0.5, 1, 1, 1, 1, 1]),
        ("scores", ["AAAA"]),
        ("scores", ["?"]),
        ("scores", []),
        ("spread", 3),
    ],
)
def test_a_damaged_ordinary_variation_is_refused(key: str, value: object) -> None:
    content = orjson.loads(SHORT.to_json())
    content["ordinary"]["subjects"][0][key] = value
    with pytest.raises(ConfigError, match="damaged"):
        Reference.from_json(orjson.dumps(content))


def test_windows_of_no_length_are_refused() -> None:
    with pytest.raises(ReferenceMismatch, match="windows of 0 ms"):
        Reference.build({"x": [1.0]}, window_ms=0)


def test_a_level_that_wanders_is_less_steady_than_one_that_does_not() -> None:
    content = table(28)
    hours = 28 * 24
    walk = np.cumsum(np.random.default_rng(2).normal(size=hours)) * 0.02
    content["level"] = content["level"] + np.repeat(walk, ROWS)
    found = learned(content)
    steadiness = [h.steadiness for h in found.subjects if h is not None]
    assert all(s is not None for s in steadiness)
    assert (steadiness[0] or 9) < 2
    assert (steadiness[1] or 0) > 5


def test_positions_name_the_first_bin_of_every_group() -> None:
    numeric, *_, category = SHORT.subjects
    assert len(positions(numeric)) >= 20
    assert positions(category).tolist() == [0, 1, 2, 3]
    assert DAY_MS == 24 * HOUR_MS


def with_rows_at(days: int, *stray_ms: int) -> Reference:
    content = table(days)
    for name, extra in (("event_time", list(stray_ms)), ("steady", 0.0), ("level", 0.0), ("kind", "a")):
        more = extra if isinstance(extra, list) else [extra] * len(stray_ms)
        content[name] = np.append(content[name], more)
    return Reference.build(content, window_ms=HOUR_MS)


@pytest.mark.parametrize("stray_ms", [0, MONDAY - 200 * DAY_MS, MONDAY + 40 * DAY_MS, MONDAY + 36_500 * DAY_MS])
def test_a_stray_row_does_not_stretch_the_reference(stray_ms: int) -> None:
    found, plain = with_rows_at(7, stray_ms).ordinary, with_rows_at(7).ordinary
    assert found is not None
    assert plain is not None
    assert (found.start_ms, found.windows, found.covered_ms) == (MONDAY, 7 * 24, 7 * DAY_MS)
    assert [habit(found, i).season for i in range(3)] == [habit(plain, i).season for i in range(3)]


def test_days_without_rows_are_not_covered_and_nights_are() -> None:
    content = table(28)
    day, hour = (content["event_time"] - MONDAY) // DAY_MS, content["event_time"] // HOUR_MS % 24
    holes = {name: values[np.isin(day, [0, 1, 2, 26, 27])] for name, values in content.items()}
    office = {name: values[(hour >= 8) & (hour < 18)] for name, values in content.items()}
    found = learned(holes)
    assert (found.span_ms, found.covered_ms) == (28 * DAY_MS, 5 * DAY_MS)
    assert all(h is not None and h.season != "week" for h in found.subjects)
    assert learned(office).covered_ms == 28 * DAY_MS
