"""The delay histogram from its definition: one delay at a time, looked up among the bins' edges in exact fractions."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OCTAVES, PARTS = 37, 4


def edges() -> list[Fraction]:
    """The lower edge of every bin after the first; the last bin has no upper one."""
    inner = [2**e * (1 + Fraction(k, PARTS)) for e in range(OCTAVES) for k in range(PARTS)]
    return [*inner, Fraction(2**OCTAVES)]


_EDGES = edges()


def histogram(delays: Iterable[int]) -> list[int]:
    """How many delays each bin holds; the first holds those of 0 and below."""
    counts = [0] * (1 + len(_EDGES))
    for delay, n in Counter(delays).items():
        counts[0 if delay <= 0 else sum(edge <= delay for edge in _EDGES)] += n
    return counts


def quantile(delays: Iterable[int], q: float) -> int:
    """The least of the delays that a share q of them does not exceed."""
    ordered = sorted(delays)
    return next(d for i, d in enumerate(ordered) if i + 1 >= q * len(ordered))
