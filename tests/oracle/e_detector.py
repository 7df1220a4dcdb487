"""The e-detector from its definition: for every start and every bet a product of its own, over all values since.

Values and m are on the scale [0, 1]. Stakes are 0.9/m halved for as long as u = stake * sqrt(m (1 - m)) >= 0.01; a bet's
weight is proportional to 1 / ((u / 0.2)^2 + (u / 0.2)^-2). A bet on a fall bets on the rise of 1 - x over 1 - m.
"""

from __future__ import annotations

from math import prod, sqrt


def bets(m: float) -> list[tuple[float, float]]:
    """Return (stake, weight) of the bets on a rise over m, largest stake first; the weights sum to 1."""
    stakes = [0.9 / m * 0.5**i for i in range(60)]
    stakes = [s for i, s in enumerate(stakes) if i == 0 or s * sqrt(m * (1 - m)) >= 0.01]
    units = [s * sqrt(m * (1 - m)) / 0.2 for s in stakes]
    weights = [1 / (u**2 + u**-2) for u in units]
    return [(s, w / sum(weights)) for s, w in zip(stakes, weights, strict=True)]


def rise(values: list[list[float]], m: float) -> float:
    """Return the e-detector of a rise over m after these updates, each of one or several values."""
    total = 0.0
    for stake, weight in bets(m):
        factors = [prod(1 + stake * (x - m) for x in pane) for pane in values]
        total += weight * sum(prod(factors[start:]) for start in range(len(factors)))
    return total


def fall(values: list[list[float]], m: float) -> float:
    """Return the e-detector of a fall below m after these updates."""
    return rise([[1 - x for x in pane] for pane in values], 1 - m)


def earnings(values: list[list[float]], m: float) -> list[float]:
    """Return for every start the product of the bet on a rise that has earned most since."""
    factors = [[prod(1 + stake * (x - m) for x in pane) for pane in values] for stake, _ in bets(m)]
    return [max(prod(of_bet[start:]) for of_bet in factors) for start in range(len(values))]
