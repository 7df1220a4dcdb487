"""What every detector of change in a stream promises. A law takes an entry of the registry and fails or does not."""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from detectors.sequential import PaneDetector, SequentialDetector
from schemas.errors import StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detectors.registry import Sequential

RATE: Final = 0.2
"""The error rate while nothing has changed; detectors that have to know it are made for it."""
EXAMPLES: Final = settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
"""Examples are small as they are drawn; shrinking them would take longer than reading them."""
JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=6,
)


def errors(seed: int, *pieces: tuple[int, float]) -> NDArray[np.float64]:
    """Independent errors in pieces of (how many, at which rate), float64 of 0 and 1."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(n) < rate for n, rate in pieces]).astype(np.float64)


def run(detector: SequentialDetector, values: NDArray[np.float64]) -> list[int]:
    """Where a detector alarms, value by value."""
    return [i for i, x in enumerate(values.tolist()) if detector.update(x)]


def restarted(detector: SequentialDetector) -> SequentialDetector:
    """The detector after its state went through JSON."""
    return type(detector).from_state(json.loads(json.dumps(detector.to_state(), allow_nan=False)))


def it_speaks_the_common_language(entry: Sequential) -> None:
    detector = entry.make()
    assert isinstance(detector, SequentialDetector)
    assert isinstance(detector, PaneDetector) == entry.panes
    answers = [detector.update(x) for x in (0.0, 1.0, 0, 1)]
    assert {type(a) for a in answers} == {bool}
    assert type(detector.n) is int
    assert 1 <= detector.n <= len(answers)  # since the estimated change
    assert type(detector.mean) is float
    assert 0 <= detector.mean <= 1
    assert (type(detector.direction), detector.direction) == (int, 0)


def the_same_values_give_the_same_alarms(entry: Sequential) -> None:
    values = errors(1, (1000, RATE), (500, 0.7), (1000, 0.1), (500, 0.9))
    first = entry.make()
    alarms = run(first, values)
    assert alarms
    assert run(entry.make(), values) == alarms


def many_at_once_is_one_by_one(entry: Sequential) -> None:
    values = errors(2, (700, RATE), (300, 0.7), (700, 0.1), (300, 0.9))
    one, many = entry.make(), entry.make()
    alarms = run(one, values)
    found = np.concatenate([many.update_each(part) for part in np.split(values, [1, 700, 701, 1500])])
    assert found.dtype == np.bool_
    assert np.flatnonzero(found).tolist() == alarms
    assert many.to_state() == one.to_state()
    assert len(many.update_each([])) == 0
    assert many.to_state() == one.to_state()


def what_is_no_number_is_refused_and_leaves_no_trace(entry: Sequential) -> None:
    detector = entry.make()
    detector.update_each(errors(3, (100, RATE)))
    before = detector.to_state()
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=r"nan|inf"):
            detector.update(wrong)
        with pytest.raises(ValueError, match=r"nan|inf"):
            detector.update_each([0.0, 1.0, wrong])
    with pytest.raises(ValueError, match="dimension"):
        detector.update_each([[0.0, 1.0]])
    assert detector.to_state() == before


def restarting_anywhere_changes_nothing(entry: Sequential) -> None:
    values = errors(4, (600, RATE), (300, 0.8), (600, 0.05), (300, 0.9))
    reference = entry.make()
    alarms = run(reference, values)
    assert alarms
    moments = sorted(
        {0, 1, *np.random.default_rng(5).integers(0, len(values), 25).tolist(), *(a + 1 for a in alarms), *alarms}
    )
    detector = entry.make()
    found: list[int] = []
    for start, end in zip([0, *moments], [*moments, len(values)], strict=True):
        found += [start + i for i in run(detector, values[start:end])]
        again = restarted(detector)
        assert again.to_state() == detector.to_state()
        assert (again.n, again.mean, again.direction) == (detector.n, detector.mean, detector.direction)
        detector = again
    assert found == alarms
    assert detector.to_state() == reference.to_state()


def a_state_is_its_own(entry: Sequential) -> None:
    detector = entry.make()
    detector.update_each(errors(6, (200, RATE)))
    kept = detector.to_state()
    text = json.dumps(kept)
    again = restarted(detector)
    detector.update_each(errors(7, (200, 0.9)))
    assert json.dumps(kept) == text, "a state goes on changing with its detector"
    assert json.dumps(again.to_state()) == text, (
        "a restart does not write the same bytes, or the two share what they keep"
    )


def a_state_stays_small(entry: Sequential) -> None:
    detector = entry.make()
    for seed, rate in enumerate((RATE, RATE, 0.9, 0.0, 1.0, 0.5)):
        detector.update_each(errors(seed, (20_000 if entry.state_bytes < 50_000 else 2_500, rate)))
        assert len(json.dumps(detector.to_state(), allow_nan=False)) <= entry.state_bytes


def a_newer_state_is_refused(entry: Sequential) -> None:
    state = entry.make().to_state()
    assert type(state["format"]) is int
    with pytest.raises(StateNewer, match=f"format {state['format'] + 1}"):
        type(entry.make()).from_state(state | {"format": state["format"] + 1})


def arbitrary_json_is_a_corrupt_state(entry: Sequential) -> None:
    read = type(entry.make()).from_state
    version = entry.make().to_state()["format"]

    @EXAMPLES
    @given(JSON)
    def anything(found: Any) -> None:  # noqa: ANN401  # any JSON
        with pytest.raises((StateCorrupt, StateNewer)):
            read(found)
        if isinstance(found, dict):
            with pytest.raises(StateCorrupt):
                read(found | {"format": version})

    anything()


def a_damaged_state_is_refused_or_gives_a_detector_that_works(entry: Sequential) -> None:
    detector = entry.make()
    detector.update_each(errors(8, (100, RATE)))
    good = json.dumps(detector.to_state())
    read = type(detector).from_state

    @EXAMPLES
    @given(st.data())
    def damaged(data: st.DataObject) -> None:
        state = json.loads(good)
        place, key = state, data.draw(st.sampled_from(sorted(state)))
        while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if data.draw(st.booleans()):
            place[key] = data.draw(JSON)
        else:
            del place[key]
        with contextlib.suppress(StateCorrupt, StateNewer):
            again = read(state)
            with contextlib.suppress(ValueError):  # a detector made for other bounds refuses the value
                assert again.update(0.0) in {True, False}
            assert read(again.to_state()).to_state() == again.to_state()

    damaged()


def a_constant_stream_never_alarms(entry: Sequential) -> None:
    assert run(entry.make(), np.zeros(5000)) == []


def a_gross_change_is_seen_at_once(entry: Sequential) -> None:
    for seed in range(5):
        values = errors(seed, (2000, RATE), (400, 0.9))
        detector = entry.make()
        alarms = [a for a in run(detector, values) if a >= 2000]  # where the change is
        assert alarms, "a jump of the error rate from 0.2 to 0.9 was not seen within 400 errors"
        assert detector.direction == 1


def a_quiet_stream_alarms_no_more_often_than_stated(entry: Sequential) -> None:
    streams, length = 20, 20_000
    alarms = sum(int(entry.make().update_each(errors(100 + s, (length, RATE))).sum()) for s in range(streams))
    assert alarms <= poisson.ppf(0.9999, entry.false_alarms * streams * length / 100_000)


def panes(values: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Counts, sums and sums of squares of panes of `size` values."""
    cut = values.reshape(-1, size)
    return np.full(len(cut), size), cut.sum(axis=1), (cut * cut).sum(axis=1)


