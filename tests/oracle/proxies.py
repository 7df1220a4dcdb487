"""Proxies and worst segments, computed from rows and from first principles: slow, and plain to see."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def hypergeometric(known: int, n: int, positives: int) -> dict[int, Fraction]:
    """P(x of the n are positive) when known + n outcomes hold so many positives and any n of them are as likely."""
    every = comb(known + n, n)
    return {
        x: Fraction(comb(positives, x) * comb(known + n - positives, n - x), every)
        for x in range(n + 1)
        if x <= positives and n - x <= known + n - positives
    }


def two_tails(chances: dict[int, Fraction], seen: int) -> Fraction:
    """Twice the smaller tail that includes what was seen, at most 1."""
    below = sum((p for x, p in chances.items() if x <= seen), Fraction(0))
    above = sum((p for x, p in chances.items() if x >= seen), Fraction(0))
    return min(Fraction(1), 2 * min(below, above))


def stratified(strata: Sequence[tuple[int, int, int, int]], upper: Sequence[bool]) -> tuple[Fraction, Fraction]:
    """p-values of level and slope from (known, known positives, n, positives) of each bin, by listing every outcome."""
    laws = [hypergeometric(known, n, k + x) for known, k, n, x in strata]
    total: dict[int, Fraction] = {}
    contrast: dict[int, Fraction] = {}
    for xs in product(*laws):
        p = Fraction(1)
        for law, x in zip(laws, xs, strict=True):
            p *= law[x]
        difference = sum(x if high else -x for x, high in zip(xs, upper, strict=True))
        total[sum(xs)] = total.get(sum(xs), Fraction(0)) + p
        contrast[difference] = contrast.get(difference, Fraction(0)) + p
    seen = [x for _, _, _, x in strata]
    return two_tails(total, sum(seen)), two_tails(
        contrast, sum(x if high else -x for x, high in zip(seen, upper, strict=True))
    )


def variance(known: int, k: int, n: int, x: int) -> Fraction:
    """Variance of the positives among n, from the distribution itself."""
    law = hypergeometric(known, n, k + x)
    mean = sum((x * p for x, p in law.items()), Fraction(0))
    return sum(((x - mean) ** 2 * p for x, p in law.items()), Fraction(0))


def fisher(rest_wrong: int, rest_n: int, wrong: int, n: int) -> Fraction:
    """P(at least so many of all wrong answers are the segment's)."""
    law = hypergeometric(rest_n, n, rest_wrong + wrong)
    return sum((p for x, p in law.items() if x >= wrong), Fraction(0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value times the number of hypotheses that are not smaller, and no smaller than those before it."""
    found: list[float] = [0.0] * len(p_values)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        largest = max(largest, (len(p_values) - step) * p_values[i])
        found[i] = min(1.0, largest)
    return found
