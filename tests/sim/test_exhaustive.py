"""P1, P3, P4: every history of a short script within bounds, so that no order of effects is left to luck."""

from __future__ import annotations

import pytest

from tests.sim.choices import branches
from tests.sim.exhaustive import Bounds, every_history
from tests.sim.toy_host import Script

SCRIPT = Script({("a", 0): [1, 2], ("b", 0): [3]}, [], clocks=1, most=2, every=1, evaluator=False)


@pytest.mark.parametrize(
    ("bounds", "least"),
    [
        (Bounds(moves=1, switches=1), 1_500),
        (Bounds(moves=1, crashes=1), 2_000),
        (Bounds(moves=1, troubles=1), 2_000),
        (Bounds(moves=1, restarts=1), 5_000),
        (Bounds(moves=1, assigns=1), 200),
        (Bounds(restarts=1, assigns=1), 500),
    ],
)
def test_every_order_of_effects_comes_to_what_the_logs_come_to(bounds: Bounds, least: int) -> None:
    assert sum(1 for _ in every_history(bounds, SCRIPT)) >= least


def test_the_walk_through_a_tree_takes_every_branch_once() -> None:
    found = []
    for branch in branches():
        first = branch.pick([1, 1, 1])
        found.append((first, branch.pick([1, 1]) if first else None))
    assert found == [(0, None), (1, 0), (1, 1), (2, 0), (2, 1)]
