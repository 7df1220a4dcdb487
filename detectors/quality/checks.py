"""Is the data still whole? Exact tests of what drift tests do not look at: missing, wrong type, unseen, out of range, stuck.

Idea: a jump from 0.1 % to 5 % of missing values moves no distribution, and is the commonest fault there is. Each check is a
share of its own, compared with the reference's share in an exact one-sided test of two samples. A window is the same
slot vector that the drift tests read (`detectors.reference.Subject`), so quality costs no state of its own.

| check        | of     | hits                                                        | p-value |
|--------------|--------|-------------------------------------------------------------|---------|
| missing      | rows   | no value, or null                                           | Fisher  |
| type_error   | rows   | a value that is no number (no text, no boolean)             | Fisher  |
| out_of_range | values | numeric: below the reference's minimum or above its maximum | Fisher, with one more hit in the reference |
| unseen       | values | categorical: a category that the reference does not know    | Good (`detectors.quality.novelty`) |
| constant     | values | all values lie in one bin of a feature that varies          | one bin |

Statistics: Fisher is `detectors.shares`. Out of range: minimum and maximum are the reference's own, so it has no hit
by construction. If the rows are exchangeable, the number of values outside is beta-binomial(n, 2, N - 1) (Wilks 1941), which is
Fisher's tail with one reference hit. Constant, for the reference's counts r over its bins:

    p = sum over bins b of C(r_b + n, n) / C(N + n, n)

the probability, rounded up, that n rows drawn from both samples together come from a single bin. A bin of the reference can
hold many values: 1 % of them in a continuous feature.

Guarantee: P(p <= a) <= a for independent rows, for every n, share and size of the reference (unseen: see there). Rows that
come in bursts, or a feature that tells the time and is constant for a window by its nature, break it. All windows share
the error of one reference: where N < 10 n the result says that this window decides alone.

Cost: 0.3 us a check where many features are tested at once (the command stands in docs/detectors/quality.md). No state;
merge law: slot vectors add up, then they are tested.

References: Fisher, The Design of Experiments, 1935; S. S. Wilks, Determination of sample sizes for setting tolerance limits,
Ann. Math. Stat. 12, 1941.

>>> from detectors.reference import Reference
>>> reference = Reference.build({"amount": list(range(1000)), "country": ["de", "fr"] * 500})
>>> amount, country = reference.features
>>> window = [None] * 5 + list(range(95))
>>> for found in quality_test(amount, amount.slots_of(window)):
...     print(f"{found.check}: {found.p_value:.2g}")
missing: 5.7e-06
type_error: 1
out_of_range: 1
constant: 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import gammaln

from detectors.quality.novelty import novelty_p_values, singles
from detectors.quality.result import CHECKS, Check, CheckResults, QualityResult
from detectors.shares import rise_p_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detectors.reference import Subject

LEAST_N = 10
"""A window with fewer rows is not tested. The tests are exact for any number, but a handful of rows often comes from one
caller, and one caller's fault is one observation, not ten."""
REFERENCE_RATIO = 10
"""How many times larger than the window the reference must be for windows to confirm each other; as for drift."""


class _Cell(NamedTuple):
    """One check of one subject: where its hits lie (two slots), and what the reference sets against them."""

    owner: int
    check: Check
    first: int
    second: int
    hits: int
    n: int
    rate: float = 0.0


