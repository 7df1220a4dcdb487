"""Pictures of the statistics of two samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, xlogy
from scipy.stats import norm

from detectors.drift import anderson_darling, chi2, g_test, hellinger, jensen_shannon, ks, psi, wasserstein
from detectors.drift.divergence import psi_bias
from detectors.drift.g_test import g_terms
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from detectors.drift.result import Counts, DriftResult

N, REFERENCE_N = 1_000, 50_000


def shares(bins: int, mean: float = 0.0, sd: float = 1.0) -> NDArray[np.float64]:
    """Shares of a normal variable in bins that have equal shares without drift."""
    edges = norm.ppf(np.linspace(0, 1, bins + 1))
    return np.diff(norm.cdf((edges - mean) / sd))


def drawn(seed: int, bins: int, mean: float = 0.0, sd: float = 1.0) -> tuple[Counts, Counts]:
    """A reference and a window of normal values, as counts in equi-probable bins."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(REFERENCE_N, shares(bins)), rng.multinomial(N, shares(bins, mean, sd))


def bars(ax: Axes, reference: Counts, current: Counts, named: tuple[int, ...] = ()) -> None:
    """Shares of the reference as grey bars, of the window as outlines, the bins that contribute most coloured."""
    at = np.arange(len(reference))
    ax.bar(at, reference / reference.sum(), width=0.85, color=FAINT, label="reference")
    colours = [MARK if i in named else WINDOW for i in at]
    ax.bar(at, current / current.sum(), width=0.85, fill=False, edgecolor=colours, linewidth=1.4)
    ax.bar([0], [0], fill=False, edgecolor=WINDOW, label="window")
    if named:
        ax.bar([0], [0], fill=False, edgecolor=MARK, label="contributes most")
    ax.set(xlabel="bin, equal shares in the reference", ylabel="share", xticks=at[:: max(1, len(at) // 10)])
    ax.set_ylim(0, 1.45 * max((reference / reference.sum()).max(), (current / current.sum()).max()))
    ax.legend(loc="upper left", ncols=3, columnspacing=1, handlelength=1.2)


def cumulative(ax: Axes, reference: Counts, current: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulative shares of both as steps; returns them with the zero they start from."""
    f, g = (np.append(0, np.cumsum(c) / c.sum()) for c in (reference, current))
    ax.plot(f, color=REFERENCE, label="reference F", drawstyle="default")
    ax.plot(g, color=WINDOW, label="window G")
    ax.set(xlabel="bin", ylabel="cumulative share", xticks=np.arange(0, len(f), 2))
    ax.legend(loc="upper left")
    return f, g


def found(test: Callable[[Counts, Counts], DriftResult], windows: NDArray[np.int64], level: float) -> float:
    """Share of windows that a test rejects, against a large reference."""
    reference = np.round(shares(windows.shape[1]) * REFERENCE_N).astype(np.int64)
    return float(np.mean([test(reference, w).p_value <= level for w in windows]))


def psi_picture() -> Figure:
    """Where PSI comes from, and why it is corrected for the size of the window."""
    figure, (left, right) = panels(2)
    reference, current = drawn(1, 10, 0.3)
    result = psi(reference, current)
    bars(left, reference, current, result.bins[:2])
    left.set_title(f"mean + 0.3 sd: PSI {result.statistic:.3f}, corrected {result.effect_size:.3f}")
    rng = np.random.default_rng(2)
    sizes = np.array([100, 200, 500, 1000, 2000, 5000])
    results = [[psi(reference, c) for c in rng.multinomial(n, shares(10), 200)] for n in sizes]
    for values, colour, label in (
        ([[r.statistic for r in row] for row in results], REFERENCE, "plain"),
        ([[r.effect_size for r in row] for row in results], WINDOW, "corrected (effect_size)"),
    ):
        right.plot(sizes, np.mean(values, axis=1), color=colour, marker="o", markersize=3, label=label)
        right.fill_between(sizes, *np.quantile(values, (0.05, 0.95), axis=1), color=colour, alpha=0.2, linewidth=0)
    right.plot(sizes, [psi_bias(10, n, REFERENCE_N) for n in sizes], color="black", linewidth=0.8, linestyle=":")
    right.set(xscale="log", xticks=sizes, xlabel="rows in the window", ylabel="PSI without drift")
    right.set_xticklabels([str(n) for n in sizes])
    right.minorticks_off()
    right.set_title("no drift: mean, and 5 to 95 %")
    right.legend(loc="upper right")
    return figure


def jensen_shannon_picture() -> Figure:
    """Both samples against their middle, and what each bin adds."""
    figure, (left, right) = panels(2)
    reference, current = drawn(3, 10, 0.0, 1.4)
    result = jensen_shannon(reference, current)
    p, q = reference / reference.sum(), current / current.sum()
    bars(left, reference, current, result.bins[:2])
    left.plot((p + q) / 2, color="black", linewidth=0.9, linestyle=":", marker=".", markersize=4)
    left.set_title(f"spread × 1.4: distance {result.statistic:.3f} (dots: the middle)")
    m = (p + q) / 2
    terms = (p * np.log2(p / m) + q * np.log2(q / m)) / 2
    right.bar(np.arange(10), terms, color=[MARK if i in result.bins[:2] else WINDOW for i in range(10)])
    right.set(xlabel="bin", ylabel="contribution in bits", xticks=np.arange(10))
    right.set_title(f"sum {terms.sum():.4f} = {result.statistic:.3f}²")
    return figure


def hellinger_picture() -> Figure:
    """Roots of shares, and how three divergences grow with a shift."""
    figure, (left, right) = panels(2)
    reference, current = drawn(4, 10, 0.5)
    result = hellinger(reference, current)
    at = np.arange(10)
    left.bar(at, np.sqrt(reference / reference.sum()), width=0.85, color=FAINT, label="√ reference")
    left.bar(at, np.sqrt(current / current.sum()), width=0.85, fill=False, edgecolor=WINDOW, label="√ window")
    left.set(xlabel="bin", ylabel="root of the share", xticks=at, ylim=(0, 0.75))
    left.set_title(f"mean + 0.5 sd: distance {result.statistic:.3f}")
    left.legend(loc="upper left", ncols=2)
    shifts = np.linspace(0, 4, 41)
    large = 10_000_000
    counts = [np.round(shares(10, s) * large).astype(np.int64) for s in shifts]
    for test, colour, label in (
        (hellinger, WINDOW, "Hellinger"),
        (jensen_shannon, GOOD, "Jensen-Shannon"),
        (psi, MARK, "PSI"),
    ):
        right.plot(shifts, [test(counts[0], c).statistic for c in counts], color=colour, label=label)
    right.axhline(1, color=REFERENCE, linewidth=0.8, linestyle=":")
    right.set(xlabel="shift in standard deviations", ylabel="statistic, no sampling error", ylim=(0, 2))
    right.set_title("bounded by 1, and not")
    right.legend(loc="lower right")
    return figure


def ks_picture() -> Figure:
    """The largest gap between two cumulative shares."""
    figure, (left, right) = panels(2)
    for ax, (seed, mean, sd, said) in zip(
        (left, right), ((5, 0.4, 1.0, "mean + 0.4 sd"), (6, 0.0, 1.4, "spread × 1.4")), strict=True
    ):
        reference, current = drawn(seed, 20, mean, sd)
        result = ks(reference, current)
        f, g = cumulative(ax, reference, current)
        at = int(np.abs(f - g).argmax())
        ax.plot([at, at], [f[at], g[at]], color=MARK, linewidth=3)
        ax.set_title(f"{said}: D = {result.statistic:.3f}, p = {result.p_value:.1g}")
    return figure


def wasserstein_picture() -> Figure:
    """The area between two cumulative shares: it counts how far, KS does not."""
    figure, axes = panels(2, sharey=True)
    reference = np.full(20, 2500)
    for ax, target, said in zip(axes, (7, 17), ("a seventh goes up 3 bins", "13 bins"), strict=True):
        current = np.full(20, 50)
        current[4:7] -= 45
        current[target : target + 3] += 45
        f, g = cumulative(ax, reference, current)
        ax.fill_between(np.arange(21), f, g, color=MARK, alpha=0.45, linewidth=0)
        w, d = wasserstein(reference, current).statistic, ks(reference, current).statistic
        ax.set_title(f"{said}: W = {w:.2f}, KS = {d:.2f}")
    return figure


def anderson_darling_picture() -> Figure:
    """How the boundaries are weighted, and how often shifts are found."""
    figure, (left, right) = panels(2)
    f = np.linspace(0.05, 0.95, 19)
    left.bar(f, 1 / (f * (1 - f)), width=0.04, color=WINDOW)
    left.set(xlabel="F at the boundary", ylabel="1 / (F (1 − F))")
    left.set_title("weights of 19 boundaries: the tails count")
    rng = np.random.default_rng(8)
    shifts = np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.36])
    for test, bins, colour, label in (
        (anderson_darling, 20, WINDOW, "Anderson-Darling, 20 bins"),
        (ks, 20, GOOD, "KS, 20 bins"),
        (chi2, 10, MARK, "chi-squared, 10 bins"),
    ):
        power = [found(test, rng.multinomial(N, shares(bins, s), 300), 0.01) for s in shifts]
        right.plot(shifts, power, color=colour, marker="o", markersize=3, label=label)
    right.set(xlabel="shift in standard deviations", ylabel="share of windows found", ylim=(0, 1.02))
    right.set_title("n = 1,000, level 0.01, 300 windows a point")
    right.legend(loc="lower right")
    return figure


def chi2_picture() -> Figure:
    """What each bin adds, and how often changes of shape are found."""
    figure, (left, right) = panels(2)
    reference, current = drawn(9, 10, 0.0, 1.25)
    result = chi2(reference, current)
    expected = reference / reference.sum() * N
    left.bar(
        np.arange(10),
        (current - expected) ** 2 / expected,
        color=[MARK if i in result.bins[:2] else WINDOW for i in range(10)],
    )
    left.set(xlabel="bin", ylabel="(observed − expected)² / expected", xticks=np.arange(10))
    left.set_title(f"spread × 1.25: X² = {result.statistic:.1f}, p = {result.p_value:.1g}")
    rng = np.random.default_rng(10)
    spreads = np.array([1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.5])
    for test, bins, colour, label in (
        (chi2, 10, MARK, "chi-squared, 10 bins"),
        (anderson_darling, 20, WINDOW, "Anderson-Darling, 20 bins"),
        (ks, 20, GOOD, "KS, 20 bins"),
    ):
        power = [found(test, rng.multinomial(N, shares(bins, 0, s), 300), 0.01) for s in spreads]
        right.plot(spreads, power, color=colour, marker="o", markersize=3, label=label)
    right.set(xlabel="spread, reference = 1", ylabel="share of windows found", ylim=(0, 1.02))
    right.set_title("n = 1,000, level 0.01, 300 windows a point")
    right.legend(loc="lower right")
    return figure


def g_test_picture() -> Figure:
    """G beside X², and what the correction is for."""
    figure, (left, right) = panels(2)
    reference, current = drawn(12, 10, 0.0, 1.25)
    result = g_test(reference, current)
    expected = reference / REFERENCE_N * N
    at = np.arange(10)
    left.bar(
        at - 0.2,
        (current - expected) ** 2 / expected,
        width=0.4,
        color=FAINT,
        label="(observed − expected)² / expected",
    )
    left.bar(
        at + 0.2, g_terms(reference.astype(float), current.astype(float)), width=0.4, color=WINDOW, label="part of G"
    )
    left.set(xlabel="bin", ylabel="contribution", xticks=at)
    left.set_ylim(0, left.get_ylim()[1] * 1.35)
    left.legend(loc="upper center")
    left.set_title(f"spread × 1.25: G = {result.statistic:.1f}, p = {result.p_value:.1g}")
    rng = np.random.default_rng(13)
    expectations, bins, level = np.array([10, 20, 50, 100]), 20, 0.001
    plain, corrected = [], []
    for each in expectations.tolist():
        n = each * bins
        counts = rng.multinomial(n, np.full(bins, 1 / bins), 100_000)
        # A reference that is large beside the window: G against known shares, and Williams' correction for them.
        g = 2 * xlogy(counts, counts / each).sum(axis=1)
        w = 1 + (bins * bins - 1) / (6 * n * (bins - 1))
        plain.append(float(np.mean(chdtrc(bins - 1, g) <= level)))
        corrected.append(float(np.mean(chdtrc(bins - 1, g / w) <= level)))
    right.plot(expectations, plain, color=REFERENCE, marker="o", markersize=3, label="plain")
    right.plot(expectations, corrected, color=WINDOW, marker="o", markersize=3, label="corrected (g_test)")
    right.axhline(level, color="black", linewidth=0.6, linestyle=":")
    right.set(xscale="log", xticks=expectations, ylim=(0, None), xlabel="rows that each of 20 bins expects")
    right.set_xticklabels([str(e) for e in expectations])
    right.minorticks_off()
    right.set(ylabel="share with p ≤ 0.001")
    right.set_title("no drift, 100,000 windows a point")
    right.legend(loc="lower right")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "psi": psi_picture,
    "jensen_shannon": jensen_shannon_picture,
    "hellinger": hellinger_picture,
    "ks": ks_picture,
    "wasserstein": wasserstein_picture,
    "anderson_darling": anderson_darling_picture,
    "chi2": chi2_picture,
    "g_test": g_test_picture,
}
