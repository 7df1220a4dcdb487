"""The rule that decides about drift in one stream: which cells reject in a window, at which level, and how sure that is.

Compiled once from a reference, the subjects watched and the budget (`detectors.decisions.compilation`), then asked about one
window after another (`Rule.judge`). Everything random stays outside: the same counts give the same answer.

- Each cell's p-value is calibrated with the reference's ordinary variation where it has one (`detectors.decisions.nulls`):
  compared with the reference's rows of the same hour where the subject has a daily or weekly season.
- Its level is the formula's (`detectors.decisions.budget`), or lower where the replay of the reference through the whole
  rule asks for it (`detectors.decisions.replay`).
- With `scales` "auto" a cell without a season, whose reference shows no overdispersion at any scale, is also tested over the
  last 2, 4, ..., 32 windows, and each scale decides alone at its own level; other cells confirm (2 of 3).

Guarantee: the expected number of episodes (from a cell's alarm until it has not rejected for three windows) is within
drift's share of the budget if the future is like the reference, the reference covers 28 days or more and its windows have the
length of the model's: then `Rule.verified` is true. Otherwise `Rule.statement` says what is missing, and the formula's level
holds for independent rows. A level that moves in a way that is not in the reference is a change, and will be reported as one.

When not to use it: on labels that come late (`detectors.performance`), on a stream of single values (`detectors.sequential`).
Cost: some 20 microseconds a cell and scale. Merge: no state; the vectors are integer counts, which add up.

Source: our own measurements (STATISTICS section 2); Bonferroni for the cells, `detectors.decisions.replay` for the tail.
Deviation from the plain budget: an hour of the week is compared with four others, which confirmation survives because the windows
it looks at are compared with different hours.

>>> import numpy as np
>>> from detectors.decisions import Budget, compile_rule
>>> from detectors.reference import Reference
>>> rng = np.random.default_rng(1)
>>> reference = Reference.build({"amount": rng.normal(size=20_000)})
>>> rule = compile_rule(reference, [0], Budget.parse("1 per 30d"), window_ms=3_600_000)
>>> rule.statement
'budget not verified: the reference has no event times'
>>> window = reference.subjects[0].slots_of(rng.normal(0.3, 1.0, 1000))
>>> [(j.subject, j.rejected, j.confirm) for j in rule.judge({1: [window]}, start_ms=0)]
[('amount', True, (2, 3))]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.decisions.nulls import calibrated
from detectors.decisions.replay import confirmed, episodes
from detectors.drift.cells import REFERENCE_RATIO, CellResult, CellResults, Cells, combine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.reference import Subject
    from detectors.reference.ordinary import Habit, Ordinary

STILL = 0.05
"""A longer scale rejects only while its last half and its last quarter have smaller p-values than this: a change that goes on
shows in them as well. Else an alert would outlive a change by up to 31 windows. Measured for shifts of 0.05, 0.1 and 0.25 sd:
the last rejection comes 3.5, 6.4 and 8.5 windows after the change has ended (without this 12, 22 and 28), the first at most
3 % later."""


@dataclass(frozen=True, slots=True)
class RuleCell:
    """One watched subject: its season, the level at each scale in use, and the confirmation of a single window's rejection."""

    subject: str
    season: str
    scales: tuple[int, ...]
    levels: tuple[float, ...]
    confirm: tuple[int, int]

    @property
    def level(self) -> float:
        """The level of a single window."""
        return self.levels[0]


