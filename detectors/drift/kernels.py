"""The arithmetic of the drift tests, compiled: grouping, pooling, three statistics, one tail.

Everything here works on one cell at a time and adds in ascending order of the bins, so a number does not depend on
which other cells were computed with it, to the last bit; numpy's and BLAS's sums do. Formulas and sources stand in the
modules that the functions are named after (`anderson`, `pearson`, `divergence`, `pooling`, `weighted_chi2`), which call
these functions too. They stand in one file because numba's cache on disk does not see changes in other files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONSTANT, ORDERED, CATEGORIES = 0, 1, 2
"""How a subject's drift is tested (`views.View.kind`)."""
ANDERSON, CHI2, SHARE = 0, 1, 2
"""The tests of a cell: rows of `CellStatistics`."""
HALF = 0.5
"""Added to every count for PSI: a floor on shares instead (1e-4 is common) makes sparse bins worth far too much."""
REST_SHARE = 0.1
"""Part of a cell's level that the exact test of rare categories gets: new categories come in floods."""
_STEPS = 60
"""Newton steps at most; some 8 suffice from the start below."""
_NEAR_MEAN = 1e-4
"""Below this |w| the saddlepoint formula divides zero by zero; its limit at the mean is used instead."""
_SERIES = 0.01
"""Below this |u| eight terms of the series are exact to 1e-14, and the closed form no longer is."""
_STEP_ROUNDING, _EXCESS_ROUNDING = 1e-12, 1e-10
"""A Newton step, and a distance to the root, that are rounding relative to their scale."""


@compiled
def pool(reference: NDArray[np.float64], groups: int, needed: float, starts: NDArray[np.int64]) -> int:
    """Write the first index of each pooled group of the first `groups` bins to `starts`; return how many there are.

    A group is closed as soon as it holds `needed` of the reference; what is left over joins the last one.
    """
    made, begin, mass = 0, 0, 0.0
    for i in range(groups):
        mass += reference[i]
        if mass >= needed:
            starts[made] = begin
            made += 1
            begin = i + 1
            mass = 0.0
    if made == 0:
        starts[0] = 0
        return 1
    return made


@compiled
def add_groups(
    counts: NDArray[np.float64], groups: int, starts: NDArray[np.int64], made: int, out: NDArray[np.float64]
) -> None:
    """Write the sums of `counts[:groups]` over groups that begin at `starts[:made]` to `out[:made]`."""
    for g in range(made):
        last = starts[g + 1] if g + 1 < made else groups
        total = 0.0
        for i in range(starts[g], last):
            total += counts[i]
        out[g] = total


@compiled
def anderson_terms(reference: NDArray[np.float64], current: NDArray[np.float64], terms: NDArray[np.float64]) -> float:
    """Write g_j (G_j - F_j)^2 of each inner boundary to `terms`; return their sum: A / n_e. No reference bin is 0."""
    total, n = 0.0, 0.0
    for i in range(len(reference)):
        total += reference[i]
        n += current[i]
    below, seen, added = 0.0, 0.0, 0.0
    for j in range(len(reference) - 1):
        below += reference[j]
        seen += current[j]
        inner = below / total
        gap = seen / n - inner
        weight = (reference[j] + reference[j + 1]) / 2 / total / (inner * (1 - inner))
        terms[j] = gap * gap * weight
        added += terms[j]
    return added


@compiled
def chi2_terms(reference: NDArray[np.float64], current: NDArray[np.float64], terms: NDArray[np.float64]) -> float:
    """Write each bin's part of Pearson's two-sample statistic to `terms`, 0 for an empty one; return their sum."""
    total, n = 0.0, 0.0
    for i in range(len(reference)):
        total += reference[i]
        n += current[i]
    ratio = math.sqrt(total / n)
    added = 0.0
    for i in range(len(reference)):
        both = reference[i] + current[i]
        gap = ratio * current[i] - reference[i] / ratio
        terms[i] = gap * gap / both if both > 0 else 0.0
        added += terms[i]
    return added


@compiled
def psi_terms(reference: NDArray[np.float64], current: NDArray[np.float64], terms: NDArray[np.float64]) -> float:
    """Write each bin's part of the PSI, half a count added per bin, to `terms`; return their sum."""
    bins = len(reference)
    total, n = HALF * bins, HALF * bins
    for i in range(bins):
        total += reference[i]
        n += current[i]
    added = 0.0
    for i in range(bins):
        p = (reference[i] + HALF) / total
        q = (current[i] + HALF) / n
        terms[i] = (q - p) * math.log(q / p)
        added += terms[i]
    return added


