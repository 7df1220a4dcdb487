"""When a statistic becomes an alert: the false-alarm budget and the severity.

>>> from detectors.decisions import Budget, level
>>> round(level(Budget.parse("1 per 30d"), "drift", window_ms=3_600_000, cells=20), 5)
0.00373
"""

from detectors.decisions.budget import LARGEST_LEVEL, SHARES, Budget, level, parse_confirm
from detectors.decisions.severity import severity

__all__ = ["LARGEST_LEVEL", "SHARES", "Budget", "level", "parse_confirm", "severity"]
