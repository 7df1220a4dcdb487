"""Null distributions by simulation, for windows of 50 to 200 rows that leave two groups.

There the asymptotic laws of Anderson-Darling and of Pearson's statistic are not yet good (`detectors.drift.cells`). A law
depends on the bins' shares, rounded to whole per cent, and on n; it is simulated once per process from a seed made of both, so
every worker and every replay draws the same.

Beyond the draws' resolution the asymptotic tail is used, scaled to meet the simulation at its `_JOIN` largest values.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from detectors.drift.anderson import null_law

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DRAWS = 5_000
"""Simulated windows per law: a p-value of 0.005 is then known within 20 %, at about 10 ms and 40 KiB a law."""
_JOIN = 25
_PER_CENT = 100
_CACHED = 512
"""Laws kept in memory: 20 MiB."""


def p_value(
    kind: str,
    reference: Sequence[float],
    value: float,
    n: int,
    tail: Callable[[float], float],
    draws: int = DRAWS,
) -> float:
    """Return the p-value of a statistic for a window of n rows.

    `kind` is "anderson_darling" or "chi2", `reference` the counts of the pooled bins, `tail` the asymptotic p-value.
    """
    total = sum(reference)
    shares = tuple(max(1, round(_PER_CENT * r / total)) for r in reference)
    law = _law(kind, shares, n, draws)
    # Simulated statistics are discrete: one that ties with the observation must count despite rounding.
    above = draws - int(np.searchsorted(law, value * (1 - 1e-9)))
    if above >= _JOIN:
        return (above + 1) / (draws + 1)
    joint = float(law[-_JOIN])
    # float: scipy's tails are numpy scalars, and the result of a cell is written as JSON.
    return float(min(1.0, (_JOIN + 1) / (draws + 1) * tail(value) / max(tail(joint), 1e-300)))


@lru_cache(maxsize=_CACHED)
def _law(kind: str, shares: tuple[int, ...], n: int, draws: int) -> NDArray[np.float64]:
    """Return the sorted statistics of simulated windows, float64[draws]."""
    seed = hashlib.blake2b(repr((kind, shares, n, draws)).encode(), digest_size=8).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
    expected = np.array(shares) / sum(shares)
    drawn = random.multinomial(n, expected, draws)
    if kind == "chi2":
        values = ((drawn - n * expected) ** 2 / (n * expected)).sum(axis=1)
    else:
        inner, weight, _ = null_law(tuple(float(s) for s in shares))
        values = n * ((np.cumsum(drawn, axis=1)[:, :-1] / n - inner) ** 2) @ weight
    law: NDArray[np.float64] = np.sort(values)
    law.flags.writeable = False
    return law
