"""The windows that longer scales are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StateMissing
from schemas.identifiers import StreamKey
from streams.edges.memory_store import MemoryStore
from streams.engine.recent import Recent
from streams.engine.shape import empty
from streams.engine.store import Commit, Verdict
from streams.engine.windows import Window

STREAM = StreamKey("fraud", "v1", "champion")
SCALES = (1, 2, 4, 8)
LENGTH = 10


def window(number: int, count: int, shape: str = "a") -> Window:
    vector = empty(5)
    vector[0], vector[1], vector[2], vector[3] = count, number, number, count
    return Window(number * LENGTH, (number + 1) * LENGTH, {STREAM: (shape, vector)})


def kept() -> Recent:
    return Recent("fraud", "shard", LENGTH)


def slow(counts: dict[int, int], scale: int) -> int:
    """The events of the last ``scale`` windows, by the definition."""
    latest = max(counts)
    return sum(count for number, count in counts.items() if number > latest - scale)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_a_scale_is_the_sum_of_the_windows_of_so_long_a_time(numbers: set[int]) -> None:
    recent, counts = kept(), dict[int, int]()
    for number in sorted(numbers):
        counts[number] = number + 1
        recent.add(window(number, number + 1), 8)
        found = {scale: int(vector[3]) for scale, vector in recent.over(STREAM, SCALES).items()}
        every = {scale: slow(counts, scale) for scale in SCALES}
        new = {s: n for s, n in every.items() if s == 1 or n > max(m for t, m in every.items() if t < s)}
        assert found == new


def test_windows_of_another_reference_end_the_look_back() -> None:
    recent = kept()
    for number, shape in enumerate(["a", "a", "b", "b"]):
        recent.add(window(number, 1, shape), 8)
    assert {s: int(v[3]) for s, v in recent.over(STREAM, SCALES).items()} == {1: 1, 2: 2}


def test_after_a_restart_the_scales_are_the_same() -> None:
    store, before = MemoryStore(), kept()
    store.claim("shard", "t")
    for number in range(20):
        put, drop = before.add(window(number, number), 8)
        commit = Commit("shard", "t", number, f"c{number}", b"", b"", put=put, drop=drop)
        assert store.commit(commit) is Verdict.DONE
    after = kept()
    after.load(store, before.kept)
    assert after.kept == before.kept == {number * LENGTH: 8 for number in range(12, 20)}
    old, new = before.over(STREAM, SCALES), after.over(STREAM, SCALES)
    assert old.keys() == new.keys() == set(SCALES)
    assert all(np.array_equal(old[scale], new[scale]) for scale in SCALES)


def test_a_window_that_is_gone_is_missing_state() -> None:
    with pytest.raises(StateMissing, match="recent-windows at 30"):
        kept().load(MemoryStore(), {30: 8})


def test_without_scales_nothing_is_kept() -> None:
    recent = kept()
    assert recent.add(window(1, 1), 1) == ([], [])
    assert recent.kept == {}


def test_scales_that_are_switched_on_or_off_begin_and_end_with_what_is_stored() -> None:
    recent = kept()
    recent.add(window(1, 1), 1)
    put, dropped = recent.add(window(2, 1), 4)
    assert [cell[2] for cell, _ in put] == list(recent.kept) == [2 * LENGTH]
    assert dropped == []
    for number in range(3, 6):
        assert recent.add(window(number, 1), 1) == ([], [])
    put, dropped = recent.add(window(6, 1), 1)
    assert (put, [cell[2] for cell in dropped], recent.kept) == ([], [2 * LENGTH], {})


def test_a_window_of_another_version_without_scales_costs_no_past() -> None:
    recent, other = kept(), StreamKey("fraud", "v2", "champion")
    for number in range(4):
        recent.add(window(number, 1), 8)
    alone = window(4, 1)
    alone.streams = {other: alone.streams[STREAM]}
    recent.add(alone, 1)
    recent.add(window(5, 1), 8)
    assert {s: int(v[3]) for s, v in recent.over(STREAM, SCALES).items()} == {1: 1, 4: 3, 8: 5}
