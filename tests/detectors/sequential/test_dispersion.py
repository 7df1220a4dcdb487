"""The dispersion of panes against its definition, on independent bits and on bursts, and over restarts."""

from __future__ import annotations

import json
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sequential import Dispersion, EDetector
from schemas.errors import StateCorrupt, StateNewer

PANES = st.lists(st.integers(0, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=40)


def slow(panes: list[tuple[int, int]]) -> float:
    """The definition, with all panes at hand: neighbouring blocks of 1, 2 and 4, each compared at the rate of its time."""
    panes = [pane for pane in panes if pane[0]]
    best = 1.0
    for size, half_life in ((1, 100), (2, 50), (4, 25)):
        blocks = [panes[i : i + size] for i in range(0, len(panes) - size + 1, size)]
        found = []
        for i, (older, newer) in enumerate(pairwise(blocks)):
            seen = panes[: (i + 2) * size]
            weights = [0.98 ** (len(seen) - 1 - j) for j in range(len(seen))]
            n, k = (sum(w * pane[part] for w, pane in zip(weights, seen, strict=True)) for part in (0, 1))
            p = (k + 0.5) / (n + 1)
            (n0, k0), (n1, k1) = ((sum(b[0] for b in block), sum(b[1] for b in block)) for block in (older, newer))
            found.append((k0 / n0 - k1 / n1) ** 2 / (p * (1 - p) * (1 / n0 + 1 / n1)))
        weights = [0.5 ** ((len(found) - 1 - j) / half_life) for j in range(len(found))]
        held = sum(weights) + 4
        mean = (sum(w * d for w, d in zip(weights, found, strict=True)) + 4) / held
        best = max(best, mean * (1 - sqrt(3 / held)))
    return best


@given(PANES)
@settings(max_examples=80, deadline=None)
def test_it_is_what_its_definition_gives(panes: list[tuple[int, int]]) -> None:
    dispersion = Dispersion()
    for n, ones in panes:
        dispersion.update(n, ones)
    assert dispersion.value == pytest.approx(slow(panes))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5])
def test_on_independent_bits_it_stays_near_1(rate: float) -> None:
    dispersion, rng, found = Dispersion(), np.random.default_rng(1), []
    for k in rng.binomial(100, rate, 1000):
        dispersion.update(100, int(k))
        found.append(dispersion.value)
    assert np.mean(found) < 1.05
    assert max(found) < 1.6


def test_a_lasting_change_of_the_level_moves_it_little() -> None:
    dispersion, rng = Dispersion(), np.random.default_rng(2)
    for k in (*rng.binomial(100, 0.1, 200), *rng.binomial(100, 0.2, 20)):
        dispersion.update(100, int(k))
    assert dispersion.value < 1.5


@pytest.mark.parametrize("length", [1, 2, 4])
def test_bursts_as_long_as_a_pane_or_a_few_are_seen(length: int) -> None:
    dispersion, rng = Dispersion(), np.random.default_rng(3)
    for k in rng.binomial(50, np.repeat(rng.choice([0.05, 0.35], 200), length)):
        dispersion.update(50, int(k))
    assert dispersion.value > 4


@given(PANES, st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_restart_anywhere_changes_nothing(panes: list[tuple[int, int]], at: int) -> None:
    whole, restarted = Dispersion(), Dispersion()
    for i, (n, ones) in enumerate(panes):
        if i == at:
            restarted = Dispersion.from_state(json.loads(json.dumps(restarted.to_state())))
        whole.update(n, ones)
        restarted.update(n, ones)
    assert restarted.to_state() == whole.to_state()
    assert restarted.value == whole.value


@pytest.mark.parametrize(
    "damage",
    [
        {"rate": [1, 2]},
        {"levels": []},
        {"levels": [[None, None, -1, 0]] * 3},
        {"levels": [[[1, 9], None, 0, 0]] * 3},
        {"format": 0},
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(StateCorrupt):
        Dispersion.from_state(Dispersion().to_state() | damage)
    with pytest.raises(StateNewer):
        Dispersion.from_state({"format": 2})


@pytest.mark.parametrize(("n", "ones"), [(-1, 0), (2, 3), (2, -1)])
def test_panes_that_cannot_be_are_refused(n: int, ones: int) -> None:
    with pytest.raises(ValueError, match="ones"):
        Dispersion().update(n, ones)


def test_with_it_an_e_detector_keeps_to_its_rate_on_bursts() -> None:
    rng = np.random.default_rng(4)
    rates = np.repeat(rng.choice([0.1, 0.3], 10_000), 2)
    counts = [int(k) for k in rng.binomial(100, rates)]
    plain, aware, dispersion, alarms = EDetector(0.2, arl=1000), EDetector(0.2, arl=1000), Dispersion(), [0, 0]
    for k in counts:
        alarms[0] += plain.update_many(100, k, k)
        alarms[1] += aware.update_many(100, k, k, dispersion=dispersion.value)
        dispersion.update(100, k)
    assert alarms[0] > 20 * len(counts) / 1000
    assert alarms[1] <= len(counts) / 1000
