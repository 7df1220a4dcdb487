"""From "1 false alarm per 30 days" to the level that each single test may use.

A budget b over a period with W disjoint windows and C cells (feature x segment, or metric) is shared out evenly. With
confirmation "k of m" an alarm starts in a window when its test rejects and so did k - 1 of the m - 1 windows before it.
For independent windows and a small level a that has probability C(m-1, k-1) * a**k to first order, so

    a = (family's b / (C(m-1, k-1) * W * C)) ** (1/k)

which is sqrt(b / (2 W C)) for "2 of 3" and b / (W C) for one window alone. The formula holds for independent data.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from schemas.errors import ConfigError

SHARES = {"drift": 0.4, "quality": 0.2, "performance": 0.3, "sequential": 0.3, "service": 0.1}
"""The part of the budget of each family of monitors. Performance and sequential spend the same 0.3 together."""

LARGEST_LEVEL = 0.1
"""No test runs at a higher level, however generous the budget: the first-order formula is off by a tenth there."""

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_CONFIRM = re.compile(r"\s*(\d{1,2})\s+of\s+(\d{1,2})\s*")


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms a model's owner accepts (`false_alarms`) in how long (`per_ms`, event time in ms)."""

    false_alarms: float
    per_ms: int

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget like "1 per 30d" or "0.5 per 12h" (units ms, s, m, h, d, w).

        Raises:
            ConfigError: the text is no budget, or one of its numbers is zero.
        """
        match = _BUDGET.fullmatch(text)
        per_ms = round(float(match[2]) * _UNITS[match[3]]) if match else 0
        if match is None or float(match[1]) <= 0 or per_ms <= 0:
            what = f"{text!r} is not a false-alarm budget"
            raise ConfigError(what, 'write it like "1 per 30d" (ms, s, m, h, d, w)')
        return cls(float(match[1]), per_ms)


def parse_confirm(text: str) -> tuple[int, int]:
    """Read a confirmation rule like "2 of 3" as (k, m).

    Raises:
        ConfigError: the text is no such rule, or k is not between 1 and m.
    """
    match = _CONFIRM.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        what = f"{text!r} is not a confirmation rule"
        raise ConfigError(what, 'write it like "2 of 3", or "1 of 1" for no confirmation')
    return int(match[1]), int(match[2])


def level(budget: Budget, family: str, window_ms: int, cells: int, confirm: tuple[int, int] = (2, 3)) -> float:
    """Return the level of one test, so that its family stays within its share of the budget on data without drift.

    `window_ms` is the length of the disjoint windows that decide, `cells` how many tests each window has in this family
    (for performance and sequential: in both together), `confirm` is (k, m). At most `LARGEST_LEVEL`.

    Raises:
        ConfigError: an unknown family, no cell, no window length, or k not between 1 and m.
    """
    k, m = confirm
    if family not in SHARES:
        what = f"no budget for the family {family!r}"
        raise ConfigError(what, f"use one of {', '.join(SHARES)}")
    if window_ms <= 0 or cells <= 0 or not 1 <= k <= m:
        what = f"no level for windows of {window_ms} ms, {cells} cells, {k} of {m}"
        raise ConfigError(what, "give positive windows and cells, and k between 1 and m")
    windows = budget.per_ms / window_ms
    spent = budget.false_alarms * SHARES[family] / (math.comb(m - 1, k - 1) * windows * cells)
    return float(min(LARGEST_LEVEL, spent ** (1 / k)))
