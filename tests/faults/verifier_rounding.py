"""By how many units the sums of log losses may lie beside the exact ones: the engine's logarithm is good to an error, not exact.

A loss is rounded to whole units of 2**-30, and its square is. The engine's logarithm is within ``LOG_ERROR`` * max(1, |ln x|) of the
true one (``detectors.performance.counting.natural_log``), which is a millionth of a unit at most; where the exact value lies that
near to a half, once in some hundred thousand rows, both neighbours are right. So every row has its least and its most units, of the
loss and of its square, from its exact value alone; what they allow adds up, and nothing else may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isnan, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.performance import layout
from tests.oracle.outcomes import CLIP, log_loss, single

LOG_ERROR: Final = Fraction(4, 10**16)
"""Of a logarithm, times max(1, |ln x|): what ``natural_log`` promises."""
PRODUCT_ERROR: Final = Fraction(1, 2**53)
"""Of one float64 product, relative: that of a loss with itself."""
UNIT: Final = 2**30
NEAR: Final = 0.01
"""Units from a half within which a row is worked out exactly. The largest error, of the square of 13.87 nats, is 0.0002 units, and
those of float64 are as large: what is farther away is rounded to one side by everybody."""


@dataclass(frozen=True, slots=True)
class Slack:
    """From how many units less to how many more, of the sum of losses and of the sum of their squares."""

    loss: tuple[int, int] = (0, 0)
    square: tuple[int, int] = (0, 0)

    def __add__(self, other: Slack) -> Slack:
        """Of the rows of both."""
        return Slack(_both(self.loss, other.loss), _both(self.square, other.square))

    def __bool__(self) -> bool:
        """Whether anything may differ."""
        return self != NONE


NONE: Final = Slack()


def _both(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def of_row(actual: int, score: float) -> Slack:
    """What is allowed of one binary outcome; NaN: of one without a score."""
    if isnan(score):
        return NONE
    given = min(1.0, max(0.0, single(score)))
    claimed = min(1.0 - CLIP, max(CLIP, given))
    about = -log(claimed if actual else 1.0 - claimed)
    if not (_near(about) or _near(about * about)):
        return NONE
    loss, square = log_loss(actual, given)
    error = LOG_ERROR * max(Fraction(1), loss)
    most = (loss + error) ** 2
    product = PRODUCT_ERROR * most
    return Slack(
        _rounded(loss, loss - error, loss + error),
        _rounded(square, max(Fraction(0), loss - error) ** 2 - product, most + product),
    )


def _near(about: float) -> bool:
    units = about * UNIT
    return abs(units - int(units) - 0.5) < NEAR


def _rounded(exact: Fraction, least: Fraction, most: Fraction) -> tuple[int, int]:
    """Units less and more than those of the exact value."""
    units = round(exact * UNIT)
    return round(least * UNIT) - units, round(most * UNIT) - units


def settled(wanted: NDArray[np.int64], found: NDArray[np.int64], slack: Slack) -> NDArray[np.int64]:
    """The outcome vector that is wanted, with the sums of losses that were found where they are as good; both are spelt."""
    out = wanted.copy()
    for of, (less, more) in ((layout.LOG_LOSS, slack.loss), (layout.LOG_LOSS_SQUARE, slack.square)):
        if less <= _units(found, of) - _units(wanted, of) <= more:
            out[of.at : of.at + of.words] = found[of.at : of.at + of.words]
    return out


def alike(vector: NDArray[np.int64], slack: Slack) -> Iterator[NDArray[np.int64]]:
    """Every vector with a sum of losses that is as good; that of the squares decides no metric's value."""
    of = layout.LOG_LOSS
    for units in range(slack.loss[0], slack.loss[1] + 1):
        out = vector.copy()
        out[of.at : of.at + of.words] = divmod(_units(vector, of) + units, 1 << 32)
        yield out


def _units(vector: NDArray[np.int64], of: layout.Sum) -> int:
    high, low = vector[of.at : of.at + of.words]
    return (int(high) << 32) + int(low)