@compiled
def _excess_of(u: float) -> float:
    """Return u / (1 - u) + ln(1 - u), one weight's part of 2 (t K'(t) - K(t)); by its series where both nearly cancel."""
    if abs(u) > _SERIES:
        return u / (1 - u) + math.log1p(-u)
    added, power = 0.0, u
    for k in range(2, 9):
        power *= u
        added += power * (k - 1) / k
    return added


@compiled
def tail(weights: NDArray[np.float64], x: float) -> float:
    """Return P(sum of w_i X_i >= x), X_i chi-squared with one degree of freedom; `weights` is float64[k], positive."""
    mean, largest, squares, cubes = 0.0, 0.0, 0.0, 0.0
    for w in weights:
        mean += w
        squares += w * w
        cubes += w * w * w
        largest = max(largest, w)
    if x < mean * _NEAR_MEAN:
        return 1.0
    # K' rises and is convex, so Newton's steps from a point where K' >= x go down to the root and never past it.
    # Above the mean the largest weight alone gives such a point; below it, zero is one.
    t = (1 - largest / x) / (2 * largest) if x > mean else 0.0
    for _ in range(_STEPS):
        slope, bend = 0.0, 0.0
        for w in weights:
            ratio = w / (1 - 2 * t * w)
            slope += ratio
            bend += ratio * ratio
        excess = slope - x
        step = excess / (2 * bend)
        t -= step
        if abs(step) * largest < _STEP_ROUNDING or excess <= _EXCESS_ROUNDING * x:
            break
    square, bend = 0.0, 0.0
    for w in weights:
        square += _excess_of(2 * t * w)
        bend += (w / (1 - 2 * t * w)) ** 2
    root = math.copysign(math.sqrt(square), t)
    if abs(root) < _NEAR_MEAN:
        skewness: float = 8 * cubes / (2 * squares) ** 1.5
        return 0.5 - skewness / (6 * math.sqrt(2 * math.pi))
    v = t * math.sqrt(2 * bend)
    density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
    upper = 0.5 * math.erfc(root / math.sqrt(2)) + density * (1 / v - 1 / root)
    return min(1.0, max(0.0, upper))


