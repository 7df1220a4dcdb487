"""Pictures of what stands in for performance until the labels are in, and of the segments that are worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import count_classes, merge
from detectors.performance.calibration_drift import calibration_drift
from detectors.performance.proxies import ScoreProxies
from detectors.performance.worst import worst_segments
from detectors.reference import Reference
from docs.scripts.pictures.frame import FAINT, MARK, REFERENCE, WINDOW, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

HARDER, TURNED, WINDOWS = 12, 24, 36
"""Windows from which the model meets harder cases, and from which scores come true less often; and how many there are."""


def proxies_picture() -> Figure:
    """Harder cases, which scores show before any label; then a change of what scores mean, which only labels show."""
    rng = np.random.default_rng(1)
    known = rng.beta(0.5, 0.5, 20_000)
    truth = rng.random(20_000) < known
    reference = Reference.build(
        {"x": known, "score": known, "prediction": known > 0.5, "label": truth}, task="binary", positive_class=True
    )
    made, labelled = ScoreProxies.of(reference), reference.outcomes
    figure, (left, right) = panels(2)
    if made is None or reference.score is None or labelled is None:  # for the type checker
        return figure
    estimate, errors, realised, p_values = [], [], [], []
    for i in range(WINDOWS):
        score = rng.beta(1.0, 1.0, 1000) if HARDER <= i < TURNED else rng.beta(0.5, 0.5, 1000)
        actual = rng.random(1000) < (0.5 + (score - 0.5) * 0.7 if i >= TURNED else score)
        found = made.estimated_error_rate(reference.score.slots_of(score))
        estimate.append(found.value if found else 0.0)
        errors.append(1.96 * found.standard_error if found else 0.0)
        realised.append((actual != (score > 0.5)).mean())
        # One label in five is in by then.
        first = count_classes(
            actual[:200].astype(np.int64), (score[:200] > 0.5).astype(np.int64), "binary", 2, score[:200]
        )
        drift = calibration_drift(labelled, first)
        p_values.append(drift.p_value if drift else 1.0)
    at = np.arange(WINDOWS)
    left.errorbar(
        at, estimate, errors, color=WINDOW, fmt="o", markersize=3, capsize=1.5, linewidth=1, label="estimated"
    )
    left.plot(at, realised, color=MARK, linewidth=1, label="known later")
    left.set(xlabel="window", ylabel="error rate", ylim=(0.1, 0.36))
    left.set_title("error rate, from scores alone")
    left.legend(loc="upper left")
    right.plot(at, p_values, "o", color=WINDOW, markersize=3)
    right.axhline(0.001, color=REFERENCE, linewidth=1)
    right.set(xlabel="window", ylabel="p", yscale="log", ylim=(1e-9, 2))
    right.set_title("do the first 200 labels fit the scores?")
    for ax in (left, right):
        ax.axvline(HARDER - 0.5, color=FAINT, zorder=0)
        ax.axvline(TURNED - 0.5, color=FAINT, zorder=0)
    return figure


def worst_segments_picture() -> Figure:
    """Segments by size: how much worse each is than the rest, and what is surely so."""
    rng = np.random.default_rng(4)
    sizes = np.exp(rng.uniform(np.log(110), np.log(20_000), 40)).astype(int)
    vectors = {}
    for i, n in enumerate(sizes):
        wrong = int(rng.binomial(n, 0.18 if i in {3, 11, 30} else 0.1))
        vectors[i] = count_classes((np.arange(n) < wrong).astype(np.int64), np.zeros(n, np.int64), "binary", 2)
    total = merge(*vectors.values())
    found = {w.segment: w for w in worst_segments(vectors, total, "binary", ("", "yes"), "accuracy")}
    figure, (ax,) = panels(1, height_in=2.4)
    for i, n in enumerate(sizes):
        rest = total - vectors[i]
        worse = vectors[i][1] / n - rest[1] / rest[0]
        ax.plot([n], [worse], "o", markersize=4, color=MARK if i in found else WINDOW)
        if i in found:
            ax.plot([n, n], [found[i].lower, worse], color=MARK, linewidth=1.2)
    ax.axhline(0, color=REFERENCE, linewidth=0.8)
    ax.set(xscale="log", xlabel="labels in the segment", ylabel="worse by (error rate)")
    ax.set_title("40 segments; named ones red, the line down to what is sure")
    return figure


PICTURES: Final[dict[str, Callable[[], Figure]]] = {
    "proxies": proxies_picture,
    "worst_segments": worst_segments_picture,
}
