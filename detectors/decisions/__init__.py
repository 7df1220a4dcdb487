"""When a statistic becomes an alert: the false-alarm budget, the rule that keeps it, and the severity.

`Budget` and `level` are arithmetic for any test; `compile_rule` makes the rule for drift, which knows the model's ordinary
variation where the reference has event times.

>>> import numpy as np
>>> from detectors.decisions import Budget, compile_rule, level
>>> round(level(Budget.parse("1 per 30d"), "drift", window_ms=3_600_000, cells=20), 5)
0.00373
>>> from detectors.reference import Reference
>>> rng = np.random.default_rng(1)
>>> hours = np.repeat(np.arange(28 * 24), 100)
>>> table = {"event_time": hours * 3_600_000, "amount": rng.normal(np.sin(hours / 24 * 2 * np.pi))}
>>> reference = Reference.build(table, window_ms=3_600_000)
>>> rule = compile_rule(reference, [0], Budget.parse("1 per 30d"), window_ms=3_600_000)
>>> rule.verified, rule.cells[0].season
(True, 'day')
>>> six_in_the_morning = reference.subjects[0].slots_of(rng.normal(1.0, 1.0, 100))
>>> [rule.judge({1: [six_in_the_morning]}, start_ms=hour * 3_600_000)[0].rejected for hour in (6, 18)]
[False, True]
"""

from detectors.decisions.budget import LARGEST_LEVEL, SHARES, Budget, level, parse_confirm
from detectors.decisions.compilation import compile_rule
from detectors.decisions.rule import Judged, Played, Rule, RuleCell
from detectors.decisions.severity import severity

__all__ = [
    "LARGEST_LEVEL",
    "SHARES",
    "Budget",
    "Judged",
    "Played",
    "Rule",
    "RuleCell",
    "compile_rule",
    "level",
    "parse_confirm",
    "severity",
]
