"""The test of a cell: has one subject's distribution in one window moved away from the reference?

- numeric: p = min(1, 2 min(p_AD, p_chi2)), Anderson-Darling on 20 groups of bins, Pearson's chi-squared on 10; values
  beyond the reference's range count in the first or last group;
- categorical: chi-squared on the 20 commonest categories and everything else together, known or unseen. Where the rest
  expects less than 10, pooling would hide new categories behind a common one: it is then tested apart, exactly, with a
  tenth of the level, p = min(1, p_chi2 / 0.9, p_rest / 0.1);
- constant in the reference, or one group left after pooling: the share of other values, exact, both samples considered.

Groups are pooled until each expects 10, and the reference has 10 in it itself where it is the smaller sample. A window
of fewer than 50 values is "insufficient"; up to 200 the p-values of two groups come from simulation. With a reference of
fewer than 10 n rows the reference's own error, which all windows share, is no longer small: the windows' tests are then not
independent, confirmation over several of them proves little, and the result says that this window decides alone.

Guarantee: on independent rows from the reference's distribution P(p <= a) is at most about a: 0.3 to 1.4 times a down to
0.001 for n from 50 to 50,000, up to 1.6 times for a zero-inflated feature whose bins expect just 10, and up to 2.1 times
at 1e-4 (`python -m loadtest quality`). Autocorrelated rows break it (STATISTICS section 1).
Cost: 0.1 ms a call (the command stands in docs/detectors/cell.md), 2 microseconds a cell among many
(`detectors.drift.cells`); more where a window of up to 200 values leaves two groups, the first time. Merge: slot vectors add up.
Sources: those of `anderson`, `pearson`, `exact` and `weighted_chi2`.

>>> import numpy as np
>>> from detectors.reference import Reference
>>> rng = np.random.default_rng(1)
>>> age = Reference.build({"age": rng.normal(40, 9, 20_000)}).features[0]
>>> found = cell_test(age, age.slots_of(rng.normal(42, 9, 1000)))
>>> found.method, found.p_value < 1e-6, round(found.effect_size, 2)
('anderson_darling', True, 0.05)
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from detectors.drift.cells import LEAST_N, REFERENCE_RATIO, SIMULATED_N, CellResult, Cells
from detectors.drift.monte_carlo import DRAWS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detectors.reference.subject import Subject

__all__ = ["LEAST_N", "REFERENCE_RATIO", "SIMULATED_N", "CellResult", "cell_test"]


@lru_cache(maxsize=4096)
def _cells(subject: Subject) -> Cells:
    """Return the prepared test of one subject; cached by its content, some 10 KiB each."""
    return Cells((subject,))


def cell_test(subject: Subject, current_counts: NDArray[np.int64], *, monte_carlo: int = DRAWS) -> CellResult:
    """Test a window's slot vector, int64[subject.width], against its subject's reference: one cell of `Cells`.

    `monte_carlo` is the number of simulated windows behind a p-value of two groups for up to 200 values; 0 uses the asymptotic laws.

    Raises:
        ValueError: the vector does not have the subject's width, or holds other than counts.
    """
    return _cells(subject).test([current_counts], monte_carlo=monte_carlo)[0]
