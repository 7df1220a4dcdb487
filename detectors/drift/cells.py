"""The test of a cell (`detectors.drift.cell`) for many cells at once.

Many cells are all features of all segments of a window, or all windows of one feature.

Idea: what does not change between windows (groups, baselines, null laws) is prepared once; a window's slot vectors then
go through one compiled loop. A cell's numbers do not depend on which other cells are computed with it, to the last bit.

Statistics and their combination are apart. `Cells.statistics` returns the Anderson-Darling and chi-squared statistics
with their moments and p-values on independent data, and the p-value of the exact test; `combine` makes a cell's p-value
of them: p = min(1, min over its tests of factor * p). Whoever knows better what the statistics do on ordinary windows
puts other p-values in between (`detectors.decisions`).

Guarantee: that of `detectors.drift.cell`, the same for every cell.
Cost: 2 microseconds a cell, 200 features x 10 segments in 3.3 ms, 14 ms with an object for every result; 30 ms for the first
window (groups, eigenvalues). A window of up to 200 values that leaves two groups is simulated for a size and share not seen
before, 0.24 ms a cell on average over six kinds of features: `monte_carlo=0` leaves that out (`python -m loadtest detectors
--only drift`).
Merge: no state; slot vectors are integers and add up.

>>> import numpy as np
>>> from detectors.reference import Reference
>>> rng = np.random.default_rng(1)
>>> reference = Reference.build({"age": rng.normal(40, 9, 20_000), "town": rng.choice(list("abc"), 20_000)})
>>> cells = Cells(reference.features)
>>> ages = [rng.normal(mean, 9, 1000) for mean in (40, 41.5)]
>>> towns = rng.choice(list("abc"), (2, 1000))
>>> window = [[age.slots_of(ages[i]), town.slots_of(towns[i])] for i in (0, 1) for age, town in [reference.features]]
>>> found = cells.test(np.array([np.concatenate(vectors) for vectors in window]))
>>> (found.p_value < 0.001).tolist()
[False, False, True, False]
>>> found[2].method
'anderson_darling'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from detectors.drift.anderson import null_law
from detectors.drift.exact import share_p_values
from detectors.drift.kernels import ANDERSON, CHI2, SHARE, Measured, judge, measure, tail
from detectors.drift.monte_carlo import DRAWS, p_value
from detectors.drift.packing import pack_baselines, pack_subjects
from detectors.drift.pooling import LEAST_EXPECTED
from detectors.drift.views import view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.drift.kernels import Baselines, Layout
    from detectors.reference.subject import Subject

__all__ = ["ANDERSON", "CHI2", "SHARE", "CellResult", "CellResults", "CellStatistics", "Cells", "combine"]

LEAST_N = 50
"""A window with fewer values is not tested."""
SIMULATED_N = 200
"""Up to this many values the p-values of two groups are simulated: the asymptotic ones reject up to 1.3 times too often there
(a zero-inflated feature, n = 200), simulated ones 0.7 times; with three groups or more that expect 10 each the asymptotic
laws are the better ones (0.93 to 1.05 of 0.01 against 0.73 to 1.40) and cost nothing (`loadtest.quality.levels`)."""
REFERENCE_RATIO = 10
"""How many times larger than the window the reference must be."""
_NAMED = 3
"""How many bins a result names."""
_TESTS = ("anderson_darling", "chi2")


@dataclass(frozen=True, slots=True)
class CellResult:
    """What the test of one cell found.

    `p_value` is None when there is too little data (`insufficient`). `statistic` is that of the test with the smallest
    p-value, which `method` names. `effect_size` is the corrected PSI over 10 groups and can be slightly below zero,
    `psi` the same clipped at zero. `n` counts the window's values. `decides_alone`: the reference is smaller than 10 n,
    so windows must not confirm each other. `top` names up to three groups that moved most: (label, share in the
    reference, share in the window).
    """

    p_value: float | None
    statistic: float
    effect_size: float
    psi: float
    n: int
    insufficient: bool
    method: str
    top: tuple[tuple[str, float, float], ...]
    decides_alone: bool


@dataclass(frozen=True, slots=True, eq=False)
class CellStatistics:
    """The tests behind R cells; float64[3, R] arrays have a row per test (ANDERSON, CHI2, SHARE), NaN where none applies.

    `n` and `reference_n` are int64[R]: rows in the window and in what it is compared with. `effect_size` is float64[R].
    `statistic` with its `mean` and `variance` on independent rows (sum of weights and 2 * sum of their squares for
    Anderson-Darling, degrees of freedom and twice them for chi-squared, NaN for the share), its `p_value` there, and the
    `factor` it enters the cell's p-value with. `simulated` is bool[2, R]: the p-value of
    that test (ANDERSON, CHI2) comes from simulation. `baseline` is int64[R], the row of the baseline's groups, `coarse`
    float64[R, groups], the window's counts in the groups of PSI, `top` int64[R, 3], those that moved most, -1 after the
    last.
    """

    n: NDArray[np.int64]
    reference_n: NDArray[np.int64]
    effect_size: NDArray[np.float64]
    statistic: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    p_value: NDArray[np.float64]
    factor: NDArray[np.float64]
    simulated: NDArray[np.bool_]
    baseline: NDArray[np.int64]
    coarse: NDArray[np.float64]
    top: NDArray[np.int64]


def combine(
    found: CellStatistics,
    p_anderson: NDArray[np.float64] | None = None,
    p_chi2: NDArray[np.float64] | None = None,
    p_share: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (p-values float64[R], deciding tests int64[R]) of cells: min(1, min over tests of factor * p).

    Each p-value given (float64[R]) replaces that of independent data. Cells without a test have NaN and -1. Of equal
    p-values the smaller statistic decides, so that the choice depends on nothing else.
    """
    replaced = [found.p_value[test] if p is None else p for test, p in enumerate((p_anderson, p_chi2, p_share))]
    weighted = np.array(replaced) * found.factor
    weighted[np.isnan(weighted)] = np.inf
    smallest = weighted.min(axis=0)
    tied = np.where(weighted == smallest, found.statistic, np.inf)
    tied[np.isnan(tied)] = np.inf
    none = np.isinf(smallest)
    return np.where(none, np.nan, np.minimum(1.0, smallest)), np.where(none, -1, tied.argmin(axis=0))


