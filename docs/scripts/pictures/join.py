"""The picture of the join's cost, drawn from what `python -m loadtest join` measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from docs.scripts.pictures.frame import GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parents[3] / "loadtest" / "results" / "join.json"
Line = tuple[str, str, str]
"""(what was measured, colour, label)."""


def lines(ax: Axes, rows: Sequence[dict[str, Any]], of: Sequence[Line]) -> None:
    """Medians over the number of predictions, from the least to the most of all rounds shaded."""
    sizes = [row["size"] / 1e6 for row in rows]
    for name, colour, label in of:
        low, middle, high = ([row[name][k] for row in rows] for k in ("min", "median", "max"))
        ax.plot(sizes, middle, color=colour, marker="o", markersize=3, label=label)
        ax.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="million predictions", xticks=sizes)
    ax.set_ylim(0, 1.6 * max(row[name]["max"] for row in rows for name, _, _ in of))


def join_picture() -> Figure:
    """What a prediction and a label cost, and how long a restart loads, as the memory grows."""
    found = orjson.loads(RESULTS.read_bytes())
    rows = [row for row in found["cases"] if row["task"] == "binary"]
    aims = {target["what"]: target["target"] for target in found["targets"]}
    figure, (time, size, restart) = panels(3, height_in=2.9)
    lines(
        time,
        rows,
        (
            ("remember_ns", WINDOW, "remember, while growing"),
            ("steady_ns", GOOD, "remember, when full"),
            ("label_ns", MARK, "join a label"),
        ),
    )
    time.set_title("CPU of one, ns")
    lines(
        size,
        rows,
        (
            ("redis_bytes", MARK, "Redis, waiting"),
            ("labelled_redis_bytes", GOOD, "Redis, labelled"),
            ("memory_bytes", WINDOW, "the join's arrays"),
            ("peak_bytes", REFERENCE, "process, while growing"),
        ),
    )
    size.axhline(aims["redis_bytes"], color=MARK, linewidth=0.8, linestyle=":")
    size.axhline(aims["memory_bytes"], color=WINDOW, linewidth=0.8, linestyle=":")
    size.set_title("bytes of one (dots: targets)")
    lines(restart, rows, (("load_s", WINDOW, "waiting"), ("labelled_load_s", GOOD, "labelled")))
    restart.set_title("seconds to load after a restart")
    for ax in (time, size, restart):
        ax.legend(loc="upper left")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {"join": join_picture}
