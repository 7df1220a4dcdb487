"""P1-P4, P8 of the whole engine: hosts that crash, sleep, lose partitions and the store's last second, against one undisturbed.

A history is made of its seed; a failure says which one it was, and ``python -m tests.sim.engine SEED`` runs it again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sim import engine
from tests.sim.seeds import kept, seeds

SEEDS = 500
MET: Counter[str] = Counter()
ALWAYS = {
    *(
        "crash",
        "sleep",
        "move",
        "restart of all",
        "restart of one shard",
        "rebuilt",
        "sent again",
        "gave up on the journal",
    ),
    *("claim does not arrive", "claim is not answered", "claim arrives later"),
    *("commit does not arrive", "commit is not answered", "commit arrives later"),
    *("assignment failed", "assignment refused", "no answer about a partition"),
    *("many claims: ConnectionProblem", "many claims: StoreRestarted", "many claims: StateMissing"),
    *("events", "commands"),
}
"""What must have happened again and again, or the simulation has gone blind."""


@pytest.mark.parametrize("seed", [seed for seed, _ in kept("engine")])
def test_a_history_of_the_engine_that_failed_once_ends_like_the_undisturbed_run(seed: int) -> None:
    engine.run(seed)


@pytest.mark.parametrize("part", range(10))
def test_state_windows_and_events_are_those_of_an_undisturbed_run_whatever_fails(part: int) -> None:
    for seed in seeds(SEEDS)[part::10]:
        MET.update(engine.run(seed).met)


def test_everything_that_can_go_wrong_has_gone_wrong_again_and_again() -> None:
    if not MET:
        pytest.skip("not run: it counts what the seeds of this file have met, and none was played in this process")
    assert sorted(what for what in ALWAYS if MET[what] < 10) == []
