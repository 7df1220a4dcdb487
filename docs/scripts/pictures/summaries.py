"""Pictures of the sketches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.reference.bins import equal_mass_edges
from detectors.sketches import Bins, Distinct, HeavyHitters, Histogram, LogHistogram, category_hash
from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure


def histogram_picture() -> Figure:
    """Panes over the same frozen bins, and their sum."""
    rng = np.random.default_rng(1)
    bins = Bins(equal_mass_edges(rng.lognormal(3, 0.6, 20_000), 20))
    figure, axes = panels(4, sharey=True, height_in=2.3)
    total = Histogram(bins)
    for i, ax in enumerate(axes[:3]):
        pane = Histogram(bins)
        pane.update(rng.lognormal(3 + 0.2 * i, 0.6, 400))
        total = total.merge(pane)
        ax.bar(np.arange(22), pane.counts[:22], color=WINDOW)
        ax.set_title(f"pane {i + 1}: mean {pane.mean:.1f}")
    axes[3].bar(np.arange(22), total.counts[:22] / 3, color=MARK)
    axes[3].set_title(f"window: mean {total.mean:.1f}")
    for ax in axes:
        ax.set(xlabel="slot", xticks=[0, 10, 21], xticklabels=["below", "10", "above"])
    axes[0].set_ylabel("count (window: / 3)")
    return figure


def log_histogram_picture() -> Figure:
    """The distribution it is told, and the error of every quantile."""
    rng = np.random.default_rng(2)
    latency_ms = np.concatenate([rng.lognormal(2.5, 0.4, 90_000), rng.lognormal(6, 0.7, 10_000)])
    sketch = LogHistogram()
    sketch.update(latency_ms)
    q = np.concatenate([np.linspace(0.001, 0.999, 250), [0.9995, 0.9999]])
    exact = np.quantile(latency_ms, q, method="lower")
    error = np.array([sketch.quantile(float(x)) for x in q]) / exact - 1
    figure, (left, right) = panels(2)
    left.hist(latency_ms, bins=np.geomspace(1, 1e4, 60).tolist(), color=FAINT)
    for share, colour in ((0.5, GOOD), (0.99, MARK)):
        value = sketch.quantile(share)
        left.axvline(value, color=colour)
        left.text(value * 1.1, 9500, f"p{share * 100:.0f} = {value:.4g} ms", color=colour, fontsize=8.5)
    left.set(xscale="log", xlabel="latency, ms", ylabel="requests", ylim=(0, 10_500))
    left.set_title(f"100,000 latencies in {len(sketch.to_bytes()):,} bytes")
    right.plot(q, 100 * error, color=WINDOW, linewidth=0.8)
    for bound in (-1, 1):
        right.axhline(bound, color=MARK, linewidth=1)
    right.set(xlabel="quantile", ylabel="error, % of the value", ylim=(-1.4, 1.4))
    right.set_title("never beyond 1 %")
    return figure


def distinct_picture() -> Figure:
    """The estimate against the truth, and its error."""
    rng = np.random.default_rng(3)
    truth = np.unique(np.geomspace(1, 1e6, 50).astype(np.int64))
    figure, (ax,) = panels(height_in=2.6)
    ax.fill_between(truth, -6.5, 6.5, color=FAINT, linewidth=0, label="± one standard error, 6.5 %")
    for i in range(5):
        sketch, seen, errors = Distinct(), 0, []
        for n in truth.tolist():
            sketch.update(rng.integers(0, 2**63, n - seen).astype(np.uint64))
            seen = n
            errors.append(100 * (sketch.estimate() / n - 1))
        ax.plot(truth, errors, color=WINDOW, linewidth=1, label="five streams" if i == 0 else None)
    ax.axhline(0, color=REFERENCE, linewidth=0.8)
    ax.set(xscale="log", xlabel="different categories", ylabel="error, %", ylim=(-22, 22))
    ax.set_title("256 bytes, from one category to a million")
    ax.legend(loc="upper left", ncols=2)
    return figure


def heavy_hitters_picture() -> Figure:
    """Shares in the sample with their intervals, beside the true shares."""
    rng = np.random.default_rng(4)
    names = [f"device {i}" for i in range(200)]
    shares = 1 / np.arange(1, 201) ** 1.1
    shares /= shares.sum()
    seen = rng.choice(200, 100_000, p=shares)
    sketch = HeavyHitters()
    sketch.update([names[i] for i in seen], rows=np.arange(100_000))
    top = sketch.top(10, names={category_hash(name): name for name in names})
    figure, (ax,) = panels(height_in=2.7)
    at = np.arange(len(top))
    share = np.array([h.share for h in top])
    low, high = np.array([h.low for h in top]), np.array([h.high for h in top])
    ax.errorbar(
        at,
        100 * share,
        100 * np.array([share - low, high - share]),
        fmt="o",
        color=WINDOW,
        capsize=3,
        label="in 256 sampled rows",
    )
    true = [100 * float(np.mean(seen == names.index(h.name or ""))) for h in top]
    ax.plot(at, true, "x", color=MARK, label="in all 100,000 rows")
    ax.set(ylabel="share, %", ylim=(0, None))
    ax.set_xticks(at, [h.name or "" for h in top], rotation=20)
    ax.set_title("the ten most frequent of 200 categories, with 95 % intervals")
    ax.legend(loc="upper right")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "histogram": histogram_picture,
    "log_histogram": log_histogram_picture,
    "distinct": distinct_picture,
    "heavy_hitters": heavy_hitters_picture,
}
