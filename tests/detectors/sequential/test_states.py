"""Whatever arrives as the state of a detector, it is read, or refused as newer or as corrupt; nothing else leaves."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sequential import Adwin, Ddm, EDetector, PaneDetector, River, SequentialDetector
from schemas.errors import StateCorrupt, StateNewer

DETECTORS: dict[str, SequentialDetector] = {
    "Adwin": Adwin(0.1),
    "Ddm": Ddm(),
    "EDetector": EDetector(0.3, arl=50, baseline_n=100, alternative="two-sided"),
    "River": River("PageHinkley", threshold=5.0, limit=200),
}
for _detector in DETECTORS.values():
    _detector.update_each([int(i % 5 == 0 or i > 60) for i in range(100)])

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["greater", "KSWIN", "DDM", [], {}, -1, 0, 1, 2**53 + 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  # JSON
    """Every place in a JSON value, as the path to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@pytest.mark.parametrize("name", DETECTORS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_state_damaged_anywhere_is_read_or_refused(name: str, data: st.DataObject) -> None:
    state = json.loads(json.dumps(DETECTORS[name].to_state()))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(state)[1:]))
        at = state
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = data.draw(JSON)
    try:
        detector = type(DETECTORS[name]).from_state(state)
    except (StateCorrupt, StateNewer):
        return
    detector.update_each([0.0, 1.0, 0.0])
    assert detector.n >= 0


@pytest.mark.parametrize("name", DETECTORS)
@given(state=JSON)
@settings(max_examples=40, deadline=None)
def test_what_is_no_state_at_all_is_refused(name: str, state: Any) -> None:  # noqa: ANN401  # anything on purpose
    with pytest.raises((StateCorrupt, StateNewer)):
        type(DETECTORS[name]).from_state(state)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_state_of_a_newer_driftline_is_refused_as_such(name: str) -> None:
    state = DETECTORS[name].to_state()
    with pytest.raises(StateNewer, match="reads up to"):
        type(DETECTORS[name]).from_state(state | {"format": state["format"] + 1})


@pytest.mark.parametrize("name", DETECTORS)
def test_a_state_survives_json_and_is_not_shared_with_the_detector(name: str) -> None:
    detector = type(DETECTORS[name]).from_state(DETECTORS[name].to_state())
    state = detector.to_state()
    kept = copy.deepcopy(state)
    detector.update_each([0, 1, 1, 0])
    assert state == kept == json.loads(json.dumps(kept))
    assert detector.to_state() != state


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_keeps_the_protocol(name: str) -> None:
    detector = DETECTORS[name]
    assert isinstance(detector, SequentialDetector)
    assert isinstance(detector, PaneDetector) == (name in {"Adwin", "EDetector"})
    assert detector.update_each([]).tolist() == []
    assert detector.direction in {-1, 0, 1}
    assert 0 <= detector.mean <= 1


@pytest.mark.parametrize("kind", [np.int64, np.uint8, int])
def test_numbers_of_any_integer_type_survive_a_restart(kind: type) -> None:
    detector = EDetector(0.2, baseline_n=kind(100), confirm=kind(2))
    detector.update_many(kind(50), kind(20), kind(20))
    again = EDetector.from_state(json.loads(json.dumps(detector.to_state())))
    assert again.to_state() == detector.to_state()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, math.nan, 2**60, "2"])
def test_what_is_no_count_is_refused(wrong: Any) -> None:  # noqa: ANN401  # anything on purpose
    for bad in ({"baseline_n": wrong}, {"confirm": wrong}):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            EDetector(0.2, **bad)
    if wrong != 0:
        with pytest.raises(ValueError, match="whole number of at least 0"):
            EDetector(0.2).update_many(wrong, 0, 0)


def test_a_count_beyond_int64_is_refused_and_not_passed_over() -> None:
    n = np.array([2**63 + 5], np.uint64)
    for detector in (Adwin(), EDetector(0.2)):
        with pytest.raises(ValueError, match="integer counts"):
            detector.update_panes(n, [1.0], [1.0])


def test_numpy_scalars_count_as_the_numbers_they_are() -> None:
    plain, narrow = Adwin(), Adwin()
    for i in range(100):
        plain.update(i / 128)
        narrow.update(np.float32(i / 128))  # type: ignore[arg-type]  # what a model's array holds
    plain.update_many(4, 2.0, 1.0)
    narrow.update_many(np.int32(4), np.float32(2), np.float32(1))  # type: ignore[arg-type]  # as above
    assert narrow.to_state() == plain.to_state()