class Cells:
    """Subjects with what their windows are compared with, prepared once.

    `baselines[s]` is what subject s is compared with: a slot vector, int64[width], or several to choose from for each
    window, int64[slots, width] (an hour of the day each, say). By default the subject's own counts. Groups of bins come
    from the subject, whatever the baseline.

    Not thread-safe: null laws are filled in on first use.

    Raises:
        ValueError: no subject, or a baseline that does not fit its subject.
    """

    def __init__(self, subjects: Sequence[Subject], baselines: Sequence[NDArray[np.int64]] | None = None) -> None:
        """Pack the subjects and their baselines."""
        self.subjects = tuple(subjects)
        if not self.subjects:
            message = "at least one subject is needed"
            raise ValueError(message)
        given = [s.counts for s in self.subjects] if baselines is None else list(baselines)
        if len(given) != len(self.subjects):
            message = f"{len(self.subjects)} baselines are needed, one per subject, got {len(given)}"
            raise ValueError(message)
        vectors = [_counted(np.atleast_2d(v), s) for s, v in zip(self.subjects, given, strict=True)]
        self._layout: Layout = pack_subjects(self.subjects)
        self._baselines: Baselines = pack_baselines(self._layout, vectors)
        self._labels = [view(s).labels for s in self.subjects]
        self._total = self._baselines.coarse.sum(axis=1)
        slots = np.array([len(v) for v in vectors])
        self._slots, self._first = slots, np.cumsum(slots) - slots
        # The laws of baselines whose groups are not pooled: weights, and how many (0: not yet computed).
        self._weights = np.zeros((len(self._baselines.fine), max(1, self._baselines.fine.shape[1] - 1)))
        self._count = np.zeros(len(self._weights), np.int64)

    @property
    def width(self) -> int:
        """Length of all subjects' slot vectors together."""
        return int(self._layout.width.sum())

    def statistics(
        self,
        vectors: NDArray[np.int64] | Sequence[NDArray[np.int64]],
        slots: NDArray[np.int64] | None = None,
        *,
        own: bool = False,
        monte_carlo: int = DRAWS,
    ) -> CellStatistics:
        """Return the tests of W windows of all S subjects: R = W * S cells, subjects varying fastest.

        `vectors` is int64[W, width], the slot vectors of a window one after the other; or a sequence of S arrays,
        int64[W, width of the subject] (or without the first axis). `slots` is int64[W] or int64[W, S]: which of its
        baselines a cell is compared with, the first by default. `own`: every window is part of its baseline, and is
        compared with the rest of it. `monte_carlo` is the number of simulated windows behind a p-value of two groups
        for up to 200 values; 0 uses the asymptotic laws.

        Raises:
            ValueError: a vector of another width, counts that are no integers or negative, a slot that is none.
        """
        counts = self._joined(vectors)
        base = self._chosen(len(counts), slots)
        at = (np.arange(len(counts))[:, None] * self.width + self._layout.table).reshape(-1)
        out = _empty(len(at), self._baselines)
        measure(counts.reshape(-1), at, base, self._layout, self._baselines, LEAST_N, LEAST_EXPECTED, own, out)
        mean, variance, p = (np.full(out.statistic.shape, np.nan) for _ in range(3))
        self._anderson(out, base, mean, variance, p)
        tested = out.freedom[CHI2] > 0
        freedom = out.freedom[CHI2, tested].astype(np.float64)
        mean[CHI2, tested], variance[CHI2, tested] = freedom, 2 * freedom
        p[CHI2, tested] = chdtrc(freedom, out.statistic[CHI2, tested])
        small = (out.n <= SIMULATED_N) & (out.freedom == 1) & (monte_carlo > 0)
        _simulate(out, p, small, monte_carlo)
        _exact(out, p)
        none = out.reference_n <= 0
        rows, against = np.maximum(out.n, 1), np.maximum(out.reference_n, 1)
        bias = (self._layout.coarses[self._baselines.subject[base]] - 1) * (1 / rows + 1 / against)
        effect = np.where((out.n > 0) & ~none, out.psi - bias, 0.0)
        return CellStatistics(
            out.n,
            out.reference_n,
            effect,
            out.statistic,
            mean,
            variance,
            p,
            out.factor,
            small,
            base,
            out.coarse,
            out.top,
        )

    def test(
        self,
        vectors: NDArray[np.int64] | Sequence[NDArray[np.int64]],
        slots: NDArray[np.int64] | None = None,
        *,
        monte_carlo: int = DRAWS,
    ) -> CellResults:
        """Return the results of W windows of all subjects against their baselines; arguments as in `statistics`."""
        return self.results(self.statistics(vectors, slots, monte_carlo=monte_carlo))

    def results(
        self,
        found: CellStatistics,
        p_anderson: NDArray[np.float64] | None = None,
        p_chi2: NDArray[np.float64] | None = None,
        p_share: NDArray[np.float64] | None = None,
    ) -> CellResults:
        """Return what the tests say, with p-values of independent data replaced as in `combine`."""
        p, test = combine(found, p_anderson, p_chi2, p_share)
        value = found.statistic[np.maximum(test, 0), np.arange(len(test))]
        alone = (found.reference_n < REFERENCE_RATIO * found.n) & (found.n > 0)
        return CellResults(p, np.where(test < 0, 0.0, value), test, np.isnan(p), alone, found, self)

    def top(self, found: CellStatistics, cell: int) -> tuple[tuple[str, float, float], ...]:
        """Return the groups of one cell that moved most: (label, share in the baseline, share in the window)."""
        n, b = int(found.n[cell]), int(found.baseline[cell])
        labels, total = self._labels[self._baselines.subject[b]], float(self._total[b])
        reference, current = self._baselines.coarse[b], found.coarse[cell]
        named = found.top[cell].tolist()
        return tuple((labels[i], float(reference[i]) / total, float(current[i]) / n) for i in named if i >= 0)

    def _joined(self, vectors: NDArray[np.int64] | Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return all counts as int64[W, width]."""
        if isinstance(vectors, np.ndarray):
            checked = _checked(np.atleast_2d(vectors), self.width, "all subjects")
            # numba compiles again for arrays that are read-only or not contiguous.
            return np.require(checked, requirements=["C", "W"])
        if len(vectors) != len(self.subjects):
            message = f"{len(self.subjects)} slot vectors are needed, one per subject, got {len(vectors)}"
            raise ValueError(message)
        rows = [np.atleast_2d(v) for v in vectors]
        if len({len(v) for v in rows}) > 1:
            message = f"subjects have different numbers of windows: {sorted({len(v) for v in rows})}"
            raise ValueError(message)
        for subject, v in zip(self.subjects, rows, strict=True):
            if v.shape[1] != subject.width:
                message = f"{subject.name!r} has {subject.width} slots, got {v.shape[1]} counts"
                raise ValueError(message)
        return _checked(np.concatenate(rows, axis=1), self.width, "all subjects")

    def _chosen(self, windows: int, slots: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return each cell's row among the baselines."""
        shape = (windows, len(self.subjects))
        if slots is None:
            return np.tile(self._first, windows)
        given = np.asarray(slots)
        chosen = np.broadcast_to(given[:, None] if given.ndim == 1 else given, shape)
        if chosen.size and ((chosen < 0) | (chosen >= self._slots)).any():
            message = f"slots must be at least 0 and below {self._slots.min()}, got {chosen.min()} to {chosen.max()}"
            raise ValueError(message)
        return np.ascontiguousarray(chosen + self._first, np.int64).reshape(-1)

    def _anderson(
        self,
        out: Measured,
        base: NDArray[np.int64],
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        p: NDArray[np.float64],
    ) -> None:
        """Fill in the moments and p-values of Anderson-Darling."""
        freedom = out.freedom[ANDERSON]
        law = np.full(len(base), -1, np.int64)
        whole = (freedom > 0) & (freedom == self._layout.fines[self._baselines.subject[base]] - 1)
        for b in np.unique(base[whole & (self._count[base] == 0)]).tolist():
            fines = int(self._layout.fines[self._baselines.subject[b]])
            eigenvalues = null_law(tuple(self._baselines.fine[b, :fines].tolist()))[2]
            self._count[b] = len(eigenvalues)
            self._weights[b, : len(eigenvalues)] = eigenvalues
        law[whole] = base[whole]
        weights, count = self._weights, self._count
        pooled = np.flatnonzero((freedom > 0) & ~whole)
        if len(pooled):
            known: dict[tuple[float, ...], int] = {}
            for r in pooled.tolist():
                key = tuple(out.pooled_fine[r, : freedom[r] + 1].tolist())
                law[r] = len(count) + known.setdefault(key, len(known))
            more = np.zeros((len(known), weights.shape[1]))
            laws = [null_law(key)[2] for key in known]
            for i, eigenvalues in enumerate(laws):
                more[i, : len(eigenvalues)] = eigenvalues
            weights = np.concatenate((weights, more))
            count = np.concatenate((count, [len(values) for values in laws]))
        judge(weights, count, law, out.statistic[ANDERSON], p[ANDERSON], mean[ANDERSON], variance[ANDERSON])


@dataclass(frozen=True, slots=True, eq=False)
class CellResults:
    """Results of R cells as arrays; `results[i]` is that of one cell with its named groups.

    `p_value` is float64[R], NaN where there is too little data (`insufficient`, bool[R]); `statistic` float64[R];
    `deciding` int64[R], the test with the smallest p-value or -1; `decides_alone` bool[R]; `statistics` what they come
    from, with `effect_size` and `n`.
    """

    p_value: NDArray[np.float64]
    statistic: NDArray[np.float64]
    deciding: NDArray[np.int64]
    insufficient: NDArray[np.bool_]
    decides_alone: NDArray[np.bool_]
    statistics: CellStatistics
    cells: Cells

    @property
    def n(self) -> NDArray[np.int64]:
        """Values in each window, int64[R]."""
        return self.statistics.n

    @property
    def effect_size(self) -> NDArray[np.float64]:
        """Corrected PSI over 10 groups, float64[R]."""
        return self.statistics.effect_size

    @property
    def psi(self) -> NDArray[np.float64]:
        """The effect size, clipped at zero."""
        return np.maximum(0.0, self.statistics.effect_size)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.p_value)

    def method(self, i: int) -> str:
        """Return the name of the test that decided about a cell."""
        test = int(self.deciding[i])
        if test < 0:
            return "none"
        if test == SHARE:
            alone = self.statistics.factor[SHARE, i] == 1
            return "exact share of other " + ("values" if alone else "categories")
        return _TESTS[test] + (", simulated" if self.statistics.simulated[test, i] else "")

    def __getitem__(self, i: int) -> CellResult:
        """Return the result of one cell."""
        few = bool(self.insufficient[i])
        return CellResult(
            p_value=None if few else float(self.p_value[i]),
            statistic=float(self.statistic[i]),
            effect_size=float(self.statistics.effect_size[i]),
            psi=max(0.0, float(self.statistics.effect_size[i])),
            n=int(self.statistics.n[i]),
            insufficient=few,
            method=self.method(i),
            top=self.cells.top(self.statistics, i),
            decides_alone=bool(self.decides_alone[i]),
        )


