"""The picture of the two views of performance: by time of the prediction, and by arrival of the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from docs.scripts.pictures.engine import BEGIN, DAY, HOUR, MODEL, Engine, label, prediction
from docs.scripts.pictures.frame import FAINT, MARK, WINDOW, panels
from docs.scripts.pictures.maturity import delays
from schemas.times import parse_time
from streams.engine import outcomes
from streams.engine.store import ARRIVALS
from streams.engine.windows import closed_windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

MATURITY, HORIZON = DAY, 7 * DAY


def two_views_picture() -> Figure:
    """The error rate doubles: by the time of the predictions, and by the arrival of their labels."""
    rng = np.random.default_rng(8)
    change, end, per_hour = 36, 84, 150
    engine = Engine(
        labels={"maturity": MATURITY, "horizon": HORIZON},
        windows={"pane": HOUR, "size": HOUR},
        monitors=[{"performance": ["accuracy"]}, {"sequential": "error_rate"}],
    )
    at = np.sort(rng.integers(0, end * HOUR, per_hour * end))
    wrong = rng.random(len(at)) < np.where(at < change * HOUR, 0.1, 0.2)
    arrival = at + delays(rng, len(at), 5 * HOUR, 0.7)
    order = np.argsort(arrival, kind="stable")
    for hour in range(end):
        for topic, times, which in (("predictions", at, np.arange(len(at))), ("labels", arrival, order)):
            low, high = np.searchsorted(times[which], [hour * HOUR, (hour + 1) * HOUR])
            rows = [(int(times[i]), int(i)) for i in which[low:high]]
            made = [
                (t, prediction(f"p{i}", t) if topic == "predictions" else label(f"p{i}", t, truth=bool(wrong[i])))
                for t, i in rows
            ]
            engine.send(topic, made)
        if hour % 4 == 3:
            engine.settle()
    model, shards = engine.host.plans["predictions"].by_name[MODEL], engine.host.shards("predictions")
    arrived, since = [], BEGIN
    while panes := list(closed_windows(engine.store, shards, ARRIVALS, MODEL, since, BEGIN + end * HOUR, HOUR)):
        since = panes[-1].end
        arrived += [(p.start, outcomes.arrival(model, v).counts) for p in panes for _, v in p.streams.values()]
    figure, (top, bottom) = panels(rows=2, height_in=4.2, sharex=True, sharey=True)
    view = [(r["window"][0] / HOUR, r["metrics"]["accuracy"]["value"], r["coverage"]) for r in engine.performance()]
    top.plot(
        [t + 0.5 - change for t, _, _ in view], [100 * (1 - v) for _, v, _ in view], "o", color=WINDOW, markersize=3
    )
    bottom.plot(
        [(t - BEGIN) / HOUR + 0.5 - change for t, _ in arrived],
        [100 * int(v[1]) / int(v[0]) for _, v in arrived],
        "o",
        color=WINDOW,
        markersize=3,
    )
    events = [orjson.loads(e.value) for e in engine.publisher.events if e.topic == "driftline.alerts"]
    found = {e["data"]["kind"]: parse_time(e["time"]) for e in reversed(events) if e["type"].endswith("opened.v1")}
    for ax, kind, said in (
        (top, "performance", "by time of the prediction: windows of one hour, evaluated 24 h after their end"),
        (bottom, "sequential", "by arrival of the label: panes of one hour, each label when it comes"),
    ):
        opened = (found[kind] - BEGIN) / HOUR - change
        ax.plot([-change, 0, 0, end - change], [10, 10, 20, 20], color=FAINT, linewidth=3, zorder=0)
        ax.axvline(opened, color=MARK, linewidth=1.2)
        side = "right" if opened > MATURITY / HOUR else "left"
        beside = opened - 0.4 if side == "right" else opened + 0.4
        ax.text(beside, 1.5, f"alert opened, {opened:.0f} h after the change", color=MARK, fontsize=8.5, ha=side)
        ax.set(ylabel="error rate, %", ylim=(0, 30), xlim=(-24, end - change))
        ax.set_title(said)
    bottom.set(xlabel="hours since the error rate doubled (grey: the truth, by time of the prediction)")
    return figure


PICTURES: Final[dict[str, Callable[[], Figure]]] = {"two_views": two_views_picture}
