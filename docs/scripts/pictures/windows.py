"""Pictures of what is asked of a window: its cells, the quality of its data, the performance of its model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from detectors.drift import cell_test
from detectors.drift.multivariate import Reconstruction
from detectors.performance import compare, count_classes, differences, reliability
from detectors.quality import AgeCounts, freshness_test, quality_test
from detectors.reference import Reference
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SMALLEST = 1e-12
"""p-values below are drawn there."""


def p_values(ax: Axes, p: list[float], level: float, *, label: str | None = None, colour: str = WINDOW) -> None:
    """p-values of windows, those at or below the level in red."""
    at, values = np.arange(len(p)), np.maximum(p, SMALLEST)
    ax.axhline(level, color=MARK, linewidth=1)
    ax.plot(at, values, "o", markersize=3.5, color=colour, label=label)
    low = values <= level
    ax.plot(at[low], values[low], "o", markersize=3.5, color=MARK)
    ax.set(yscale="log", ylim=(SMALLEST / 5, 3), xlabel="window", ylabel="p-value")


def cell_picture() -> Figure:
    """One feature, forty-eight windows, a small shift in the second half."""
    rng = np.random.default_rng(2)
    (amount,) = Reference.build({"amount": rng.lognormal(3, 0.8, 50_000)}).features
    windows = [rng.lognormal(3 + (0.15 if i >= 24 else 0), 0.8, 1000) for i in range(48)]
    results = [cell_test(amount, amount.slots_of(w)) for w in windows]
    figure, (top, bottom) = panels(rows=2, height_in=3.6, sharex=True)
    p_values(top, [r.p_value or 1.0 for r in results], 0.0059)
    top.set(xlabel="")
    top.text(0, 0.0059 / 3, "level 0.0059: hourly windows, 20 features, 2 of 3", color=MARK, fontsize=8.5, va="top")
    top.set_title("a lognormal feature, 1,000 rows a window; from window 24 on every value 16 % larger")
    bottom.bar(
        np.arange(48), [r.effect_size for r in results], color=[MARK if i >= 24 else REFERENCE for i in range(48)]
    )
    bottom.axhline(0.1, color=MARK, linewidth=0.8, linestyle=":")
    bottom.text(0, 0.1, "0.1: what a rule on PSI waits for", color=MARK, fontsize=8.5, va="bottom")
    bottom.set(xlabel="window", ylabel="effect (PSI, corrected)", ylim=(-0.02, 0.13))
    return figure


def quality_picture() -> Figure:
    """Missing values rise from 0.1 to 2 %: the share, its test, and the drift test that does not look."""
    rng = np.random.default_rng(3)

    def column(rows: int, missing: float) -> list[float | None]:
        values = rng.normal(40, 9, rows)
        return [None if gone else float(v) for v, gone in zip(values, rng.random(rows) < missing, strict=True)]

    (age,) = Reference.build({"age": column(20_000, 0.001)}).features
    windows = [age.slots_of(column(500, 0.02 if i >= 12 else 0.001)) for i in range(24)]
    checks = [next(q for q in quality_test(age, w) if q.check == "missing") for w in windows]
    drift = [cell_test(age, w).p_value or 1.0 for w in windows]
    figure, (left, right) = panels(2)
    left.bar(np.arange(24), [100 * c.share for c in checks], color=[MARK if i >= 12 else REFERENCE for i in range(24)])
    left.set(xlabel="window of 500 rows", ylabel="missing, %")
    left.set_title("0.1 %, from window 12 on 2 %")
    p_values(right, drift, 1e-4, label="drift test", colour=REFERENCE)
    p_values(right, [c.p_value or 1.0 for c in checks], 1e-4, label="check `missing`")
    right.set_title("the drift test does not see it")
    right.legend(loc="lower left")
    return figure


def freshness_picture() -> Figure:
    """A refresh that failed for four hours."""
    rng = np.random.default_rng(4)
    hours = np.arange(48)
    rate = np.where((hours >= 30) & (hours < 34), 0.06, 0.008)
    counts = [AgeCounts(600, int(rng.binomial(600, r)), 0) for r in rate]
    results = [freshness_test(c, allowed_share=0.01) for c in counts]
    figure, (left, right) = panels(2)
    left.bar(hours, [100 * r.share for r in results], color=[MARK if 30 <= h < 34 else REFERENCE for h in hours])
    left.axhline(1, color=GOOD, linewidth=1, label="1 % may be")
    left.legend(loc="upper left")
    left.set(xlabel="hour", ylabel="older than the maximum, %")
    left.set_title("600 rows an hour; a refresh fails for four hours")
    p_values(right, [r.p_value or 1.0 for r in results], 1e-4)
    right.set(xlabel="hour")
    right.set_title("exact binomial test of “at most 1 %”")
    return figure


def outcomes(rng: np.random.Generator, n: int, errors: float) -> NDArray[np.int64]:
    """The outcome vector of n binary outcomes, a third of them positive, with so many errors."""
    actual = (rng.random(n) < 1 / 3).astype(np.int64)
    wrong = rng.random(n) < errors
    return count_classes(actual, np.where(wrong, 1 - actual, actual), "binary", 2)


def performance_picture() -> Figure:
    """Windows of different size: the same drop is proof in one and chance in another."""
    rng = np.random.default_rng(6)
    reference = outcomes(rng, 20_000, 0.1)
    sizes = [400, 400, 400, 60, 400, 400, 60, 400, 400, 60, 400, 400]
    found = [
        compare(reference, outcomes(rng, n, 0.16 if i >= 8 else 0.1), "binary", ("", "yes"))["accuracy"]
        for i, n in enumerate(sizes)
    ]
    at = np.arange(len(sizes))
    value = np.array([c.current.value or 0.0 for c in found])
    error = np.array([c.current.standard_error or 0.0 for c in found])
    figure, (left, right) = panels(2)
    left.axhline(found[0].reference.value or 0.0, color=GOOD, linewidth=1, label="reference")
    reach = np.array([1.96 * error, np.minimum(1.96 * error, 1 - value)])
    left.errorbar(at, value, reach, fmt="o", markersize=4, color=WINDOW, capsize=2, label="window, ± 1.96 errors")
    left.set(xlabel="window (3, 6, 9: 60 outcomes; others 400)", ylabel="accuracy", xticks=at, ylim=(0.68, 1.08))
    left.set_title("errors 10 %, from window 8 on 16 %")
    left.legend(loc="upper right", ncols=2)
    p_values(right, [c.p_value for c in found], 0.001)
    right.set(xticks=at, ylim=(1e-6, 3))
    right.set_title("Fisher's exact test, level 0.001")
    return figure


def calibration_picture() -> Figure:
    """A reliability diagram, and why a window's ECE is not compared as it is."""
    rng = np.random.default_rng(7)
    score = rng.beta(2, 3, 4000)
    actual = (rng.random(4000) < score**1.5).astype(np.int64)
    table = reliability(count_classes(actual, (score > 0.5).astype(np.int64), "binary", 2, score))
    figure, (left, right) = panels(2)
    left.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1)
    said, rate = [g.mean_score for g in table.groups], [g.rate for g in table.groups]
    left.errorbar(
        said, rate, [1.96 * g.standard_error for g in table.groups], fmt="o", markersize=3.5, color=WINDOW, capsize=2
    )
    left.set(xlabel="mean score of the group", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    left.set_title(f"over-confident: ECE {table.plain:.3f}, beyond chance {table.excess.value or 0:.3f}")
    sizes = [100, 200, 400, 800, 1600, 3200]
    plain, excess = [], []
    for n in sizes:
        tables = []
        for _ in range(100):
            p = rng.beta(2, 3, n)
            hit = (rng.random(n) < p).astype(np.int64)
            tables.append(reliability(count_classes(hit, hit, "binary", 2, p)))
        plain.append(np.mean([t.plain for t in tables]))
        excess.append(np.mean([t.excess.value or 0.0 for t in tables]))
    right.plot(sizes, plain, color=REFERENCE, marker="o", markersize=3, label="plain ECE")
    right.plot(sizes, excess, color=WINDOW, marker="o", markersize=3, label="`ece`: beyond chance")
    right.axhline(0, color="black", linewidth=0.6)
    right.set(xscale="log", xlabel="outcomes in the window", ylabel="mean of 100 windows", xticks=sizes)
    right.set_xticklabels([f"{n:,}" for n in sizes])
    right.minorticks_off()
    right.set_title("a model whose scores are right")
    right.legend(loc="upper right")
    return figure


def fairness_picture() -> Figure:
    """Rates by segment with their errors; what is proven after correction is red."""
    rng = np.random.default_rng(8)
    segments = {"north": (4000, 0.40), "south": (1500, 0.33), "east": (300, 0.36), "west": (900, 0.40)}
    vectors = {}
    for name, (n, yes) in segments.items():
        actual = (rng.random(n) < 0.4).astype(np.int64)
        vectors[name] = count_classes(
            actual, (rng.random(n) < np.where(actual, yes + 0.2, yes - 0.15)).astype(np.int64), "binary", 2
        )
    found = differences(vectors, base="north")
    figure, axes = panels(3, sharey=True, height_in=2.3)
    for ax, rate in zip(axes, ("selection_rate", "true_positive_rate", "false_positive_rate"), strict=True):
        proven = {d.segment for d in found.differences if d.rate == rate and d.corrected <= 0.05}
        for row, name in enumerate(segments):
            m = found.rates[name][rate]
            colour = MARK if name in proven else GOOD if name == "north" else WINDOW
            ax.errorbar(
                [m.value or 0.0], [row], xerr=[1.96 * (m.standard_error or 0.0)], fmt="o", color=colour, capsize=3
            )
        ax.axvline(found.rates["north"][rate].value or 0.0, color=FAINT, zorder=0)
        ax.set(yticks=range(4), yticklabels=[f"{k} ({n:,})" for k, (n, _) in segments.items()], ylim=(3.5, -0.5))
        ax.set_title(rate.replace("_", " "))
    return figure


def multivariate_picture() -> Figure:
    """Two features whose relation goes while each stays as it was."""
    rng = np.random.default_rng(9)

    def rows(n: int, correlation: float) -> dict[str, NDArray[np.float64]]:
        height, other = rng.normal(size=(2, n))
        return {"height": height, "weight": correlation * height + math.sqrt(1 - correlation**2) * other}

    table = rows(20_000, 0.8)
    model, reference = Reconstruction.fit(table), Reference.build(table)
    windows = [rows(500, 0.0 if i >= 12 else 0.8) for i in range(24)]
    figure, (left, right) = panels(2)
    left.plot(table["height"][:110], table["weight"][:110], ".", color=REFERENCE, markersize=3, label="reference")
    left.plot(
        windows[-1]["height"][:110], windows[-1]["weight"][:110], ".", color=MARK, markersize=3, label="window 23"
    )
    left.set(xlabel="height, sd", ylabel="weight, sd", xlim=(-3.5, 3.5), ylim=(-3.5, 5.5))
    left.legend(loc="upper left", ncols=2)
    left.set_title("correlation 0.8, from window 12 on 0")
    residual = [model.test(w)[0].p_value or 1.0 for w in windows]
    right.axhline(1e-4, color=MARK, linewidth=1)
    for subject, mark in zip(reference.features, ("v", "^"), strict=True):
        p = [cell_test(subject, subject.slots_of(w[subject.name])).p_value or 1.0 for w in windows]
        right.plot(np.maximum(p, SMALLEST), mark, markersize=3.5, color=REFERENCE, label=f"{subject.name} alone")
    right.plot(np.maximum(residual, SMALLEST), "o", markersize=3.5, color=WINDOW, label="residual of both")
    right.set(yscale="log", ylim=(SMALLEST / 5, 3), xlabel="window of 500 rows", ylabel="p-value")
    right.legend(loc="lower left")
    right.set_title("no feature has drifted")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "cell": cell_picture,
    "multivariate": multivariate_picture,
    "quality": quality_picture,
    "freshness": freshness_picture,
    "performance": performance_picture,
    "calibration": calibration_picture,
    "fairness": fairness_picture,
}
