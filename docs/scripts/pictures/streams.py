"""Pictures of the detectors of change in a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.sequential import Adwin, Ddm, EDetector, River
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

CHANGE: Final = 2000
STEP: Final = 10
"""Every so many values a point is drawn."""


def errors(seed: int, *pieces: tuple[int, float]) -> NDArray[np.float64]:
    """Independent errors in pieces of (how many, at which rate)."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(n) < rate for n, rate in pieces]).astype(np.float64)


def smoothed(values: NDArray[np.float64], width: int = 100) -> NDArray[np.float64]:
    """Mean of the latest `width` values, from the first on."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    at = np.arange(1, len(values) + 1)
    start = np.maximum(0, at - width)
    found: NDArray[np.float64] = (sums[at] - sums[start]) / (at - start)
    return found


def alarm_lines(ax: Axes, alarms: list[int], top: float) -> None:
    """Mark where a detector alarmed."""
    for i, at in enumerate(alarms):
        ax.axvline(at, color=MARK, linewidth=1, label="alarm" if i == 0 else None)
    said = f"{alarms[0] - CHANGE} values after the change"
    ax.text(alarms[-1] + 30, top, said, color=MARK, fontsize=8.5, va="top")


def adwin_picture() -> Figure:
    """The window grows while nothing changes, and is cut when something does."""
    values = errors(3, (CHANGE, 0.2), (2000, 0.3))
    detector, alarms, size, mean = Adwin(), [], [], []
    for i, x in enumerate(values.tolist()):
        if detector.update(x):
            alarms.append(i)
        size.append(detector.n)
        mean.append(detector.mean)
    figure, (top, bottom) = panels(rows=2, height_in=3.4, sharex=True)
    at = np.arange(0, len(values), STEP)
    top.plot(at, smoothed(values)[at], color=FAINT, label="error rate, latest 100")
    top.plot(at, np.array(mean)[at], color=WINDOW, label="mean of the window")
    top.axvline(CHANGE, color=REFERENCE, linestyle=":", linewidth=1)
    alarm_lines(top, alarms, 0.5)
    top.set(ylabel="error rate", ylim=(0.05, 0.68))
    top.legend(loc="upper left", ncols=3)
    top.set_title("errors at 0.2, from 2,000 on at 0.3")
    bottom.plot(at, np.array(size)[at], color=WINDOW)
    bottom.axvline(CHANGE, color=REFERENCE, linestyle=":", linewidth=1)
    for a in alarms:
        bottom.axvline(a, color=MARK, linewidth=1)
    bottom.set(xlabel="values", ylabel="size of the window")
    return figure


def ddm_picture() -> Figure:
    """The rate and its error against the best that was ever seen."""
    values = errors(5, (CHANGE, 0.2), (1500, 0.35))
    detector, alarms, high, warnings = Ddm(), [], [], []
    for i, x in enumerate(values.tolist()):
        if detector.update(x):
            alarms.append(i)
        rate = detector.mean
        high.append(rate + np.sqrt(rate * (1 - rate) / max(1, detector.n)))
        if detector.warning:
            warnings.append(i)
    first = alarms[0]
    n = np.arange(1, first + 1)
    p = np.cumsum(values[:first]) / n
    s = np.sqrt(p * (1 - p) / n)
    # From element 29 on the smallest p + s and its parts are kept.
    kept = np.array([28 + int(np.argmin((p + s)[28 : i + 1])) for i in range(28, first)])
    figure, (ax,) = panels(height_in=2.8)
    at = np.arange(0, len(values), STEP)
    ax.plot(at, np.array(high)[at], color=WINDOW, label="p + s")
    at = np.arange(0, len(kept), STEP)
    for deviations, colour, label in ((2, GOOD, "least p + 2 s: warning"), (3, MARK, "least p + 3 s: alarm")):
        ax.plot(28 + at, (p + deviations * s)[kept][at], color=colour, linewidth=1, label=label)
    ax.axvline(CHANGE, color=REFERENCE, linestyle=":", linewidth=1)
    for i, a in enumerate(alarms):
        ax.plot([a], [high[a]], marker="v", color=MARK, linestyle="none", label="alarm" if i == 0 else None)
    ax.text(
        first - 30,
        high[first] + 0.02,
        f"{first - CHANGE} values after the change",
        color=MARK,
        fontsize=8.5,
        ha="right",
    )
    ax.set(xlabel="values", ylabel="error rate", ylim=(0.15, 0.6))
    ax.set_title("errors at 0.2, from 2,000 on at 0.35")
    ax.legend(loc="upper right", ncols=2)
    return figure


def e_detector_picture() -> Figure:
    """What all gamblers own: near the number of values while nothing changes, then exponential growth."""
    values = errors(37, (CHANGE, 0.2), (1200, 0.3))
    detector = EDetector(0.2, arl=100_000)
    alarms, wealth, since = [], [], []
    for i, x in enumerate(values.tolist()):
        if detector.update(x):
            alarms.append(i)
            since.append(i + 1 - detector.window_start)
        wealth.append(detector.value)
    figure, (ax,) = panels(height_in=2.8)
    at = np.unique(np.concatenate([np.arange(0, len(values), STEP), alarms, np.array(alarms) + 1]).astype(int))
    ax.plot(at, np.array(wealth)[at], color=WINDOW, label="M, what all bets own")
    ax.plot(
        at[1:], at[1:], color=REFERENCE, linewidth=0.9, linestyle="--", label="t, its bound on average without change"
    )
    ax.axhline(100_000, color=MARK, linewidth=1, label="arl = 100,000: alarm")
    ax.axvline(CHANGE, color=REFERENCE, linestyle=":", linewidth=1)
    ax.plot([alarms[0]], [wealth[alarms[0]]], marker="v", color=MARK, linestyle="none")
    ax.text(
        alarms[0] + 30, 3e5, f"{alarms[0] - CHANGE} values after the change;\nestimated start {since[0]:,}",
        color=MARK, fontsize=8.5, va="bottom",
    )  # fmt: skip
    ax.set(yscale="log", ylim=(1, 5e7), xlabel="values", ylabel="M")
    ax.set_title("errors at 0.2, from 2,000 on at 0.3")
    ax.legend(loc="upper left")
    return figure


def river_picture() -> Figure:
    """Where river's detectors alarm on one stream, beside ours."""
    length = 20_000
    quiet, changed = errors(21, (length, 0.2)), errors(22, (length // 2, 0.2), (length // 2, 0.3))
    makers: list[tuple[str, Callable[[], Adwin | EDetector | River]]] = [
        ("EDDM", lambda: River("EDDM")),
        ("HDDMW", lambda: River("HDDMW")),
        ("PageHinkley", lambda: River("PageHinkley")),
        ("HDDMA", lambda: River("HDDMA")),
        ("ADWIN", lambda: River("ADWIN")),
        ("our Adwin", Adwin),
        ("our EDetector", lambda: EDetector(0.2, arl=100_000)),
    ]
    figure, axes = panels(2, height_in=2.9, sharey=True)
    for ax, values, said in zip(
        axes, (quiet, changed), ("no change: every mark is false", "0.2, then 0.3"), strict=True
    ):
        for row, (name, make) in enumerate(makers):
            alarms = np.flatnonzero(make().update_each(values))
            colour = WINDOW if name.startswith("our") else MARK
            ax.plot(alarms, np.full(len(alarms), row), "|", color=colour, markersize=10, markeredgewidth=1.1)
        ax.set(xlabel="values", xlim=(0, length), yticks=range(len(makers)), yticklabels=[name for name, _ in makers])
        ax.set_xticks([0, length // 2, length], ["0", f"{length // 2:,}", f"{length:,}"])
        ax.set_title(said)
    axes[1].axvline(length // 2, color=REFERENCE, linestyle=":", linewidth=1)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "adwin": adwin_picture,
    "ddm": ddm_picture,
    "e_detector": e_detector_picture,
    "river": river_picture,
}