@dataclass(frozen=True, slots=True)
class Judged:
    """One cell of one window.

    `p_value` is calibrated, None with too little data; `level` what it is compared with; `scale` how many windows were added
    up; `confirm` (k, m): how many of the last m decided windows must reject for an alert, (1, m) where this one decides alone.
    `result` is the evidence at that scale: effect size, n, the bins that moved most, against the baseline of the hour.
    """

    subject: str
    p_value: float | None
    level: float
    rejected: bool
    scale: int
    confirm: tuple[int, int]
    result: CellResult


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What a rule did in T windows: `rejects` and `alarms` (confirmed), bool[cells, T]."""

    rejects: NDArray[np.bool_]
    alarms: NDArray[np.bool_]

    @property
    def episodes(self) -> int:
        """How many incidents they make (`detectors.decisions.replay.episodes`)."""
        return episodes(self.rejects, self.alarms)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule.

    `scales` ascend from 1: what `judge` wants to be given. `verified` says whether the replay of the reference supports the
    budget, `statement` says why or why not in one sentence, `expected` is the number of episodes per 30 days that the replay
    expects, None without one. `cells` are in the order of the watched subjects.
    """

    cells: tuple[RuleCell, ...]
    scales: tuple[int, ...]
    verified: bool
    statement: str
    expected: float | None
    window_ms: int
    _subjects: tuple[Subject, ...]
    _baselines: tuple[NDArray[np.int64], ...]
    _habits: tuple[Habit | None, ...]
    _ordinary: Ordinary | None
    _known_n: tuple[int, ...]
    _dispersions: NDArray[np.float64]
    _usual_n: NDArray[np.float64]
    _alone: float
    _cells: Cells | None

    @property
    def longest(self) -> int:
        """The largest number of windows that are added up."""
        return self.scales[-1]

    def judge(self, vectors: Mapping[int, Sequence[NDArray[np.int64]]], start_ms: int) -> list[Judged]:
        """Judge one window: `vectors[s]` are the watched subjects' slot vectors over the last s windows, in order.

        `vectors[1]` is needed; scales that are missing are not tested. `start_ms` is the start of the latest window.

        Raises:
            ValueError: scale 1 is missing, or vectors do not fit the subjects.
        """
        widths = [s.width for s in self._subjects]
        if 1 not in vectors or any([len(v) for v in given] != widths for given in vectors.values()):
            message = f"slot vectors of {len(widths)} subjects at scale 1 are needed, got scales {sorted(vectors)}"
            raise ValueError(message)
        if self._cells is None:
            return []
        used = [s for s in self.scales if s in vectors]
        slots = np.array([self._slots(i, np.array([start_ms]))[0] for i in range(len(widths))])
        counts = np.stack([np.concatenate(vectors[s]) for s in used])
        found = self._cells.statistics(counts, np.broadcast_to(slots, (len(used), len(slots))))
        # Longer scales are only tested where rows are as good as independent: their p-values stay.
        plain = np.ones((6, (len(used) - 1) * len(widths)))
        usual = np.concatenate((self._usual_n, np.full(plain.shape[1], np.inf)))
        p, tests = calibrated(found, np.concatenate((self._dispersions, plain), axis=1), usual)
        results = replace(self._cells.results(found, *tests), p_value=p)
        return [self._judged(i, used, results) for i in range(len(widths))]

    def _judged(self, i: int, used: Sequence[int], results: CellResults) -> Judged:
        """Return the decision about cell i; `results` are those of all cells at each of the scales `used`, one after another."""
        cell, cells = self.cells[i], len(self.cells)
        # An hour of the week is compared with four others, but no two windows of a confirmation with the same ones.
        alone = self._known_n[i] < REFERENCE_RATIO * int(results.n[i])
        at = min(cell.level, self._alone) if alone else cell.level
        confirm = (1, cell.confirm[1]) if alone else cell.confirm
        levels = dict(zip(cell.scales, (at, *cell.levels[1:]), strict=True))
        p = {s: float(results.p_value[i + j * cells]) for j, s in enumerate(used) if s in levels}
        # Without a value of its own a window decides nothing: the sums would be those of an earlier one.
        here = p if results.n[i] else ()
        over = [(p[s] / levels[s], s) for s in here if p[s] < levels[s] and bool(_lasts(p, s))]
        scale = min(over)[1] if over else 1
        result = replace(results[i + used.index(scale) * cells], decides_alone=alone or scale > 1)
        return Judged(cell.subject, result.p_value, levels[scale], bool(over), scale, confirm, result)

    def _slots(self, i: int, starts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of a subject's baselines windows are compared with."""
        habit = self._habits[i]
        if habit is None or self._ordinary is None:
            return np.zeros(len(starts_ms), np.int64)
        return self._ordinary.slots(habit, starts_ms)

    def play(self, windows: Sequence[NDArray[np.int64]], start_ms: int) -> Played:
        """Judge a whole history at once: `windows[i]` are the slot vectors of subject i, int64[T, width], without gaps.

        The same decisions as `judge` gives window by window, at a fraction of the cost; `start_ms` is the first window's start.
        """
        if not windows:
            nothing = np.zeros((0, 0), bool)
            return Played(nothing, nothing)
        starts = start_ms + np.arange(len(windows[0])) * self.window_ms
        rejects = np.zeros((len(windows), len(starts)), bool)
        alarms = np.zeros_like(rejects)
        for i, (cell, rows) in enumerate(zip(self.cells, windows, strict=True)):
            habit = self._habits[i]
            cells = Cells([self._subjects[i]], [self._baselines[i]])
            total = np.concatenate((np.zeros((1, rows.shape[1]), np.int64), np.cumsum(rows, axis=0)))
            n = rows[:, :-2].sum(axis=1)
            lone = self._known_n[i] < REFERENCE_RATIO * n  # decides alone, as in `_judged`
            found: dict[int, NDArray[np.float64]] = {}
            for scale in cell.scales:
                if len(rows) >= scale:
                    tested = cells.statistics(total[scale:] - total[:-scale], self._slots(i, starts[scale - 1 :]))
                    alone = scale > 1 or habit is None
                    p = combine(tested)[0] if alone or habit is None else habit.dispersion.p_values(tested, habit.n)
                    found[scale] = np.concatenate((np.full(scale - 1, np.nan), p))
                    found[scale][n == 0] = np.nan
            levels: tuple[Any, ...] = (np.where(lone, min(cell.level, self._alone), cell.level), *cell.levels[1:])
            for scale, at in zip(cell.scales, levels, strict=True):
                if scale in found:
                    rejects[i] |= (found[scale] < at) & _lasts(found, scale)
            unknown = np.isnan(found[1]) if found else np.ones(len(rows), bool)
            decided = np.where(unknown, np.nan, np.where(rejects[i], 1.0, -1.0))
            alarms[i] = rejects[i] & (lone | (len(cell.scales) > 1)) | (confirmed(decided[None], cell.confirm)[0] > 0)
        return Played(rejects, alarms)


def _lasts(p: Mapping[int, Any], scale: int) -> Any:  # noqa: ANN401  # numbers or arrays alike
    """Return whether a longer scale's change is still there: the last half and quarter of it are not like the reference."""
    still: Any = True
    for part in (scale // 2, scale // 4):
        if part in p:
            still = still & np.logical_not(p[part] >= STILL)
    return still
