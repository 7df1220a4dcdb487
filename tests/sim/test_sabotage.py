"""The simulation can fail: with any one protection of the protocol taken out it finds a history that goes wrong."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from schemas.errors import StateError
from tests.sim import engine, protocol, sabotage
from tests.sim.exhaustive import Bounds, every_history
from tests.sim.test_exhaustive import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN = 1_500
"""Seeds: a seventh of what a test run goes through."""
UNDER_CONTROL = 50
"""Seeds that are played with changed hazards only: what they alone could make fail would fail in the first few."""


@pytest.mark.parametrize(
    ("taken_out", "hazards"), sabotage.ALL.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_protection_that_is_taken_out_is_missed(taken_out: sabotage.Sabotage, hazards: dict[str, Any]) -> None:
    with taken_out():
        assert any(_goes_wrong(lambda seed: protocol.run(seed, **hazards), seed) for seed in range(WITHIN))


@pytest.mark.parametrize("hazards", [hazards for hazards in sabotage.ALL.values() if hazards], ids=str)
def test_what_is_made_to_happen_more_often_for_that_goes_well_with_every_protection_in_place(
    hazards: dict[str, Any],
) -> None:
    for seed in range(UNDER_CONTROL):
        protocol.run(seed, **hazards)


def test_a_walk_through_every_history_misses_the_repetition_of_an_assignment_that_failed() -> None:
    with sabotage.assign_not_repeated(), pytest.raises(AssertionError):
        deque(every_history(Bounds(restarts=1, assigns=1), SCRIPT), maxlen=0)


@pytest.mark.parametrize(
    "taken_out",
    [
        sabotage.claim_epochs_ignored,
        sabotage.journal_not_awaited,
        sabotage.journal_not_read,
        sabotage.memory_kept_blindly,
        sabotage.assign_not_repeated,
    ],
    ids=lambda value: value.__name__,
)
def test_the_whole_engine_misses_it_too(taken_out: sabotage.Sabotage) -> None:
    with taken_out():
        assert any(_goes_wrong(engine.run, seed) for seed in range(WITHIN // 5))


def _goes_wrong(run: Callable[[int], object], seed: int) -> bool:
    try:
        run(seed)
    except (
        AssertionError,
        StateError,
    ):  # a wrong outcome, or state that was refused; anything else is a broken sabotage
        return True
    return False
