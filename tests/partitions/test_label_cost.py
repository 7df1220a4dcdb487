"""What waiting for labels costs: counted by hand, and against what a task really holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from schemas.config import ModelConfig
from schemas.monitors import Task
from streams.engine import plan
from streams.engine.remembered import limits_of
from streams.label_cost import Cost, Rate, cost, counted, in_words, live, sampled
from streams.placement import Sighting

DAY, HOUR = 86_400_000, 3_600_000


def model(task: Task = "binary", **labels: object) -> ModelConfig:
    """A model that waits so for labels."""
    positive = {"positive_class": "yes"} if task == "binary" else {}
    return ModelConfig.model_validate({"task": task, "reference": Path("r.json"), "labels": labels, **positive})


def test_a_thousand_a_second_for_eight_days_is_kept_for_ten() -> None:
    # Eight slots of a day and two more; 32 bytes in memory, 16 + 8 in Redis.
    remembered = 1_000 * 86_400 * 10
    late = 1_000 * 86_400 * 8 * 32  # each label comes at the end, and is kept for eight days more
    assert cost(model(horizon="8d"), 1_000) == Cost(remembered, remembered * 32, remembered * 24, late)


def test_a_sample_costs_its_share_and_a_number_costs_four_bytes_more() -> None:
    remembered = 250 * 86_400 * 10
    found = cost(model("regression", horizon="8d", sample=0.25), 1_000)
    assert found == Cost(remembered, remembered * 36, remembered * 28, 250 * 86_400 * 8 * 32)


def test_beside_a_regression_every_row_is_as_wide() -> None:
    alone, beside = (cost(model(horizon="8d"), 1_000, numbers=n) for n in (False, True))
    assert beside.memory_bytes == alone.remembered * 36
    assert beside.store_bytes == alone.store_bytes


def test_a_long_horizon_has_slots_of_no_more_than_25_days() -> None:
    slot = 1 << 31
    horizon = 400 * DAY
    expected = round(slot * (horizon // slot + 2) / 1000)
    assert cost(model(horizon="400d"), 1.0).remembered == expected
    assert expected < 1.15 * horizon / 1000


def sightings(times: list[int], partition: int = 0, behind: int = 0) -> list[Sighting]:
    """Records of these event times."""
    return [Sighting(partition, None, str(t), "m", t + behind, t) for t in times]


def test_events_follow_their_records_or_are_history() -> None:
    assert live(sightings(list(range(100)), behind=HOUR))
    assert not live(sightings(list(range(100)), behind=HOUR + 1))
    assert not live([Sighting(0, None, "a")])


@pytest.mark.parametrize(
    ("day", "hour", "horizon", "expected"),
    [
        ((86_400, True), (7_200, True), 7 * DAY, Rate(1.0, "the last day")),
        ((86_400, True), (7_200, True), HOUR, Rate(2.0, "the last hour")),
        ((86_400, False), (7_200, True), 7 * DAY, Rate(2.0, "the last hour")),
        ((86_400, True), (0, True), HOUR, Rate(1.0, "the last day")),
        ((86_400, False), (7_200, False), 7 * DAY, None),
        ((0, True), (0, True), 7 * DAY, None),
        (None, None, 7 * DAY, None),
    ],
)
def test_a_rate_is_counted_over_a_time_that_the_topic_covers(
    day: tuple[int, bool] | None, hour: tuple[int, bool] | None, horizon: int, expected: Rate | None
) -> None:
    assert counted(day, hour, horizon) == expected


def test_the_rate_of_a_sample_is_that_of_its_event_times_over_all_partitions() -> None:
    ten_a_second = [100 * i for i in range(200)]
    rate = sampled([*sightings(ten_a_second, 0), *sightings(ten_a_second, 1)])
    assert rate == Rate(20.0, "the event times of the newest")


def test_a_stray_event_time_does_not_stretch_the_rate() -> None:
    times = [100 * i for i in range(200)]
    times[3], times[7] = -400 * DAY, 400 * DAY
    rate = sampled(sightings(times))
    assert rate is not None
    assert rate.per_second == pytest.approx(10, rel=0.03)


@pytest.mark.parametrize("times", [[], [5] * 100, list(range(19))])
def test_what_has_no_rate_has_none(times: list[int]) -> None:
    assert sampled(sightings(times)) is None


def test_bytes_are_said_in_decimal_units() -> None:
    said = [in_words(b) for b in (0, 999, 1_500, 2_000_000, 32e9, 5e15)]
    assert said == ["0 bytes", "999 bytes", "1.5 kB", "2.0 MB", "32.0 GB", "5,000.0 TB"]


@pytest.mark.parametrize("horizon", ["1d", "8d", "30d", "400d"])
def test_memory_of_what_it_costs_lets_every_prediction_be_remembered(horizon: str) -> None:
    per_second = 1_000
    config = model(horizon=horizon)
    needed = cost(config, per_second).memory_bytes
    planned = SimpleNamespace(
        horizon=config.labels.horizon, memory=needed, sample=1.0, labelled=True, task_code=plan.BINARY
    )
    limits = limits_of((cast("plan.Model", planned),), partitions=4)
    a_slot_s = limits.span[0] / 1000
    # What a task may remember of a slot, against a quarter of what comes in its time.
    assert int(limits.bound[0]) == pytest.approx(per_second * a_slot_s / 4, rel=0.01)