def a_pane_of_one_value_is_the_value_and_an_empty_one_is_nothing(entry: Sequential) -> None:
    if not entry.panes:
        return
    values = errors(9, (500, RATE), (300, 0.8))
    detector, paned = entry.make(), cast("PaneDetector", entry.make())
    for x in values.tolist():
        assert not paned.update_many(0, 0.0, 0.0)
        assert paned.update_many(1, x, x * x) is detector.update(x)
    assert paned.to_state() == detector.to_state()


def panes_at_once_are_panes_one_by_one(entry: Sequential) -> None:
    if not entry.panes:
        return
    each = panes(errors(10, (2000, RATE), (2000, 0.7)), 20)
    one, many = cast("PaneDetector", entry.make()), cast("PaneDetector", entry.make())
    alarms = [one.update_many(int(n), float(total), float(squares)) for n, total, squares in zip(*each, strict=True)]
    assert any(alarms)
    assert many.update_panes(*each).tolist() == alarms
    assert many.to_state() == one.to_state()


def panes_that_cannot_be_are_refused_and_leave_no_trace(entry: Sequential) -> None:
    if not entry.panes:
        return
    detector = cast("PaneDetector", entry.make())
    detector.update_many(10, 2.0, 2.0)
    before = detector.to_state()
    for n, total, squares in ((-1, 0.0, 0.0), (5, math.nan, 1.0), (5, 1.0, math.inf)):
        with pytest.raises(ValueError, match=r"-1|nan|inf"):
            detector.update_many(n, total, squares)
        with pytest.raises(ValueError, match=r"-1|nan|inf"):
            detector.update_panes([10, n], [2.0, total], [2.0, squares])
    assert detector.to_state() == before


LAWS: Final[tuple[Callable[[Sequential], None], ...]] = (
    it_speaks_the_common_language,
    the_same_values_give_the_same_alarms,
    many_at_once_is_one_by_one,
    what_is_no_number_is_refused_and_leaves_no_trace,
    restarting_anywhere_changes_nothing,
    a_state_is_its_own,
    a_state_stays_small,
    a_newer_state_is_refused,
    arbitrary_json_is_a_corrupt_state,
    a_damaged_state_is_refused_or_gives_a_detector_that_works,
    a_constant_stream_never_alarms,
    a_gross_change_is_seen_at_once,
    a_quiet_stream_alarms_no_more_often_than_stated,
    a_pane_of_one_value_is_the_value_and_an_empty_one_is_nothing,
    panes_at_once_are_panes_one_by_one,
    panes_that_cannot_be_are_refused_and_leave_no_trace,
)
