"""How bad: from how far the share of bad values has risen and the business impact of the model.

| share of rows (or values) risen by          | tier low | tier normal | tier high |
|---------------------------------------------|----------|-------------|-----------|
| less than 0.05                              | info     | info        | warning   |
| 0.05 or more                                | info     | warning     | critical  |
| 0.25 or more; or a feature is gone          | warning  | critical    | critical  |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.decisions.severity import CRITICAL_PSI, WARNING_PSI, severity

if TYPE_CHECKING:
    from detectors.quality.result import QualityResult
    from schemas.alerts import Severity

WARNING_RISE = 0.05
"""From here one row in twenty is newly unusable: a model notices."""
CRITICAL_RISE = 0.25
"""From here a quarter of the rows is: what the model answers for them is a guess."""


def quality_severity(found: QualityResult, tier: str = "normal") -> Severity:
    """Return "info", "warning" or "critical" for a finding and a model's tier ("low", "normal", "high").

    Raises:
        ConfigError: there is no such tier.
    """
    rise = found.effect_size
    if found.gone or rise >= CRITICAL_RISE:
        return severity(CRITICAL_PSI, tier)
    return severity(WARNING_PSI if rise >= WARNING_RISE else 0.0, tier)