class Checks:
    """The checks of some subjects, laid out once. `cells` names them: (feature, check); `width` is the sum of all widths."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        """Of `subjects`, in the order in which their slot vectors follow each other."""
        self.subjects = tuple(subjects)
        widths = np.array([s.width for s in subjects], np.int64)
        self.width = int(widths.sum())
        self._ends = np.cumsum(widths)
        self._starts = self._ends - widths
        self._reference = np.append(np.concatenate([np.zeros(0, np.int64), *(s.counts for s in subjects)]), 0)
        found = [cell for i, s in enumerate(self.subjects) for cell in self._lay_out(i, s)]
        self.cells: tuple[tuple[str, Check], ...] = tuple((self.subjects[c.owner].name, c.check) for c in found)
        self._owner, self._first, self._second, self._hits, self._n = (
            np.array([c[i] for c in found], np.int64) for i in (0, 2, 3, 4, 5)
        )
        self._rate = np.array([c.rate for c in found], np.float64)
        self._of_rows = np.array([c.check in {"missing", "type_error"} for c in found], bool)
        of = {c: np.array([i for i, cell in enumerate(found) if cell.check == c], np.int64) for c in CHECKS}
        self._unseen, self._range, self._constant = of["unseen"], of["out_of_range"], of["constant"]
        self._fisher = np.sort(np.concatenate([of["missing"], of["type_error"], of["out_of_range"]]))
        # The bins of each subject with a check "constant", padded with the index of a slot that is always empty.
        bins = [self._bins(int(self._owner[i])) for i in self._constant]
        self._spread = np.full((len(bins), max((len(b) for b in bins), default=1)), self.width, np.int64)
        for row, indices in zip(self._spread, bins, strict=True):
            row[: len(indices)] = indices

    def _lay_out(self, owner: int, subject: Subject) -> Iterator[_Cell]:
        begin, nowhere = int(self._starts[owner]), self.width
        end = begin + subject.width
        rows, values, counts = int(subject.counts.sum()), subject.n, subject.counts
        yield _Cell(owner, "missing", end - 2, nowhere, int(counts[-2]), rows)
        yield _Cell(owner, "type_error", end - 1, nowhere, int(counts[-1]), rows)
        if subject.numeric:
            yield _Cell(owner, "out_of_range", begin, end - 3, int(counts[0] + counts[-3]), values)
        elif subject.kind == "categorical":  # a boolean has no other category: any other value is a type error
            hits, rate = singles(subject)
            yield _Cell(owner, "unseen", end - 3, nowhere, hits, values, rate)
        bins = self._reference[self._bins(owner)]
        if (bins > 0).sum() > 1:
            yield _Cell(owner, "constant", nowhere, nowhere, int(bins.max()), values)

    def _bins(self, owner: int) -> NDArray[np.int64]:
        """The slots of a subject's bins or categories, without the extra ones."""
        subject = self.subjects[owner]
        first = int(self._starts[owner]) + int(subject.numeric)
        return np.arange(first, first + subject.bins)

    def test(self, counts: NDArray[np.int64]) -> CheckResults:
        """Test windows: int64[width] (one window) or int64[k, width], the subjects' slot vectors one after the other.

        Raises:
            ValueError: the vectors do not have the subjects' width.
        """
        counts = np.atleast_2d(np.asarray(counts, np.int64))
        if counts.ndim != 2 or counts.shape[1] != self.width:  # noqa: PLR2004  # windows x slots
            message = f"these subjects have {self.width} slots together, got counts of shape {counts.shape}"
            raise ValueError(message)
        padded = np.pad(counts, ((0, 0), (0, 1)))
        hits = padded[:, self._first] + padded[:, self._second]
        rows = np.add.reduceat(counts, self._starts, axis=1) if self.subjects else counts
        values = rows - counts[:, self._ends - 1] - counts[:, self._ends - 2]
        n = np.where(self._of_rows, rows[:, self._owner], values[:, self._owner])
        before = np.broadcast_to(self._hits, hits.shape).copy()
        # The reference's own minimum and maximum are among its values: one of the two stands in for a hit.
        before[:, self._range] = np.minimum(before[:, self._range] + 1, self._n[self._range])
        hits[:, self._constant] = padded[:, self._spread].max(axis=2)
        p = np.ones(hits.shape)
        at = self._fisher
        p[:, at] = rise_p_values(before[:, at], self._n[at], hits[:, at], n[:, at])
        at = self._unseen
        p[:, at] = novelty_p_values(self._hits[at], self._rate[at], self._n[at], hits[:, at], n[:, at])
        share_before = np.broadcast_to(self._hits / np.maximum(1, self._n), hits.shape).copy()
        stuck, which = np.nonzero((hits[:, self._constant] == n[:, self._constant]) & (n[:, self._constant] > 0))
        cell = self._constant[which]
        p[stuck, cell] = self._one_bin(which, n[stuck, cell], self._n[cell])
        share_before[stuck, cell] = self._reference[self._fullest(padded, stuck, which)] / self._n[cell]
        p[n < LEAST_N] = np.nan
        share = hits / np.maximum(1, n)
        return CheckResults(self, counts, hits, n, share, share_before, p, self._n < REFERENCE_RATIO * n)

    def _one_bin(self, which: NDArray[np.int64], n: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum over bins of C(r + n, n) / C(N + n, n), at most 1; one for each entry of `which`."""
        spread, n = self._spread[which], n[:, None]
        r, total = self._reference[spread], total[:, None]
        logs = gammaln(r + n + 1.0) - gammaln(r + 1.0) - gammaln(total + n + 1.0) + gammaln(total + 1.0)
        terms = np.where(spread < self.width, np.exp(logs), 0.0)
        found: NDArray[np.float64] = np.minimum(1.0, terms.sum(axis=1))
        return found

    def _fullest(
        self, padded: NDArray[np.int64], windows: NDArray[np.int64], which: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The slot of the fullest bin of a subject in a window."""
        spread = self._spread[which]
        at = padded[windows[:, None], spread].argmax(axis=1)
        found: NDArray[np.int64] = spread[np.arange(len(which)), at]
        return found

    def where(self, cell: int, counts: NDArray[np.int64]) -> tuple[tuple[str, float, float], ...]:
        """Where the hits of a cell lie in a window, int64[width]: (label, share of the reference, share of the window)."""
        owner, check = int(self._owner[cell]), self.cells[cell][1]
        subject, begin = self.subjects[owner], int(self._starts[owner])
        now = counts[begin : begin + subject.width]
        n, total = max(1, int(now[:-2].sum())), max(1, subject.n)
        if check == "out_of_range":
            low, high = (f"{v:.6g}" for v in (subject.edges[0], np.nextafter(subject.edges[-1], -np.inf)))
            sides = [(f"below {low}", 0), (f"above {high}", subject.bins + 1)]
        elif check == "constant":
            slots = self._bins(owner) - begin
            slot = int(slots[now[slots].argmax()])
            sides = [(_label(subject, slot - int(subject.numeric)), slot)]
        else:
            return ()
        return tuple((label, int(subject.counts[i]) / total, int(now[i]) / n) for label, i in sides)


def quality_test(subject: Subject, counts: NDArray[np.int64]) -> tuple[QualityResult, ...]:
    """Return the checks of one subject in one window, int64[subject.width].

    Raises:
        ValueError: the vector does not have the subject's width.
    """
    return tuple(Checks([subject]).test(counts))


def _label(subject: Subject, index: int) -> str:
    """A bin or category as text: "de", "= 4", "4 to 5"."""
    if not subject.numeric:
        return subject.categories[index]
    low, high = float(subject.edges[index]), float(subject.edges[index + 1])
    return f"= {low:.6g}" if high == np.nextafter(low, np.inf) else f"{low:.6g} to {high:.6g}"
