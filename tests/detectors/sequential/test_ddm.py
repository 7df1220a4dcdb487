"""DDM against a slow oracle."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sequential.ddm import Ddm
from schemas.errors import StateCorrupt, StateNewer
from tests.oracle.ddm import SlowDdm


@pytest.mark.parametrize("seed", range(5))
def test_it_alarms_at_the_elements_where_the_slow_oracle_alarms(seed: int) -> None:
    rng = random.Random(seed)
    errors = [int(rng.random() < rate) for rate in (0.1, 0.4, 0.8) for _ in range(120)]
    detector, oracle = Ddm(), SlowDdm()
    found = [detector.update(e) for e in errors]
    assert found == [oracle.update(e) for e in errors]
    assert any(found)


def test_no_alarm_comes_before_element_30_and_the_minimum_is_tracked_from_29() -> None:
    detector = Ddm()
    assert not any(detector.update(0) for _ in range(29))
    assert detector.update(1)  # p + s was 0 at element 29, any error exceeds it


def test_the_element_after_an_alarm_starts_anew() -> None:
    detector = Ddm()
    for error in [0] * 29 + [1]:
        detector.update(error)
    detector.update(1)
    assert detector.mean == 1.0


def test_an_alarm_is_a_rise() -> None:
    detector = Ddm()
    assert (detector.n, detector.mean, detector.direction) == (0, 0.0, 0)
    detector.update_each([0] * 29 + [1])
    assert (detector.n, detector.direction) == (30, 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([0, 1]), st.floats(0, 1)), max_size=200), st.integers(0, 200))
def test_one_by_one_or_in_any_batches_it_answers_the_same(errors: list[float], cut: int) -> None:
    one, batched = Ddm(), Ddm()
    found = [one.update(e) for e in errors]
    assert [*batched.update_each(errors[:cut]), *batched.update_each(errors[cut:])] == found
    assert batched.to_state() == one.to_state()


def test_the_state_of_format_1_is_read_and_has_no_direction() -> None:
    detector = Ddm()
    detector.update_each([0] * 29 + [1])
    state = detector.to_state()
    del state["direction"]
    again = Ddm.from_state(state | {"format": 1})
    assert (again.to_state()) == detector.to_state() | {"direction": 0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 150))
def test_a_restart_anywhere_changes_nothing(at: int) -> None:
    errors = [int(i % 9 == 0 or i > 90) for i in range(160)]
    whole, restarted = Ddm(), Ddm()
    for i, error in enumerate(errors):
        if i == at:
            restarted = Ddm.from_state(json.loads(json.dumps(restarted.to_state())))
        assert restarted.update(error) == whole.update(error)
        assert restarted.warning == whole.warning


def test_foreign_states_are_refused() -> None:
    with pytest.raises(StateNewer):
        Ddm.from_state(Ddm().to_state() | {"format": 9})
    with pytest.raises(StateCorrupt):
        Ddm.from_state({"format": 1})


def test_a_value_that_is_no_error_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Ddm().update(2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Ddm().update_each([0, 2])
