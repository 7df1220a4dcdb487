"""Tests of shares, written from their definitions with whole numbers and fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def fisher(reference_hits: int, reference_n: int, hits: int, n: int) -> Fraction:
    """P(the window holds at least so many of all hits), every choice of the window's rows from all rows equally likely."""
    total = reference_hits + hits
    ways = sum(comb(n, j) * comb(reference_n, total - j) for j in range(hits, min(n, total) + 1))
    return Fraction(ways, comb(reference_n + n, total))


def binomial_at_least(hits: int, n: int, share: Fraction) -> Fraction:
    """P(X >= hits), X binomial(n, share)."""
    return sum((comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(hits, n + 1)), Fraction(0))


def splits(rows: Sequence[object], n: int) -> Iterator[tuple[list[object], list[object]]]:
    """Every way to call n of the rows the window and the rest the reference: (reference, window)."""
    for chosen in combinations(range(len(rows)), n):
        inside = set(chosen)
        yield [r for i, r in enumerate(rows) if i not in inside], [rows[i] for i in chosen]


def one_bin(counts: Sequence[int], n: int) -> Fraction:
    """The sum over bins of C(r + n, n) / C(N + n, n), at most 1."""
    return min(Fraction(1), sum((Fraction(comb(r + n, n), comb(sum(counts) + n, n)) for r in counts), Fraction(0)))
