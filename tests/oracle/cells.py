"""The test of a cell written from its description, with plain loops, fractions and numerical integration.

Nothing here is shared with `detectors.drift`: groups of bins are taken from the caller, tails are integrated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.integrate
import scipy.stats

if TYPE_CHECKING:
    from collections.abc import Sequence


def pooled(reference: Sequence[int], n: int) -> list[tuple[int, int]]:
    """Return (first, last + 1) of neighbours pooled until a window of n rows expects 10 in each."""
    groups: list[tuple[int, int]] = []
    first = 0
    for i in range(len(reference)):
        if sum(reference[first : i + 1]) * n >= 10 * sum(reference) * (1 - 1e-12):
            groups.append((first, i + 1))
            first = i + 1
    if groups:
        groups[-1] = (groups[-1][0], len(reference))
    return groups or [(0, len(reference))]


def sums(counts: Sequence[int], groups: list[tuple[int, int]]) -> list[int]:
    return [sum(counts[a:b]) for a, b in groups]


def anderson(base: Sequence[int], rest: Sequence[int], current: Sequence[int]) -> float:
    """Return A: weights from `base`, the gap between `current` and `rest`; equal where the window is no part of it."""
    n, m, whole = sum(current), sum(rest), sum(base)
    total = 0.0
    for j in range(len(base) - 1):
        f, g, all_f = sum(rest[: j + 1]) / m, sum(current[: j + 1]) / n, sum(base[: j + 1]) / whole
        weight = (base[j] + base[j + 1]) / 2 / whole / (all_f * (1 - all_f))
        total += weight * (g - f) ** 2
    return total * n * m / (n + m)


def weights(base: Sequence[int]) -> list[float]:
    """Return the eigenvalues of the covariance of the weighted bridge at the inner boundaries."""
    whole = sum(base)
    at = [sum(base[: j + 1]) / whole for j in range(len(base) - 1)]
    g = [(base[j] + base[j + 1]) / 2 / whole / (f * (1 - f)) for j, f in enumerate(at)]
    matrix = [
        [math.sqrt(g[i] * g[j]) * (min(at[i], at[j]) - at[i] * at[j]) for j in range(len(at))] for i in range(len(at))
    ]
    return [float(w) for w in np.linalg.eigvalsh(np.array(matrix))]


def weighted_tail(w: Sequence[float], x: float) -> float:
    """Return P(sum w_i X_i >= x) by Imhof's integral (1961, Biometrika 48), good to about 1e-7."""

    def integrand(u: float) -> float:
        angle = sum(math.atan(v * u) for v in w) / 2 - x * u / 2
        return float(math.sin(angle) / (u * math.prod((1 + (v * u) ** 2) ** 0.25 for v in w)))

    # The integrand falls as u^(-1 - k/2) and oscillates with period 4 pi / x: piece by piece.
    period = 4 * math.pi / x
    total, start = 0.0, 1e-12
    for _ in range(4000):
        part = scipy.integrate.quad(integrand, start, start + period, epsabs=1e-11)[0]
        total += part
        start += period
        if abs(part) < 1e-10:
            break
    return 0.5 + total / math.pi


def pearson(rest: Sequence[int], current: Sequence[int]) -> float:
    """Return Pearson's statistic of a two-row table; 0 for columns without counts."""
    table = np.array([(a, b) for a, b in zip(rest, current, strict=True) if a + b]).T
    return float(scipy.stats.chi2_contingency(table, correction=False).statistic) if table.shape[1] > 1 else 0.0


@dataclass(frozen=True)
class Expected:
    """What each test must find; None where it does not apply."""

    n: int
    anderson: float | None = None
    anderson_mean: float | None = None
    anderson_variance: float | None = None
    chi2: float | None = None
    freedom: int | None = None
    share: float | None = None
    share_p: float | None = None


def expected(
    kind: str,
    base: tuple[list[int], list[int]],
    window: tuple[list[int], list[int]],
    mode: tuple[int, int],
    *,
    own: bool = False,
) -> Expected:
    """Return the tests of one window; `base` and `window` are (fine, coarse) counts, `mode` counts in the commonest bin."""
    (base_fine, base_coarse), (fine, coarse) = base, window
    n, total = sum(coarse), sum(base_coarse)
    if n < 50:
        return Expected(n)
    rest_fine = [a - b for a, b in zip(base_fine, fine, strict=True)] if own else base_fine
    rest_coarse = [a - b for a, b in zip(base_coarse, coarse, strict=True)] if own else base_coarse
    found: dict[str, float] = {}
    if kind == "ordered":
        groups = pooled(base_fine, n)
        if len(groups) > 1:
            grouped = sums(base_fine, groups)
            w = weights(grouped)
            found["anderson"] = anderson(grouped, sums(rest_fine, groups), sums(fine, groups))
            found["anderson_mean"], found["anderson_variance"] = sum(w), 2 * sum(v * v for v in w)
    apart = kind == "categories" and base_coarse[-1] * n < 10 * total
    if kind != "constant":
        end = len(coarse) - 1 if apart else len(coarse)
        groups = pooled(base_coarse[:end], sum(coarse[:end])) if sum(coarse[:end]) else [(0, end)]
        if len(groups) > 1:
            found["chi2"] = pearson(sums(rest_coarse[:end], groups), sums(coarse[:end], groups))
            found["freedom"] = len(groups) - 1
            if apart:
                found |= _share(coarse[-1], n, rest_coarse[-1], sum(rest_coarse))
    if not found:
        found |= _share(n - mode[1], n, (total - mode[0]) - (n - mode[1] if own else 0), sum(rest_coarse))
    return Expected(n, **found)  # type: ignore[arg-type]  # freedom is the one whole number among them


def _share(hits: int, n: int, others_hits: int, others_n: int) -> dict[str, float]:
    p = float(scipy.stats.binom.sf(hits - 1, hits + others_hits, n / (n + others_n))) if hits else 1.0
    return {"share": hits / n, "share_p": p}
