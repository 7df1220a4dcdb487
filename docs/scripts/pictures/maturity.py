"""Pictures of labels that come late: the labels of one window, and how its coverage grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.performance import metrics
from detectors.performance.delays import DELAY_BINS, count_delays, delay_edges
from docs.scripts.pictures.engine import DAY, HOUR, MINUTE, MODEL, Engine, label, prediction
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels
from streams.engine import outcomes
from streams.engine.store import PERFORMANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from detectors.performance import Metric

WINDOW_MS, MATURITY, HORIZON = 10 * MINUTE, DAY, 7 * DAY
TIMES: Final[dict[str, Any]] = {
    "labels": {"maturity": MATURITY, "horizon": HORIZON},
    "windows": {"size": WINDOW_MS, "pane": WINDOW_MS},
}
ACCURACY = [{"performance": ["accuracy"]}]
TICKS = {
    -5 * MINUTE: "-5 min",
    0: "",
    10 * MINUTE: "10 min",
    HOUR: "1 h",
    6 * HOUR: "6 h",
    DAY: "24 h",
    3 * DAY: "3 d",
    7 * DAY: "7 d",
}

LIVES: Final[tuple[tuple[str, int, tuple[tuple[int, bool], ...]], ...]] = (
    ("p1", 1 * MINUTE, ((4 * MINUTE, True),)),
    ("p2", 2 * MINUTE, ((-3 * MINUTE, True),)),
    ("p3", 4 * MINUTE, ((10 * HOUR, True), (40 * HOUR, True))),
    ("p4", 5 * MINUTE, ((30 * HOUR, True),)),
    ("p5", 7 * MINUTE, ((26 * HOUR, True), (5 * DAY, False))),
    ("p6", 8 * MINUTE, ((8 * DAY, True),)),
    ("p7", 9 * MINUTE, ()),
)
"""Predictions of one window: name, event time, and its labels, (label time, truth)."""
COLOURS: Final = {"revision 1": GOOD, "revision 2": WINDOW, "duplicate": REFERENCE, "conflict": MARK, "orphan": MARK}


def squeezed(ms: float | NDArray[np.int64]) -> NDArray[np.float64]:
    """Minutes and days on one axis: nearly linear up to ten minutes, then logarithmic."""
    return np.asarray(np.arcsinh(np.asarray(ms) / (4 * MINUTE)))


def lives() -> tuple[list[tuple[int, int, str]], dict[int, tuple[int, int]], list[int]]:
    """What became of each label of `LIVES`, (row, time, outcome); (labels, remembered) by revision; rows that expired."""
    engine = Engine(**TIMES, monitors=ACCURACY)
    events = [(time, "predictions", row, prediction(name, time)) for row, (name, time, _) in enumerate(LIVES)]
    for row, (name, _, known) in enumerate(LIVES):
        events += [(time, "labels", row, label(name, time, truth=truth)) for time, truth in known]
    found, counted = [], {1: 0, 2: 0}
    for time, topic, row, said in sorted(events, key=lambda e: e[0]):
        what = engine.outcome(topic, time, said)
        cell = engine.task().open[PERFORMANCE]
        vectors = [v for m, at in cell.open() for _, v in cell.vectors(m, at)]
        model = engine.host.plans["predictions"].by_name[MODEL]
        before, counted = counted, {1: 0, 2: 0}
        for vector in vectors:
            counted = {1: outcomes.mature(model, vector).labels, 2: outcomes.final(model, vector).labels}
        if counted != before:  # of a label that came first, when its prediction does
            at = time if topic == "labels" else LIVES[row][2][0][0]
            found.append((row, at, "revision 1" if counted[1] > before[1] else "revision 2"))
        elif topic == "labels" and what != "waiting":
            found.append((row, time, what))
    for days in (10, 12, 18):  # behind the horizon of everything
        engine.silent(days * DAY)
        engine.settle()
    labels, joined = engine.task().outcomes()["labels"], engine.task().join.counts(0)
    unlabelled = [row for row in range(len(LIVES)) if not any(r == row for r, _, what in found if "revision" in what)]
    found += [(row, LIVES[row][2][0][0], "orphan") for row in unlabelled if LIVES[row][2] and labels["orphan"]]
    expired = unlabelled if joined["expired"] == len(unlabelled) else []
    (record,) = engine.performance()
    first, last = record, record["final"]
    return found, {1: (first["labels"], first["remembered"]), 2: (last["labels"], last["remembered"])}, expired


def axis_of_ages(ax: Axes, first: int, last: int) -> None:
    """Mark an axis of `squeezed` times."""
    ax.set_xticks(
        [float(squeezed(t)) for t in TICKS if first <= t <= last], [v for t, v in TICKS.items() if first <= t <= last]
    )
    ax.set_xlim(float(squeezed(first)) - 0.3, float(squeezed(last)) + 0.3)


def label_life_picture() -> Figure:
    """Seven predictions of one window, and which of their labels count in which revision."""
    found, revisions, expired = lives()
    figure, (ax,) = panels(height_in=3.4)
    ax.axvspan(float(squeezed(0)), float(squeezed(WINDOW_MS)), color=FAINT, alpha=0.6, linewidth=0)
    ax.text(float(squeezed(WINDOW_MS)) - 0.05, -0.75, "window 12:00 to 12:10", ha="right", fontsize=8)
    for end, name, revision in ((MATURITY, "maturity, 24h", 1), (HORIZON, "horizon, 7d", 2)):
        at = float(squeezed(WINDOW_MS + end))
        labels, remembered = revisions[revision]
        ax.axvline(at, color=MARK, linewidth=1)
        ax.text(
            at - 0.06,
            -0.75,
            f"{name}\nrevision {revision}: {labels} of {remembered}",
            color=MARK,
            fontsize=8,
            ha="right",
            va="center",
        )
    for row, (_, time, known) in enumerate(LIVES):
        ends = [time, *(t for t, _ in known)]
        ax.plot(squeezed(np.array([min(ends), max(ends)])), [row, row], color=REFERENCE, linewidth=0.8, zorder=1)
        ax.plot([float(squeezed(time))], [row], "o", color="white", markeredgecolor="#202124", markersize=6)
    for row, time, what in found:
        shape = "s" if what.startswith("revision") else "X"
        ax.plot([float(squeezed(time))], [row], shape, color=COLOURS[what], markersize=6)
        said = {"revision 1": "counts in both", "revision 2": "revision 2 only"}.get(what, what)
        side = "left" if what == "revision 2" else "center"
        at = float(squeezed(time)) - (0.08 if side == "left" else 0)
        ax.text(at, row + 0.42, said, color=COLOURS[what], fontsize=7.5, ha=side, va="center")
    for row in expired:
        at = float(squeezed(LIVES[row][1]))
        ax.text(at - 0.15, row, "expired", color=REFERENCE, fontsize=7.5, ha="right", va="center")
    ax.set(ylim=(6.7, -1.2), xlabel="time since 12:00 (○ prediction, ■ label that counts, × label that does not)")
    ax.set_yticks(range(len(LIVES)), [name for name, _, _ in LIVES])
    axis_of_ages(ax, -5 * MINUTE, 8 * DAY)
    return figure


def delays(rng: np.random.Generator, n: int, median: int, sigma: float) -> NDArray[np.int64]:
    """Delays of labels in ms."""
    return np.asarray(rng.lognormal(np.log(median), sigma, n), np.int64)


def arriving(
    engine: Engine, at: NDArray[np.int64], arrival: NDArray[np.int64], fraud: NDArray[np.bool_], ages: list[int]
) -> list[Metric]:
    """Send the labels of one window in the order of their times; the accuracy of those that are in, at each age of it."""
    model, shown, read = engine.host.plans["predictions"].by_name[MODEL], [], 0
    order = np.argsort(arrival, kind="stable")
    for age in ages:
        upto = int(np.searchsorted(arrival[order], at.max() + age))
        batch = [(int(arrival[i]), label(f"p{i}", int(arrival[i]), truth=bool(fraud[i]))) for i in order[read:upto]]
        if batch:
            engine.send("labels", batch)
        read = upto
        cell = engine.task().open[PERFORMANCE]
        (vector,) = [v for m, start in cell.open() for _, v in cell.vectors(m, start)]
        shown.append(metrics(outcomes.final(model, vector).counts, "binary", model.classes)["accuracy"])
    return shown


def coverage_picture() -> Figure:
    """One window of 3,000 predictions whose frauds are known sooner than its honest payments."""
    rng = np.random.default_rng(3)
    n = 3_000
    at = np.sort(rng.integers(0, WINDOW_MS, n))
    fraud = rng.random(n) < 0.08
    wrong = rng.random(n) < np.where(fraud, 0.3, 0.03)
    delay = np.where(fraud, delays(rng, n, 8 * HOUR, 1.0), delays(rng, n, 36 * HOUR, 0.6))
    engine = Engine(**TIMES, monitors=ACCURACY)
    answers = fraud != wrong
    said = [prediction(f"p{i}", t, answer=bool(answers[i])) for i, t in enumerate(at.tolist())]
    engine.send("predictions", list(zip(at.tolist(), said, strict=True)))
    edges = delay_edges()
    ages = edges[(edges > 5 * MINUTE) & (edges < 10 * DAY)]
    shown = arriving(engine, at, at + delay, fraud, ages.tolist())
    for time in (MATURITY, HORIZON):
        engine.silent(3 * WINDOW_MS + time)
        engine.settle()
    (record,) = engine.performance()
    figure, (left, right) = panels(2, height_in=2.9)
    show_coverage(left, delay, fraud)
    show_accuracy(right, ages, shown)
    for time, found in ((MATURITY, record), (HORIZON, record["final"])):
        accuracy, share = found["metrics"]["accuracy"], 100 * found["coverage"]
        left.plot([time / HOUR], [share], "s", color=MARK, markersize=5, zorder=4)
        left.text(time / HOUR / 1.08, share, f"{share:.3g} %", ha="right", va="bottom")
        right.plot([time / HOUR], [accuracy["value"]], "s", color=MARK, markersize=5, zorder=4)
        figures = f"{accuracy['value']:.3f}\n± {accuracy['standard_error']:.3f}"
        right.text(time / HOUR, accuracy["value"] + 0.025, figures, ha="center", va="bottom", fontsize=8)
    for ax in (left, right):
        for time, name in ((MATURITY, "maturity"), (HORIZON, "horizon")):
            ax.axvline(time / HOUR, color=REFERENCE, linewidth=0.8, linestyle=":")
            middle = ax.get_xaxis_transform()
            ax.text(time / HOUR * 1.03, 0.03, name, transform=middle, rotation=90, fontsize=7.5, color="#5f6368")
        ax.set(xscale="log", xlim=(0.5, 260))
        ax.set_xticks([1, 6, 24, 72, 168], ["1 h", "6 h", "24 h", "3 d", "7 d"])
        ax.minorticks_off()
    return figure


def show_coverage(ax: Axes, delay: NDArray[np.int64], fraud: NDArray[np.bool_]) -> None:
    """Which share of the labels is in by when, of each class, in the engine's bins of delays."""
    edges = delay_edges()[1:]
    drawn = (edges > 20 * MINUTE) & (edges < 12 * DAY)
    classes = ((fraud, MARK, "frauds"), (~fraud, GOOD, "honest payments"), (fraud | True, WINDOW, "all: the coverage"))
    for mine, colour, said in classes:
        counts = np.zeros(DELAY_BINS, np.int64)
        count_delays(counts, np.zeros(int(mine.sum()), np.int64), delay[mine])
        share = 100 * np.cumsum(counts)[:-1] / counts.sum()
        ax.plot(edges[drawn] / HOUR, share[drawn], color=colour, label=said, linewidth=2 if mine.all() else 1)
    ax.set(xlabel="time since the prediction", ylabel="labels that are in, %", ylim=(0, 105))
    ax.set_title(f"a window of {len(fraud):,} predictions")
    ax.legend(loc="upper left")


def show_accuracy(ax: Axes, ages: NDArray[np.int64], shown: list[Metric]) -> None:
    """The accuracy of the labels that are in, with its standard error, from 30 labels on."""
    known = [(age / HOUR, m.value, m.standard_error) for age, m in zip(ages.tolist(), shown, strict=True) if m.n >= 30]
    x, value, error = (np.array(column, np.float64) for column in zip(*known, strict=True))
    ax.fill_between(x, value - 1.96 * error, value + 1.96 * error, color=WINDOW, alpha=0.2, linewidth=0)
    ax.plot(x, value, color=WINDOW)
    ax.set(xlabel="time since the end of the window", ylabel="accuracy of the labels in", ylim=(0.6, 1.03))
    ax.set_title("accuracy, ± 1.96 standard errors")


PICTURES: Final[dict[str, Callable[[], Figure]]] = {
    "label_life": label_life_picture,
    "coverage": coverage_picture,
}
