"""P1, P3, P4 of the commit protocol: thousands of histories in which machines, the store, the journal and the group fail.

A history is made of its seed; a failure says which one it was, and ``python -m tests.sim.protocol SEED`` runs it again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sim import protocol, sabotage
from tests.sim.seeds import kept, seeds

SEEDS = 10_000
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
    *("many claims: ConnectionProblem", "many claims: StoreRestarted"),
    *("kept in memory", "entries to obey"),
}
"""What must have happened hundreds of times, or the simulation has gone blind."""


@pytest.mark.parametrize(("seed", "taken_out"), kept("protocol"))
def test_a_history_that_fails_without_a_protection_comes_to_what_its_logs_come_to(seed: int, taken_out: str) -> None:
    protocol.run(seed, **sabotage.hazards(taken_out))


@pytest.mark.parametrize("part", range(10))
def test_every_record_counts_once_and_every_event_is_published_with_one_payload_whatever_fails(part: int) -> None:
    for seed in seeds(SEEDS)[part::10]:
        MET.update(protocol.run(seed).met)


def test_everything_that_can_go_wrong_has_gone_wrong_hundreds_of_times() -> None:
    if not MET:
        pytest.skip("not run: it counts what the seeds of this file have met, and none was played in this process")
    assert sorted(what for what in ALWAYS if MET[what] < 100) == []


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = protocol.run(7), protocol.run(7)
    assert first.journal.records == second.journal.records
    assert first.turns == second.turns
    assert first.met == second.met