def _counted(rows: NDArray[np.int64], subject: Subject) -> NDArray[np.int64]:
    return _checked(rows, subject.width, repr(subject.name))


def _checked(rows: NDArray[np.int64], width: int, whose: str) -> NDArray[np.int64]:
    """Return slot vectors as int64[W, width] after a look at them."""
    if rows.ndim != 2 or rows.shape[1] != width or not np.issubdtype(rows.dtype, np.integer):  # noqa: PLR2004  # axes
        message = f"{whose} need {width} integer counts a window (slots), got {rows.dtype} of shape {rows.shape}"
        raise ValueError(message)
    if rows.size and rows.min() < 0:
        message = f"counts of {whose} must not be negative, got {rows.min()}"
        raise ValueError(message)
    return rows.astype(np.int64, copy=False)


def _empty(cells: int, baselines: Baselines) -> Measured:
    """Return room for the measurements of some cells."""
    fines, coarses = baselines.fine.shape[1], baselines.coarse.shape[1]
    return Measured(
        n=np.zeros(cells, np.int64),
        reference_n=np.zeros(cells, np.int64),
        psi=np.zeros(cells),
        statistic=np.full((3, cells), np.nan),
        factor=np.full((3, cells), np.nan),
        freedom=np.zeros((2, cells), np.int64),
        pooled_fine=np.zeros((cells, fines)),
        pooled_coarse=np.zeros((cells, coarses)),
        hits=np.zeros(cells),
        known=np.zeros(cells),
        coarse=np.zeros((cells, coarses)),
        top=np.full((cells, _NAMED), -1, np.int64),
    )


