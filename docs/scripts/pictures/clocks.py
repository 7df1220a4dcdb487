"""Pictures of event time: the watermark and what is late, and the clocks of partitions that fall silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from docs.scripts.pictures.engine import MINUTE, SECOND, Engine, prediction
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATENESS, PANE = 30 * SECOND, MINUTE
PARTITIONS: Final = 3


def minutes(ax: Axes, which: str, first: int, last: int) -> None:
    """Label an axis of minutes with the time of day."""
    at = list(range(first, last + 1))
    getattr(ax, f"set_{which}ticks")(at, [f"{12 + m // 60}:{m % 60:02d}" for m in at])


def event_time_picture() -> Figure:
    """Event time against record time: the watermark, the panes that it closes, what comes too late, and the future."""
    rng = np.random.default_rng(12)
    engine = Engine(windows={"pane": PANE, "size": 2 * PANE, "lateness": LATENESS})
    record = np.sort(rng.uniform(0, 8 * MINUTE, 110)).astype(int)
    delay = np.where(rng.random(110) < 0.12, rng.uniform(35, 170, 110), rng.exponential(7, 110)) * SECOND
    delay[40] = -5.6 * MINUTE  # a clock that is wrong
    found, mark = [], []
    for i, (at, late) in enumerate(zip(record.tolist(), delay.astype(int).tolist(), strict=True)):
        outcome = engine.outcome("predictions", at, prediction(f"p{i}", at - late))
        found.append((at / MINUTE, (at - late) / MINUTE, outcome))
        mark.append(engine.watermark() / MINUTE)
    figure, (ax,) = panels(height_in=4.0)
    x, line = np.append(record, 8 * MINUTE) / MINUTE, np.append(mark, mark[-1])
    closed = np.floor((line * MINUTE - LATENESS) / PANE) * PANE / MINUTE
    ax.fill_between(x, -2.2, closed, step="post", color=FAINT, alpha=0.6, linewidth=0, label="panes that are closed")
    ax.fill_between(
        x, line - LATENESS / MINUTE, line, step="post", color=WINDOW, alpha=0.15, linewidth=0, label="lateness, 30 s"
    )
    ax.step(x, line, where="post", color=WINDOW, label="watermark: the latest event time so far")
    ax.plot([0, 8], [5, 13], color=REFERENCE, linewidth=0.8, linestyle=":", label="5 min ahead of the record: future")
    for outcome, colour, shape in (("applied", GOOD, "o"), ("late", MARK, "X"), ("future", MARK, "^")):
        mine = [(a, b) for a, b, o in found if o == outcome]
        ax.plot(*zip(*mine, strict=True), shape, color=colour, markersize=4, label=f"{outcome}: {len(mine)}")
    ax.set(xlabel="record time: when it was written to Kafka", ylabel="event time: when the model answered")
    ax.set(xlim=(0, 8.1), ylim=(-2.2, 9.2))
    minutes(ax, "x", 0, 8)
    ax.set_yticks(range(-2, 9, 2), ["11:58", *(f"12:{m:02d}" for m in range(0, 9, 2))])
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def silent_partitions_picture() -> Figure:
    """Three partitions: one busy, one on which the model is silent, one on which everything is."""
    engine = Engine(
        partitions=PARTITIONS,
        models=("fraud", "other"),
        windows={"pane": MINUTE, "size": 2 * MINUTE, "lateness": LATENESS, "idle": MINUTE},
    )
    last, other = (10 * MINUTE, 3 * MINUTE, 5 * MINUTE), (10 * MINUTE, 10 * MINUTE, 5 * MINUTE)
    marks: list[list[float]] = [[] for _ in range(PARTITIONS)]
    times, journal, decided = [], [], []
    for now in range(0, 10 * MINUTE + 1, 5 * SECOND):
        for partition in range(PARTITIONS):
            speaks = [
                name
                for name, silent in (("fraud", now > last[partition]), ("other", now > other[partition]))
                if not silent
            ]
            if speaks:
                said = [(now, prediction(f"p{now}", now, model=name)) for name in speaks]
                engine.send("predictions", said, partition)
            elif now % (15 * SECOND) == 0 and engine.silent(now, partition, ("predictions",)):  # as a worker asks
                journal.append((now / MINUTE, engine.watermark(partition) / MINUTE))
        cursor = engine.evaluator().head.windows
        if now % (15 * SECOND) == 0:
            engine.settle()
        times.append(now / MINUTE)
        for partition in range(PARTITIONS):
            marks[partition].append(engine.watermark(partition) / MINUTE)
        if engine.evaluator().head.windows > cursor:
            decided.append(now / MINUTE)
    figure, (ax,) = panels(height_in=3.6)
    names = (
        "partition 0: the model answers all the time",
        "1: from 12:03 on only other models answer",
        "2: from 12:05 on nobody does",
    )
    for partition, colour in enumerate((GOOD, WINDOW, REFERENCE)):
        ax.plot(times, marks[partition], color=colour, label=names[partition], drawstyle="steps-post", zorder=3)
    frontier = np.min(marks, axis=0)
    ax.plot(times, frontier, color=MARK, linewidth=5, alpha=0.25, drawstyle="steps-post", label="the least of them")
    ax.plot(*zip(*journal, strict=True), "o", color=REFERENCE, markersize=4, label="wall clock, in the journal")
    for n, at in enumerate(decided):
        ax.axvline(at, color=MARK, linewidth=0.8, linestyle=":")
        ax.text(at - 0.05, -0.6, f"window until\n12:{2 * n + 2:02d} decided", color=MARK, fontsize=7.5, ha="right")
    ax.set(xlabel="record time, and wall clock", ylabel="watermark of the model", xlim=(0, 10), ylim=(-0.8, 12.6))
    minutes(ax, "x", 0, 10)
    minutes(ax, "y", 0, 10)
    ax.legend(loc="upper left", ncols=2)
    return figure


PICTURES: Final[dict[str, Callable[[], Figure]]] = {
    "event_time": event_time_picture,
    "silent_partitions": silent_partitions_picture,
}
