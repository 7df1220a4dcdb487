"""The simulation can fail: with any one protection of the protocol taken out it finds a history that goes wrong."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from tests.sim import engine, protocol, sabotage
from tests.sim.exhaustive import Bounds, every_history
from tests.sim.find import goes_wrong
from tests.sim.seeds import kept
from tests.sim.test_exhaustive import SCRIPT
from tests.sim.world import RestlessError

UNDER_CONTROL = 50
"""Seeds that are played with changed hazards only: what they alone could make fail would fail in the first few."""


@pytest.mark.parametrize("taken_out", sabotage.ALL, ids=lambda value: value.__name__)
def test_a_protection_that_is_taken_out_is_missed(taken_out: sabotage.Sabotage) -> None:
    name = taken_out.__name__
    mine = [seed for seed, missing in kept("protocol") if missing == name]
    with taken_out():
        found = any(goes_wrong(lambda seed: protocol.run(seed, **sabotage.ALL[taken_out]), seed) for seed in mine)
    assert found, f"none of {mine} fails: find others with `python -m tests.sim.find {name}`"


@pytest.mark.parametrize("hazards", [hazards for hazards in sabotage.ALL.values() if hazards], ids=str)
def test_what_is_made_to_happen_more_often_for_that_goes_well_with_every_protection_in_place(
    hazards: dict[str, Any],
) -> None:
    for seed in range(UNDER_CONTROL):
        protocol.run(seed, **hazards)


def test_a_walk_through_every_history_misses_the_repetition_of_an_assignment_that_failed() -> None:
    # Records that were skipped are waited for in vain; with the protection every one of these histories comes to rest.
    with sabotage.assign_not_repeated(), pytest.raises((AssertionError, RestlessError)):
        deque(every_history(Bounds(restarts=1, assigns=1), SCRIPT), maxlen=0)


@pytest.mark.parametrize(("seed", "name"), [(seed, name) for seed, name in kept("engine") if name])
def test_the_whole_engine_misses_it_too(seed: int, name: str) -> None:
    with sabotage.BY_NAME[name]():
        assert goes_wrong(engine.run, seed), "find another with `python -m tests.sim.find`"
