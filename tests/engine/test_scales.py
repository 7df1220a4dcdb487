"""Drift over several windows at once: what a single window cannot see is found, and says since when."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from detectors.reference import Reference
from schemas.config import FeatureSetConfig
from schemas.identifiers import StreamKey
from streams.engine import drift_family
from streams.engine.alerts import Change
from streams.engine.families import Book
from streams.engine.plan import Model, compile_plan
from streams.engine.recent import Recent
from streams.engine.shape import HEADER, empty
from streams.engine.windows import Window

HOUR = 3_600_000
START = 1_767_225_600_000
ROWS = 60
STREAM = StreamKey("customers", "", "")


@cache
def month() -> Reference:
    rng = np.random.default_rng(11)
    times = START + np.arange(28 * 24 * ROWS) * (HOUR // ROWS)
    table = {"amount": rng.normal(size=len(times)), "age": rng.normal(size=len(times)), "event_time": times}
    return Reference.build(table, window_ms=HOUR)


def model(**alerts: str) -> Model:
    said = {"reference": "unused.json", "windows": {"size": "1h"}, "alerts": alerts}
    config = FeatureSetConfig.model_validate(said)
    return compile_plan("features", {"customers": config}, {"customers": [month()]}, 300_000).models[0]


def window(watched: Model, hour: int, shift: float) -> Window:
    rng = np.random.default_rng([3, hour])
    shape = watched.default
    vector = empty(shape.width)
    vector[0] = ROWS
    at = HEADER
    for subject in shape.subjects:
        values = rng.normal(shift if subject.name == "amount" else 0.0, 1.0, ROWS)
        vector[at : at + subject.width] = subject.slots_of(values)
        at += subject.width
    start = START + hour * HOUR
    return Window(start, start + HOUR, {STREAM: (shape.hash, vector)}, references={STREAM: watched.reference})


def changes(watched: Model, shift: float, hours: int = 62, since: int = 30) -> list[Change]:
    book, recent, found = Book(), Recent("customers", "shard", HOUR), list[Change]()
    longest = watched.rule(watched.reference).longest
    for hour in range(hours):
        now = window(watched, hour, shift if hour >= since else 0.0)
        recent.add(now, longest)
        found += drift_family.step(book, watched, now, recent.over)[0]
    return found


def test_a_month_of_steady_reference_lets_longer_scales_be_used() -> None:
    rule = model().rule(month())
    assert (rule.scales, rule.verified) == ((1, 2, 4, 8, 16, 32), True)


def test_a_small_shift_is_found_over_many_windows_and_says_how_far_they_reach() -> None:
    (opened,) = changes(model(), 0.15)[:1]
    assert (opened.transition, opened.subject) == ("opened", "amount")
    first, last = opened.window
    assert last - first >= 4 * HOUR
    assert last > START + 30 * HOUR
    assert opened.since == first
    assert opened.evidence.n == ROWS * (last - first) // HOUR


def test_single_windows_do_not_find_it() -> None:
    assert changes(model(scales="off"), 0.15) == []


@pytest.mark.parametrize("scales", ["auto", "off"])
def test_nothing_is_found_where_nothing_changes(scales: str) -> None:
    assert changes(model(scales=scales), 0.0) == []