def _simulate(out: Measured, p: NDArray[np.float64], small: NDArray[np.bool_], draws: int) -> None:
    """Replace the p-values of small windows with two groups by simulated ones."""
    for test, pooled in ((ANDERSON, out.pooled_fine), (CHI2, out.pooled_coarse)):
        for r in np.flatnonzero(small[test]).tolist():
            freedom = int(out.freedom[test, r])
            reference = tuple(pooled[r, : freedom + 1].tolist())
            # Categories that are tested without the rest have fewer rows than the window.
            n = int(out.n[r]) - (
                int(out.hits[r]) if test == CHI2 and out.factor[CHI2, r] > 1 and out.factor[SHARE, r] > 1 else 0
            )

            def asymptotic(
                x: float, test: int = test, freedom: int = freedom, key: tuple[float, ...] = reference
            ) -> float:
                return float(chdtrc(freedom, x)) if test == CHI2 else float(tail(null_law(key)[2], x))

            p[test, r] = p_value(_TESTS[test], reference, float(out.statistic[test, r]), n, asymptotic, draws)


def _exact(out: Measured, p: NDArray[np.float64]) -> None:
    """Fill in the p-values of shares (`detectors.drift.exact`)."""
    tested = np.flatnonzero(~np.isnan(out.factor[SHARE]))
    hits, known = out.hits[tested], out.known[tested]
    p[SHARE, tested] = share_p_values(known - hits, out.reference_n[tested], hits, out.n[tested])
