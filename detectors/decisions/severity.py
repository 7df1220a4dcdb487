"""How bad: from the size of a change and the business impact of the model.

| corrected PSI     | tier low | tier normal | tier high |
|-------------------|----------|-------------|-----------|
| below 0.1         | info     | info        | warning   |
| from 0.1          | info     | warning     | critical  |
| from 0.25         | warning  | critical    | critical  |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from schemas.alerts import Severity

WARNING_PSI = 0.1
"""Corrected PSI from which a change is a warning: a shift of a third of a standard deviation."""
CRITICAL_PSI = 0.25
"""Corrected PSI from which a change is critical: a shift of half a standard deviation."""
LEVELS: tuple[Severity, ...] = ("info", "warning", "critical")
"""Severities, ascending."""
_STEP = {"low": -1, "normal": 0, "high": 1}


def severity(psi: float, tier: str = "normal") -> Severity:
    """Return "info", "warning" or "critical" for a corrected PSI and a model's tier ("low", "normal", "high").

    Raises:
        ConfigError: there is no such tier.
    """
    if tier not in _STEP:
        what = f"there is no tier {tier!r}"
        raise ConfigError(what, "use low, normal or high")
    size = (psi >= WARNING_PSI) + (psi >= CRITICAL_PSI)
    return LEVELS[min(len(LEVELS) - 1, max(0, size + _STEP[tier]))]
