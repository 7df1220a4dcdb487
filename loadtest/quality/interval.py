"""95 % intervals of what was counted."""

from __future__ import annotations

from scipy.stats import beta, chi2

ERROR = 0.05


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, ``hits`` of ``n`` independent trials (Clopper & Pearson 1934)."""
    low = float(beta.ppf(ERROR / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - ERROR / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def mean_interval(events: int, periods: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson mean per period, after ``events`` in ``periods`` (Garwood 1936)."""
    low = float(chi2.ppf(ERROR / 2, 2 * events)) / 2 if events else 0.0
    return low / periods, float(chi2.ppf(1 - ERROR / 2, 2 * events + 2)) / 2 / periods
