"""How much wider than those of independent values the sums of panes vary: a running estimate, from bits in panes.

Idea: errors come in bursts, because neighbouring rows resemble each other. Then error counts of panes vary more than the
binomial law says, and whatever takes labels for independent raises false alarms. Counts of neighbouring panes are compared:
their differences show how widely counts vary around a common level, and a lasting change of the level shows in one of
them only. Bursts longer than a pane show in blocks of two and of four panes, so these are compared too.

Statistic: for neighbouring blocks with n, n' values and k, k' ones, at the running rate p,

    d = (k/n - k'/n')^2 / (p (1 - p) (1/n + 1/n'))

has mean 1 for independent values. For blocks of 1, 2 and 4 panes d is averaged, older ones counting less (half after 100
panes), and one standard error is taken off; the dispersion is the largest of these three, and at least 1.

Guarantee: none of its own; an e-detector that takes it keeps its own. On independent bits it stays near 1. On bits with
autocorrelation 0.3 in panes of 100, false alarms of an e-detector with arl = 1,000 panes fall from 6.0 to 1.1 per 100,000 bits
with this and `confirm=2`, which together delay 0.2 -> 0.3 from 319 bits to 359 (`python -m loadtest quality`). Bursts much longer
than four panes, and seasons, are beyond it.

When not to use it: on values that are no bits (the variance is the binomial law's), or to find a change.

Cost: some 20 numbers, 1.5 us a pane (the command stands in docs/detectors/e_detector.md). There is no merge: neighbours
are neighbours in time. Merge panes first.

State: format 1; see `Dispersion.to_state`.

References: McCullagh & Nelder, Generalized Linear Models, 2nd ed. 1989, section 4.5 (overdispersion); von Neumann, Kent,
Bellinson & Hart, The mean square successive difference, Annals of Mathematical Statistics 12 (1941). The blocks and the
standard error taken off are ours.

>>> dispersion = Dispersion()
>>> for day in range(200):
...     dispersion.update(100, 10 if day % 3 else 40)
>>> round(dispersion.value)
15
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from detectors.sequential.state import count, items, number, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
"""Version of the state that `Dispersion.to_state` writes."""
_LEVELS = 3
"""Blocks of 1, 2, 4 panes: with 1 alone, half-days of the Elec2 data open 12 alerts in 30 months, with three levels 9, with
four no fewer."""
_HALF_LIFE = 100
"""Panes after which a comparison counts half: shorter is noisier (and that noise is delay), longer forgets bursts late."""
_LEAST_HALF_LIFE = 12
"""Blocks of a level that count at least half."""
_PRIOR = 4.0
"""Comparisons with the outcome 1 that are there from the start."""
_RATE_KEEP = 0.98
"""What a pane's values count one pane later in the running rate."""
_VARIANCE = 3.0
"""Variance of the mean of w neighbouring comparisons, times w: 2 for squares of normal values, 1 for shared neighbours."""


class Dispersion:
    """The estimate. `value` is at least 1, and 1 before there is anything to compare."""

    __slots__ = ("_latest", "_n", "_ones", "_pending", "_sums", "_weights")

    def __init__(self) -> None:
        """Start before the first pane."""
        self._n, self._ones = 0.0, 0.0
        self._latest: list[tuple[int, int] | None] = [None] * _LEVELS
        self._pending: list[tuple[int, int] | None] = [None] * _LEVELS
        self._sums, self._weights = [0.0] * _LEVELS, [0.0] * _LEVELS

    @property
    def value(self) -> float:
        """How many times as widely as those of independent values sums of panes vary; at least 1."""
        found = 1.0
        for total, weight in zip(self._sums, self._weights, strict=True):
            held = weight + _PRIOR
            found = max(found, (total + _PRIOR) / held * (1 - math.sqrt(_VARIANCE / held)))
        return found

    def update(self, n: int, ones: int) -> None:
        """Add a pane of `n` bits, `ones` of them 1; n = 0 changes nothing.

        Raises:
            ValueError: ones is not between 0 and n.
        """
        if not 0 <= ones <= n:
            message = f"a pane of n bits has between 0 and n ones, got n={n}, ones={ones}"
            raise ValueError(message)
        if n == 0:
            return
        self._n, self._ones = self._n * _RATE_KEEP + n, self._ones * _RATE_KEEP + ones
        rate = (self._ones + 0.5) / (self._n + 1)
        block = (n, ones)
        for i in range(_LEVELS):
            latest = self._latest[i]
            if latest is not None:
                gap = block[1] / block[0] - latest[1] / latest[0]
                keep = 0.5 ** (1 / max(_HALF_LIFE / 2**i, _LEAST_HALF_LIFE))
                variance = rate * (1 - rate) * (1 / block[0] + 1 / latest[0])
                self._sums[i] = self._sums[i] * keep + gap * gap / variance
                self._weights[i] = self._weights[i] * keep + 1
            self._latest[i] = block
            first = self._pending[i]
            if first is None:
                self._pending[i] = block
                return
            block, self._pending[i] = (first[0] + block[0], first[1] + block[1]), None

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next; `from_state` is its inverse.

        Keys: `format`, `rate` [values, ones] of the running rate, and `levels`: per size of block the latest and the pending block
        ([n, ones] or null), the weighted sum of comparisons, and their weight.
        """
        levels = zip(self._latest, self._pending, self._sums, self._weights, strict=True)
        return {
            "format": FORMAT,
            "rate": [self._n, self._ones],
            "levels": [[block and list(block) for block in level[:2]] + list(level[2:]) for level in levels],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Dispersion:
        """Return the estimate whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of a dispersion.
        """
        dispersion = cls()
        with reading("a dispersion", state, FORMAT):
            n, ones = items(state["rate"], 2)
            dispersion._n, dispersion._ones = number(n, 0), number(ones, 0)
            if dispersion._ones > dispersion._n:
                message = f"{ones} ones among {n} values"
                raise ValueError(message)
            for i, level in enumerate(items(state["levels"], _LEVELS)):
                latest, pending, total, weight = items(level, 4)
                dispersion._latest[i], dispersion._pending[i] = _block(latest), _block(pending)
                dispersion._sums[i], dispersion._weights[i] = number(total, 0), number(weight, 0)
        return dispersion


def _block(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    n, ones = items(value, 2)
    block = count(n, 1), count(ones)
    if block[1] > block[0]:
        message = f"{ones} ones in a block of {n}"
        raise ValueError(message)
    return block
