"""What a run of the pipeline answered, and whether it is right. A wrong answer has no speed."""

from __future__ import annotations

from itertools import zip_longest
from textwrap import shorten
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detectors.performance import merge
from detectors.performance.delays import DELAY_BINS
from loadtest.workload import MODEL
from schemas.errors import Outcome
from schemas.identifiers import task_tag
from streams.edges.redis_store import RedisStore
from streams.engine import cells, snapshot
from streams.engine.shape import HEADER
from streams.engine.store import ARRIVALS, FEATURES, Verdict
from streams.engine.task_head import TaskHead

if TYPE_CHECKING:
    from loadtest.workload import Truth
    from streams.engine.store import Cell, Commit

_SHOWN = 3
"""Differing panes that are named; the others are only counted."""
_LINE = 120
"""Characters of differing counters that are shown: the first ones name what went wrong."""


class Answer(msgspec.Struct):
    """``ledgers`` by half (predictions, labels) and outcome; ``panes`` start -> (rows, slot counts) over all partitions.

    ``outcomes`` is the sum of all blocks of labels (`streams.engine.outcomes`); ``cells``/``unequal`` say how many committed
    cells Redis still held at the end, and how many of them with other bytes than were committed.
    """

    ledgers: dict[str, dict[str, int]]
    panes: dict[int, tuple[int, list[int]]]
    outcomes: list[int]
    cells: int
    unequal: int


class Committed:
    """Remembers the last committed bytes of every cell: a pane may be deleted as soon as every reader has passed it (R12)."""

    def __init__(self) -> None:
        """Watch every commit of every ``RedisStore`` in this process from now on."""
        self.cells: dict[tuple[str, Cell], bytes] = {}
        original = RedisStore.commit

        def commit(store: RedisStore, commit: Commit) -> Verdict:
            verdict = original(store, commit)
            if verdict is Verdict.DONE:
                self.cells.update(((commit.shard, cell), data) for cell, data in commit.put)
            return verdict

        RedisStore.commit = commit  # type: ignore[method-assign,assignment]  # from outside, so that the product has no hook for it

    def answer(self, store: RedisStore, group: str, topics: dict[str, str], partitions: int) -> Answer:
        """Read back what stands in Redis and add up the panes of all partitions."""
        halves = {topics["predictions"]: "predictions", topics["labels"]: "labels"}
        ledgers: dict[str, dict[str, int]] = {half: {} for half in halves.values()}
        shards = [task_tag(f"{group}.predictions", p) for p in range(partitions)]
        for shard in shards:
            body = store.peek(shard).body
            head = snapshot.unpack(b"task", body or b"", TaskHead, shard)
            for topic, counts in head.ledger.items():
                for outcome, count in counts.items():
                    ledgers[halves[topic]][outcome] = ledgers[halves[topic]].get(outcome, 0) + count
        panes: dict[int, tuple[int, list[int]]] = {}
        outcomes = np.zeros(0, np.int64)
        for (shard, (kind, model, start)), data in self.cells.items():
            if shard not in shards or model != MODEL or kind not in {FEATURES, ARRIVALS}:
                continue
            for entry in cells.decode(data, f"{shard} {kind} {start}"):
                vector = snapshot.unpack_vector(entry.vector)
                slots, n = vector[HEADER:], int(vector[0])
                if kind == ARRIVALS:
                    outcomes = outcomes + slots if len(outcomes) else slots
                else:
                    before, sum_before = panes.get(start, (0, [0] * len(slots)))
                    panes[start] = before + n, (np.array(sum_before, np.int64) + slots).tolist()
        wanted = list(self.cells)
        found = [
            (mine, there)
            for mine, there in zip(self.cells.values(), store.cells(wanted), strict=True)
            if there is not None
        ]
        unequal = sum(mine != there for mine, there in found)
        block = [*merge(outcomes[:-DELAY_BINS]).tolist(), *outcomes[-DELAY_BINS:].tolist()]
        return Answer(ledgers, panes, block, len(found), unequal)


def differences(answer: Answer, truth: Truth) -> list[str]:
    """Every way in which the answer is not the truth, a sentence each; empty when it is right."""
    wrong = []
    for half, produced in (("predictions", truth.predictions), ("labels", truth.labels)):
        got = answer.ledgers[half]
        if got.get(Outcome.APPLIED, 0) != produced or sum(got.values()) != produced:
            wrong.append(f"{half}: {produced} produced, the ledger says {got}")
    if not answer.cells or answer.unequal:
        wrong.append(f"Redis holds {answer.cells} of the committed cells, {answer.unequal} of them with other bytes")
    missing, strange = truth.panes.keys() - answer.panes.keys(), answer.panes.keys() - truth.panes.keys()
    if missing or strange:
        wrong.append(f"panes: {len(missing)} are missing, {len(strange)} should not be there")
    bad = [
        start for start in sorted(truth.panes.keys() & answer.panes.keys()) if answer.panes[start] != truth.panes[start]
    ]
    if bad:
        named = ", ".join(map(str, bad[:_SHOWN]))
        wrong.append(f"histograms: {len(bad)} of {len(truth.panes)} panes are not the known truth, among them {named}")
    if truth.labels and answer.outcomes != truth.outcomes:
        pairs = enumerate(zip_longest(answer.outcomes, truth.outcomes))
        named = ", ".join(f"{got} instead of {wanted} at {i}" for i, (got, wanted) in pairs if got != wanted)
        wrong.append(f"outcomes of labels (n, errors, confusion, ...): {shorten(named, _LINE)}")
    return wrong