@compiled
def judge(
    weights: NDArray[np.float64],
    counts: NDArray[np.int64],
    law: NDArray[np.int64],
    x: NDArray[np.float64],
    p: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> None:
    """Write the tail, the mean and the variance of the law of every x with law >= 0, float64[R] each.

    `weights` is float64[laws, k], of which the first `counts` are used.
    """
    for r in range(len(x)):
        if law[r] >= 0:
            own = weights[law[r], : counts[law[r]]]
            p[r] = tail(own, x[r])
            added, squares = 0.0, 0.0
            for w in own:
                added += w
                squares += w * w
            mean[r], variance[r] = added, 2 * squares


class Layout(NamedTuple):
    """How slot vectors fall into groups. A NamedTuple, as are those below: numba reads them, not dataclasses.

    A subject s is of kind `kind[s]`. From `table[s]` on, for `width[s]` slots, `fine_of` and `coarse_of` give the group
    of each slot (-1: takes no part), and `in_mode` whether it belongs to the commonest bin. `fines[s]` and `coarses[s]`
    are the numbers of groups.
    """

    kind: NDArray[np.int64]
    table: NDArray[np.int64]
    width: NDArray[np.int64]
    fines: NDArray[np.int64]
    coarses: NDArray[np.int64]
    fine_of: NDArray[np.int64]
    coarse_of: NDArray[np.int64]
    in_mode: NDArray[np.bool_]


class Baselines(NamedTuple):
    """What windows are compared with: `fine`, `coarse` float64[baselines, groups], `others` outside the commonest bin."""

    subject: NDArray[np.int64]
    fine: NDArray[np.float64]
    coarse: NDArray[np.float64]
    others: NDArray[np.float64]


class Measured(NamedTuple):
    """What `measure` writes about R cells; all zero before, `statistic` and `factor` NaN.

    `n` and `reference_n` (rows compared with) are int64[R], `psi` float64[R]. `statistic` and `factor` are float64[3, R]
    by test, NaN where a test does not apply. `freedom` is int64[2, R], pooled groups - 1; `pooled_fine` and
    `pooled_coarse` are the baseline's counts in those groups, float64[R, groups]. `hits` and `known` (in both samples)
    belong to the exact test. `coarse` are the window's counts in the coarse groups, `top` int64[R, NAMED] the coarse
    groups with the largest parts of the PSI, largest first, -1 after the last.
    """

    n: NDArray[np.int64]
    reference_n: NDArray[np.int64]
    psi: NDArray[np.float64]
    statistic: NDArray[np.float64]
    factor: NDArray[np.float64]
    freedom: NDArray[np.int64]
    pooled_fine: NDArray[np.float64]
    pooled_coarse: NDArray[np.float64]
    hits: NDArray[np.float64]
    known: NDArray[np.float64]
    coarse: NDArray[np.float64]
    top: NDArray[np.int64]


@compiled
def name_largest(terms: NDArray[np.float64], names: NDArray[np.int64]) -> None:
    """Write the indices of the largest positive terms to `names`, largest first, ties by index; -1 after the last."""
    for place in range(len(names)):
        best = -1
        for i in range(len(terms)):
            taken = False
            for earlier in range(place):
                taken = taken or names[earlier] == i
            if not taken and terms[i] > (terms[best] if best >= 0 else 0.0):
                best = i
        names[place] = best


@compiled
def measure(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917  # one loop over cells; parts of it share its buffers
    counts: NDArray[np.int64],
    at: NDArray[np.int64],
    base: NDArray[np.int64],
    layout: Layout,
    against: Baselines,
    least_n: int,
    least_expected: float,
    own: bool,  # noqa: FBT001  # numba's functions take no keyword-only arguments
    out: Measured,
) -> None:
    """Measure R cells: slot vectors that begin at `counts[at[r]]`, against the baselines `base[r]`.

    `own`: a cell's window is part of its baseline, and is compared with the rest of it. Cells of fewer than `least_n`
    values get no test.
    """
    most = max(against.fine.shape[1], against.coarse.shape[1])
    starts = np.zeros(most + 1, np.int64)
    fine, pooled, terms, rest = np.zeros(most), np.zeros(most), np.zeros(most), np.zeros(most)
    for r in range(len(at)):
        b = base[r]
        s = against.subject[b]
        first, fines, coarses = layout.table[s], layout.fines[s], layout.coarses[s]
        here = out.coarse[r]
        fine[:] = 0.0
        values, others = 0, 0
        for j in range(layout.width[s]):
            group = layout.coarse_of[first + j]
            if group >= 0:
                count = counts[at[r] + j]
                values += count
                here[group] += count
                fine[layout.fine_of[first + j]] += count
                if not layout.in_mode[first + j]:
                    others += count
        total = 0.0
        for g in range(coarses):
            total += against.coarse[b, g]
            rest[g] = against.coarse[b, g] - here[g] if own else against.coarse[b, g]
        n = float(values)
        out.n[r] = values
        out.reference_n[r] = int(total - n if own else total)
        if values == 0 or out.reference_n[r] <= 0:
            continue
        out.psi[r] = psi_terms(rest[:coarses], here[:coarses], terms)
        name_largest(terms[:coarses], out.top[r])
        if values < least_n:
            continue
        tested = 0
        if layout.kind[s] == ORDERED:
            made = pool(against.fine[b], fines, least_expected * max(1.0, total / n), starts)
            if made > 1:
                add_groups(fine, fines, starts, made, pooled)
                add_groups(against.fine[b], fines, starts, made, out.pooled_fine[r])
                # A total that holds the window shrinks the gap to the rest by 1 - n/N: undone here.
                effective = n * total / (total - n if own else total + n)
                added = anderson_terms(out.pooled_fine[r, :made], pooled[:made], terms)
                out.statistic[ANDERSON, r] = added * effective
                out.freedom[ANDERSON, r] = made - 1
                tested += 1
        apart = False
        if layout.kind[s] != CONSTANT:
            last, kept, kept_total = coarses, n, total
            # Pooling would hide new categories behind a common one: they are then tested apart.
            apart = layout.kind[s] == CATEGORIES and against.coarse[b, coarses - 1] * n < least_expected * total
            if apart:
                last -= 1
                kept -= here[last]
                kept_total -= against.coarse[b, last]
            if kept > 0 and kept_total > (kept if own else 0.0):
                made = pool(against.coarse[b], last, least_expected * max(1.0, kept_total / kept), starts)
                if made > 1:
                    add_groups(here, last, starts, made, pooled)
                    add_groups(against.coarse[b], last, starts, made, out.pooled_coarse[r])
                    add_groups(rest, last, starts, made, fine)
                    out.statistic[CHI2, r] = chi2_terms(fine[:made], pooled[:made], terms)
                    out.freedom[CHI2, r] = made - 1
                    tested += 1
        if tested == 0:
            out.factor[SHARE, r] = 1.0
            out.hits[r], out.known[r] = others, against.others[b]
        elif apart:
            out.factor[CHI2, r] = 1 / (1 - REST_SHARE)
            out.factor[SHARE, r] = 1 / REST_SHARE
            out.hits[r], out.known[r] = here[coarses - 1], against.coarse[b, coarses - 1]
        else:
            for test in (ANDERSON, CHI2):
                if out.freedom[test, r] > 0:
                    out.factor[test, r] = tested
        if tested == 0 or apart:
            out.statistic[SHARE, r] = out.hits[r] / n
            if not own:
                out.known[r] += out.hits[r]
