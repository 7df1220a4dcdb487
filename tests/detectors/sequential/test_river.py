"""The adapter answers as river does, and survives restarts without pickle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from river import drift
from river.drift import binary

from detectors.sequential.river import River, river_detectors
from schemas.errors import ConfigError, StateCorrupt

NAMES = sorted(river_detectors())


def stream(length: int = 600) -> list[float]:
    rng = np.random.default_rng(3)
    rate = np.where(np.arange(length) < length // 2, 0.1, 0.8)
    return [float(x) for x in rng.random(length) < rate]


def test_it_knows_all_drift_detectors_of_river() -> None:
    expected = {
        "ADWIN",
        "DDM",
        "DummyDriftDetector",
        "EDDM",
        "FHDDM",
        "HDDMA",
        "HDDMW",
        "KSWIN",
        "NoDrift",
        "PageHinkley",
    }
    assert expected <= set(NAMES)
    assert not any(name.startswith("_") for name in NAMES)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (River("ADWIN", delta=0.01), drift.ADWIN(delta=0.01)),  # type: ignore[no-untyped-call]  # river's
        (River("KSWIN"), drift.KSWIN(seed=0)),
        (River("KSWIN", seed=7, window_size=60), drift.KSWIN(seed=7, window_size=60)),
        (River("PageHinkley", threshold=15.0), drift.PageHinkley(threshold=15.0)),
        (River("DDM"), binary.DDM()),
        (River("EDDM"), binary.EDDM()),
        (River("HDDMA"), binary.HDDMA()),  # type: ignore[no-untyped-call]  # river's
    ],
    ids=lambda d: getattr(d, "name", ""),
)
def test_up_to_the_first_alarm_it_answers_as_river(ours: River, theirs: drift.ADWIN) -> None:
    for x in stream():
        theirs.update(x)  # type: ignore[no-untyped-call]  # river's
        found = ours.update(x)
        assert found == theirs.drift_detected
        if found:
            assert ours.direction == 1
            return
    pytest.fail("no alarm: nothing was compared")


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_anywhere_changes_nothing(name: str) -> None:
    values = stream(300 if name == "KSWIN" else 600)
    found = River(name).update_each(values).tolist()
    for at in (0, 1, 37, 150, 290):
        first = River(name)
        before = [first.update(x) for x in values[:at]]
        second = River.from_state(json.loads(json.dumps(first.to_state())))
        assert second.to_state() == first.to_state()
        assert before + second.update_each(values[at:]).tolist() == found


def test_a_restart_right_after_an_alarm_changes_nothing() -> None:
    detector = River("PageHinkley", threshold=15.0)
    values = stream()
    at = next(i for i, x in enumerate(values) if detector.update(x))
    again = River.from_state(json.loads(json.dumps(detector.to_state())))
    assert (again.n, again.direction) == (detector.n, 1)
    assert again.n == at + 1
    assert again.update(1.0) == detector.update(1.0)
    assert again.n == detector.n == 1
    assert again.to_state() == detector.to_state()


def test_at_the_limit_the_older_half_is_forgotten_and_the_newer_fed_again() -> None:
    detector = River("ADWIN", limit=100)
    values = [float(i % 3) for i in range(101)]
    detector.update_each(values[:100])
    assert detector.n == 100
    detector.update(values[100])
    assert detector.n == 51
    rebuilt = River("ADWIN", limit=100)
    rebuilt.update_each(values[50:])
    assert rebuilt.to_state() == detector.to_state()


def test_an_alarm_that_forgetting_brings_up_is_passed_over() -> None:
    detector = River("DummyDriftDetector", limit=100, t_0=50)  # alarms at every 50th value
    found = detector.update_each([0.0] * 400).tolist()
    assert [i for i, alarm in enumerate(found) if alarm] == list(range(49, 400, 50))
    slow = River("DummyDriftDetector", limit=100, t_0=101)  # never gets that far
    assert not slow.update_each([0.0] * 1000).any()
    assert slow.n <= 100


def test_values_that_it_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        River("ADWIN").update(math.nan)
    with pytest.raises(ValueError, match="finite"):
        River("ADWIN").update_each([0.0, math.inf])
    detector = River("HDDMA")
    with pytest.raises(ValueError, match="0 and 1"):
        detector.update(0.5)
    with pytest.raises(ValueError, match="0 and 1"):
        detector.update_each([0.0, 0.5])
    assert detector.n == 0


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"no drift detector 'Adwin'.*ADWIN, DDM"):
        River("Adwin")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"delat": 0.1}, "no parameter delat.*delta, clock"),
        ({"delta": "small"}, "delta 0.002, got 'small'"),
        ({"delta": True}, "delta 0.002"),
        ({"clock": 1.5}, "clock 32"),
        ({"delta": math.nan}, "delta 0.002"),
        ({"limit": 3}, "limit"),
    ],
)
def test_parameters_that_it_does_not_have_or_take_are_refused(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        River("ADWIN", **parameters)  # type: ignore[arg-type]  # wrong on purpose


def test_parameters_that_river_refuses_are_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigError, match="KSWIN does not take"):
        River("KSWIN", alpha=7.0)


@pytest.mark.parametrize("series", [[0.5], [0] * 101, ["a"], [0.0] * 60])
def test_a_series_that_the_detector_cannot_have_kept_is_refused(series: list[object]) -> None:
    state = River("DDM", limit=100).to_state() if len(series) != 60 else River("DummyDriftDetector", t_0=50).to_state()
    with pytest.raises(StateCorrupt):
        River.from_state(state | {"series": series})
