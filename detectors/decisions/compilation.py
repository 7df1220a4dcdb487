"""Compiling a rule: levels from the budget's formula, lowered where the replay of the reference asks for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from detectors.decisions.budget import LARGEST_LEVEL, SHARES, Budget, level
from detectors.decisions.nulls import Dispersion
from detectors.decisions.replay import confirmed, peaks, raised
from detectors.decisions.rule import Rule, RuleCell
from detectors.decisions.statement import missing, verified
from detectors.drift.cells import Cells
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.reference import Reference
    from detectors.reference.ordinary import Habit, Ordinary

Scales = Literal["auto", "off"]
"""Whether longer stretches than one window are tested too."""
MONTH_MS = 30 * 86_400_000
"""What `Rule.expected` is counted in."""
FAMILY = "drift"
"""Whose share of the budget is spent."""
RESTLESS = 4
"""A cell with more than one peak over the formula's threshold in its own reference, and this many times its part of the
budget, is fitted alone: on steady data that happens to one cell in a thousand."""
SCALE_WEIGHTS = (1.0, 1.05, 1.15, 1.3, 1.6, 2.2)
"""What a scale's level may be multiplied with because its sliding windows overlap: alarms come in clusters, and one cluster is
one episode. Measured on independent data: episodes per window and level 0.96, 0.92, 0.78, 0.65, 0.50, 0.31 at a level of
1e-4 for scales 1 to 32, rising as the level falls; the weights stay below the inverses, and together give 0.9 of the budget."""


def compile_rule(
    reference: Reference,
    watched: Sequence[int],
    budget: Budget,
    window_ms: int,
    confirm: tuple[int, int] = (2, 3),
    scales: Scales = "auto",
) -> Rule:
    """Compile the rule for the subjects of a reference with the indices `watched`, and windows of `window_ms`.

    Raises:
        ConfigError: no window length, or an impossible confirmation.
    """
    if scales not in {"auto", "off"}:
        raise ConfigError(f"there are no scales {scales!r}", "use auto or off")
    subjects = tuple(reference.subjects[i] for i in watched)
    ordinary = reference.ordinary
    habits = tuple(None if ordinary is None else ordinary.subjects[i] for i in watched)
    count = max(1, len(subjects))
    formula = level(budget, FAMILY, window_ms, count, confirm)
    alone = level(budget, FAMILY, window_ms, count, (1, 1))
    lacking = missing(reference, window_ms, list(zip(subjects, habits, strict=True)))
    usable = scales == "auto" and not lacking
    cells = []
    for subject, habit in zip(subjects, habits, strict=True):
        season = "none" if habit is None else habit.season
        held = len(habit.scores) if usable and habit is not None else 1
        if held == 1:
            cells.append(RuleCell(subject.name, season, (1,), (formula,), confirm))
            continue
        levels = tuple(min(LARGEST_LEVEL, alone * weight / held) for weight in SCALE_WEIGHTS[:held])
        cells.append(RuleCell(subject.name, season, tuple(2**j for j in range(held)), levels, (1, confirm[1])))
    expected = None
    if ordinary is not None and ordinary.window_ms == window_ms and all(h is not None for h in habits) and habits:
        cells, spent = _replayed(cells, [h for h in habits if h is not None], ordinary, budget)
        expected = spent * MONTH_MS / ordinary.covered_ms
    known = tuple(
        subject.counts[None] if habit is None else habit.baselines(subject)
        for subject, habit in zip(subjects, habits, strict=True)
    )
    return Rule(
        cells=tuple(cells),
        scales=max((c.scales for c in cells), key=len, default=(1,)),
        verified=not lacking,
        statement=lacking or verified(ordinary, expected),
        expected=expected,
        window_ms=window_ms,
        _subjects=subjects,
        _baselines=known,
        _habits=habits,
        _ordinary=ordinary,
        _known_n=tuple(s.n for s in subjects),
        _dispersions=np.array([(h.dispersion if h else Dispersion()).to_list() for h in habits]).reshape(-1, 6).T,
        _usual_n=np.array([h.n if h else np.inf for h in habits]),
        _alone=alone,
        _cells=Cells(subjects, known) if subjects else None,
    )


def margins(cell: RuleCell, habit: Habit) -> NDArray[np.float64]:
    """Return by how much each of the reference's own windows exceeds the cell's thresholds, float64[T]; -inf: not tested."""
    thresholds = -np.log(np.array(cell.levels))[:, None]
    if len(cell.scales) == 1:
        found: NDArray[np.float64] = confirmed(habit.scores[:1], cell.confirm)[0] - thresholds[0]
        return found
    over = habit.scores[: len(cell.scales)] - thresholds
    largest: NDArray[np.float64] = np.where(np.isnan(over), -np.inf, over).max(axis=0)
    return largest


def _replayed(
    cells: Sequence[RuleCell], habits: Sequence[Habit], ordinary: Ordinary, budget: Budget
) -> tuple[list[RuleCell], float]:
    """Return the cells with the levels that keep the budget on the reference itself, and the episodes expected in its time."""
    own = [margins(c, h) for c, h in zip(cells, habits, strict=True)]
    allowed = budget.false_alarms * SHARES[FAMILY] * ordinary.covered_ms / budget.per_ms
    # Cells of one kind share a tail: 20 peaks of all say more than 20 of each, which lie deep in the bulk. One that alarms
    # again and again on its own reference has a tail of its own, and would raise the thresholds of all.
    each = allowed / len(cells)
    groups: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for i, cell in enumerate(cells):
        restless = int((peaks(own[i]) > 0).sum()) > 1 + RESTLESS * each
        groups.setdefault((cell.scales, i if restless else -1), []).append(i)
    rises, spent = np.zeros(len(cells)), 0.0
    for members in groups.values():
        rise, found = raised(np.max([own[i] for i in members], axis=0), allowed * len(members) / len(cells))
        rises[members] = rise
        spent += found
    lowered = [
        replace(cell, levels=tuple(a * math.exp(-rise) for a in cell.levels))
        for cell, rise in zip(cells, rises.tolist(), strict=True)
    ]
    return lowered, spent
