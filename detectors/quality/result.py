"""What a check of one feature found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detectors.quality.checks import Checks

Check = Literal["missing", "type_error", "unseen", "out_of_range", "constant"]
"""What can be wrong with the values of a feature."""
CHECKS: tuple[Check, ...] = ("missing", "type_error", "unseen", "out_of_range", "constant")
"""All checks, in the order in which a feature's are listed."""


@dataclass(frozen=True, slots=True)
class QualityResult:
    """One check of one feature in one window.

    `n` is what the share is of: the window's rows (missing, type_error) or its values (the others); `hits` of them are
    found wanting, `share` is their part. `reference_share` is what the reference would lead one to expect. `p_value` is
    one-sided: a share that falls is nobody's alarm. It is None when there are too few rows (`insufficient`).
    `decides_alone`: the reference is smaller than 10 n, so that its own error, which all windows share, is not small, and
    windows must not confirm each other. `where` says where the hits are: (label, share of the reference, of the window).
    """

    feature: str
    check: Check
    share: float
    reference_share: float
    p_value: float | None
    hits: int
    n: int
    insufficient: bool
    decides_alone: bool
    where: tuple[tuple[str, float, float], ...] = ()

    @property
    def effect_size(self) -> float:
        """How much the share has risen; below zero when it has fallen."""
        return self.share - self.reference_share

    @property
    def gone(self) -> bool:
        """Whether no row has the feature any more, while in the reference some had."""
        return self.check == "missing" and 0 < self.n == self.hits and self.reference_share < 1

    @property
    def sentence(self) -> str:
        """The finding in plain English, without a verdict; begins with the feature's name."""
        rows = f"{self.n:,} {'rows' if self.check in {'missing', 'type_error'} else 'values'}"
        before = f"{self.reference_share:.2%} in the reference"
        if self.gone:
            return f"{self.feature} is gone: missing in all {rows} ({before})"
        if self.check == "constant" and self.hits == self.n > 0:
            place = f" ({self.where[0][0]})" if self.where else ""
            return f"{self.feature} does not vary: all {rows} lie in one bin{place}, which holds {before}"
        said = {
            "missing": "is missing in",
            "type_error": "has the wrong type in",
            "unseen": "has categories that the reference does not know in",
            "out_of_range": "lies outside of the reference's range in",
            "constant": "lies in its commonest bin in",
        }[self.check]
        if self.check == "unseen":
            before = f"{self.reference_share:.2%} expected"
        return f"{self.feature} {said} {self.share:.2%} of {rows} ({before})"


@dataclass(frozen=True, slots=True)
class CheckResults:
    """What all checks found in k windows: arrays [k, checks], in the order of `Checks.cells`.

    `p_value` is NaN where there are too few rows. Fields as in `QualityResult`, which `result` returns.
    """

    checks: Checks
    counts: NDArray[np.int64]
    hits: NDArray[np.int64]
    n: NDArray[np.int64]
    share: NDArray[np.float64]
    reference_share: NDArray[np.float64]
    p_value: NDArray[np.float64]
    decides_alone: NDArray[np.bool_]

    def result(self, cell: int, window: int = 0) -> QualityResult:
        """Return one check of one window; `cell` is an index into `Checks.cells`."""
        at, p = (window, cell), float(self.p_value[window, cell])
        feature, check = self.checks.cells[cell]
        return QualityResult(
            feature,
            check,
            float(self.share[at]),
            float(self.reference_share[at]),
            None if np.isnan(p) else p,
            int(self.hits[at]),
            int(self.n[at]),
            bool(np.isnan(p)),
            bool(self.decides_alone[at]),
            self.checks.where(cell, self.counts[window]),
        )

    def __iter__(self) -> Iterator[QualityResult]:
        """All results of all windows, window by window."""
        return (self.result(cell, row) for row in range(len(self.n)) for cell in range(len(self.checks.cells)))
