"""Cells of the named points inside a commit: the worker dies there, again and again, and another one finds what it left."""

from __future__ import annotations

import random
from functools import partial

from tests.faults.cell import Cell, Missed, Stage
from tests.faults.crash import DYING, POINTS
from tests.faults.deployment import Deployment
from tests.faults.load import Spec
from tests.faults.ticking import MODEL, Ticking
from tests.faults.watch import Watch

EVERY = [p for p in POINTS if not p.startswith("journal")]
"""Traffic that never falls silent leaves nothing to journal but the claims."""
TIMES = 4
"""Deaths at one point: at its first passing, and at later ones."""
_REACHED_S = 60.0
_RARE = ("claim", "dead letter", "publish", "acknowledged")
"""Points that a worker passes once in a while; the others it passes several times a second."""
_ONCE = "claim in the journal"
"""Passed once in a life: a worker claims all of its tasks together."""


def dies_at(stage: Stage, d: Deployment, point: str, nth: int, *, unread: bool = True) -> None:
    """Start a worker that dies at a point, and see it die there; ``unread``: while records were unread."""
    nth = 1 if point == _ONCE else nth
    worker = d.start("one", program=("-m", "tests.faults.crash", point, str(nth)))
    d.wait_for(lambda: not worker.alive, f"the {nth}th passing of: {point}", _REACHED_S)
    if f"{DYING} {point}" not in worker.said():
        message = f"the worker ended with {worker.status} before {point}: {worker.tail()}"
        raise AssertionError(message)
    if unread and stage.unread(d) <= 0:
        message = f"{point}: everything was read when it was passed the {nth}th time"
        raise Missed(message)
    stage.count("kills")
    stage.count("faults")


def at_point(stage: Stage, point: str) -> None:
    """One static worker dies at the point several times; then one lives."""
    chance = random.Random(point)
    with stage.deployment(static=True) as d, Watch(d) as watch:
        load = d.load(Spec(predictions=160_000, regime=24_000, rate=10_000))
        d.wait_for(lambda: sum(d.ends().values()) > 2_000, "the first records")
        with stage.waited_for(d, load):
            for turn in range(TIMES):
                most = 4 if point.startswith(_RARE) or "publish" in point else 60
                dies_at(stage, d, point, 1 if turn == 0 else chance.randint(2, most))
        stage.note(f"{TIMES} deaths at: {point}; {watch.commits()} commits between them")
        d.start("one")
        stage.settle(d, load)


def journal(stage: Stage) -> None:
    """Traffic that falls silent, so that the wall clock closes windows: deaths around each journal record; a replay agrees."""
    chance = random.Random(9)
    with stage.deployment(static=True, model_settings=MODEL) as d, Watch(d) as watch:
        d.wait_ready(d.start("one"))
        load = Ticking(d)
        d.wait_for(lambda: load.bursts > 0, "the first burst")
        d.workers["one"].kill()
        for point in [p for p in POINTS if p.startswith("journal")] * 3:
            dies_at(stage, d, point, chance.randint(1, 4), unread=False)
        d.wait_ready(d.start("one"))
        before = load.bursts
        d.wait_for(lambda: load.bursts > before + 2, "more bursts")
        stage.note(f"{stage.counts['kills']} deaths at journal records; {watch.commits()} commits between them")
        stage.settle(d, load, calm=False)


def every_point(stage: Stage) -> None:
    """One death at each point, one after the other."""
    chance = random.Random(6)
    with stage.deployment(static=True) as d, Watch(d) as watch:
        load = d.load(Spec(predictions=160_000, regime=24_000, rate=10_000))
        d.wait_for(lambda: sum(d.ends().values()) > 2_000, "the first records")
        with stage.waited_for(d, load):
            for point in EVERY:
                dies_at(stage, d, point, chance.randint(1, 3))
        stage.note(f"a death at each of {len(EVERY)} points; {watch.commits()} commits between them")
        d.start("one")
        stage.settle(d, load)


CELLS = [
    Cell("commit.every_point", f"dies at each of {len(EVERY)} points once", every_point, short=True, verified=True),
    Cell(
        "commit.journal", "silences that are journaled; dies before, at and after their records", journal, verified=True
    ),
    *(
        Cell(
            f"commit.{point.replace(', ', '_').replace(' ', '_')}",
            f"dies {TIMES} times at: {point}",
            partial(at_point, point=point),
        )
        for point in EVERY
    ),
]
