"""Performance before the labels are in: what a window's scores alone say about errors. Proxies, each with its blind spot.

Idea: labels come hours or weeks after the answers, scores come with them. Two figures of a window's score histogram (bins of
the reference) move when the model gets into cases that it finds hard:

- `low_confidence`: the share of scores in the band around the decision boundary. The boundary is where the reference's answers
  change from one class to the other; the band is made of the bins nearest to it that together hold a tenth of the reference.
- `estimated_error_rate`: the errors to be expected if scores mean what they meant in the reference,

      sum over bins b of (window's share of b) * P(wrong | b),   P(wrong | b) = wrong answers / labelled answers in the reference

  which is the idea of confidence-based performance estimation (CBPE), with the reference's own labels in place of a fitted
  calibration map. Bins are joined until each holds 10 labels. Scores beyond the reference's range count as the
  outermost bin, and `outside` says how many there are. No area under a curve is estimated: it needs the order of scores within
  the bins, which the reference keeps as coarse as the window.

Tests, both one-sided ("has not risen"): Fisher's exact test of the share (`detectors.shares`); for the estimate the difference
of the two mean weights over its permutation error, with a gamma tail of the same skewness, and the labels' own noise added.
Where the reference has times, a window is compared with the same hour (`detectors.reference.ordinary`), and counts for fewer
rows where the score's level wanders more than independent rows would: by 1 + 2 (phi - 1) with the phi of Anderson-Darling's
statistic, which has half of its weight on the level. The standard error of the estimate is that of the window's error rate
around it once all labels are in: the noise of the reference's labels, and the coin that each label of the window still is.

Guarantee: by simulation, on independent rows like the reference's, each reference met by four windows only (`python -m loadtest
levels --only proxies --scale 0.15`: 9,000 windows in each of twelve cases, of 50 to 5,000 rows, references of 2 to 100 times as
many, two shapes of scores): P(p <= a) is at most a at 0.05, 1.1 a (standard error 0.1) at 0.01; at 0.001 it is 0.65 a on average,
the highest of 24 figures 1.7 a (0.5). Below 0.001 so many windows say nothing. It is the probability over references: windows
against one share its sampling error. Fisher's test is not exact here, for the band is chosen on the reference's own scores.
While P(wrong | score) is that of the reference, the estimate has no bias beyond the width of its bins.

When not to use it: instead of labels. **A change of what the scores mean is invisible to both**: if every label turns round
(concept drift) nothing moves here, and the estimate stays at the old error rate. `detectors.performance.calibration_drift`
sees that, from the first labels. A model that is sure of itself on unknown ground is invisible too. Not where answers are no
threshold on the score (a second rule behind the model): there is no boundary then, and `low_confidence` is None.

Cost: 80 us for both (the command stands in docs/detectors/proxies.md); compiled from a reference in 1 ms. No state; merge: the
histograms add up exactly over panes and partitions.

References: Garg, Balakrishnan, Lipton, Neyshabur & Sedghi 2022, ICLR (leveraging unlabeled data to predict out-of-distribution
performance; the share beyond a threshold of confidence); Guillory, Shankar, Ebrahimi, Darrell & Schmidt 2021, ICCV (differences
of confidences); CBPE as described in NannyML's documentation. The exact test, the pooling and the errors are ours.

>>> import numpy as np
>>> from detectors.reference import Reference
>>> rng = np.random.default_rng(1)
>>> score = rng.beta(0.5, 0.5, 20_000)
>>> answer = np.where(score > 0.5, "yes", "no")
>>> truth = np.where(rng.random(20_000) < score, "yes", "no")
>>> table = {"x": score, "score": score, "prediction": answer, "label": truth}
>>> reference = Reference.build(table, task="binary", positive_class="yes")
>>> proxies = ScoreProxies.of(reference)
>>> round(proxies.boundary, 1), [round(edge, 1) for edge in proxies.band]
(0.5, [0.4, 0.6])
>>> unsure = reference.score.slots_of(rng.beta(1.0, 1.0, 1000))
>>> for found in (proxies.low_confidence(unsure), proxies.estimated_error_rate(unsure)):
...     print(f"{found.value:.2f}, in the reference {found.reference_value:.2f}, p < 1e-6: {found.p_value < 1e-6}")
0.15, in the reference 0.10, p < 1e-6: True
0.25, in the reference 0.18, p < 1e-6: True
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammaincc, ndtr

from detectors.reference.ordinary import HOUR_MS, positions, slots_at
from detectors.shares import rise_p_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.reference import Reference
    from detectors.reference.ordinary import Habit, Season

BAND: Final = 0.1
"""Share of the reference that the band of low confidence holds: less has too few rows in a window to test, more is no longer
near the boundary."""
WIDEST_BAND: Final = 0.3
"""A band of more than this is none: the scores have too few values, so that the nearest ones are most of them."""
MOST_AGAINST: Final = 0.05
"""Share of the reference's rows that may be answered against the boundary: more, and answers are no threshold on the score."""
LEAST_LABELS: Final = 10
"""Labels a bin needs for its own P(wrong); neighbours are joined until they have them."""
LEAST_LABELLED: Final = 200
"""Labelled scores from which a reference can say how often which score is wrong."""
LEAST_N: Final = 50
"""Scores of a window below which nothing is tested, as everywhere ("insufficient data")."""
_LEAST: Final = 2
"""Bins that a boundary can lie between."""
_LOCATION: Final = 2.0
"""1 over the weight of the level in Anderson-Darling's statistic, 1 / (1 * 2)."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy of a window: its value and that of the reference (of the same hour, where hours differ).

    `standard_error` is that of the value, `n` the scores it rests on, `p_value` of "it has not risen" (1.0 below `LEAST_N`), `outside`
    the share of scores beyond the reference's range.
    """

    name: str
    value: float
    reference_value: float
    standard_error: float
    n: int
    p_value: float
    outside: float


@dataclass(frozen=True, slots=True, eq=False)
class _Weighted:
    """A mean weight of score slots: the weights, and by slot of the season the reference's rows and its three moments."""

    weights: NDArray[np.float64]
    rows: NDArray[np.int64]
    moments: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreProxies:
    """What a reference says about the scores of a window, compiled once by `of`.

    `boundary` is the score where answers change, `band` the lowest and highest score of the band of low confidence and `share` what
    the reference has in it; all None where answers are no threshold on the score. `rate` is the expected error rate of the
    reference's own scores, None where it has too few labels.
    """

    boundary: float | None
    band: tuple[float, float] | None
    share: float | None
    rate: float | None
    phi: float
    season: Season
    slot_ms: int
    _near: _Weighted | None
    _wrong: _Weighted | None
    _group: NDArray[np.int64]
    _noise: NDArray[np.float64]
    _usual: NDArray[np.float64]

    @classmethod
    def of(cls, reference: Reference) -> ScoreProxies | None:
        """Return the proxies of a reference; None without scores, or when it was built before it kept what went with them."""
        subject, scored = reference.score, reference.scored
        if subject is None or scored is None or subject.n < LEAST_N:
            return None
        habit = None if reference.ordinary is None else reference.ordinary.subjects[len(reference.subjects) - 1]
        counts = subject.counts
        split = _boundary(counts[1:-3], scored[0, 1:-3])
        band = None if split is None else _band(counts[1:-3], subject.edges, split)
        wrong, group, noise = _wrong_rates(scored, subject.width)
        near = None
        if band is not None:
            inside = np.zeros(subject.width)
            inside[1 + band[0] : 1 + band[1]] = 1.0
            near = _weighted(inside, reference, habit)
        errors = None if wrong is None else _weighted(wrong, reference, habit)
        present = counts[:-2] / counts[:-2].sum()
        window_ms = HOUR_MS if reference.ordinary is None else reference.ordinary.window_ms
        return cls(
            boundary=None if split is None or band is None else float(subject.edges[split]),
            band=None if band is None else (float(subject.edges[band[0]]), float(subject.edges[band[1]])),
            share=None if near is None else float(present @ near.weights[:-2]),
            rate=None if errors is None else float(present @ errors.weights[:-2]),
            phi=1.0 if habit is None else 1 + _LOCATION * max(0.0, habit.spread[0][0] - 1),
            season="none" if habit is None else habit.season,
            slot_ms=max(HOUR_MS, window_ms),
            _near=near,
            _wrong=errors,
            _group=group,
            _noise=noise,
            _usual=np.bincount(group, present).astype(np.float64),
        )

    def low_confidence(self, slots: NDArray[np.int64], start_ms: int = 0) -> Proxy | None:
        """Return the share of low-confidence answers in the score's slot vector of a window that starts at `start_ms`.

        None without a boundary, or without a score in the window.

        Raises:
            ValueError: the vector is not that of the reference's score.
        """
        if self._near is None or not (n := self._present(slots)):
            return None
        hits = int(slots[self._near.weights > 0].sum())
        at = self._slot(start_ms)
        rows = int(self._near.rows[at])
        expected = float(self._near.moments[at, 0])
        p_value = 1.0
        if n >= LEAST_N:
            # Rows that resemble each other count for fewer; rounded towards the null.
            known = min(rows, round(expected * rows))
            fewer, of = math.floor(hits / self.phi), math.ceil(n / self.phi)
            p_value = float(rise_p_values(known, rows, fewer, of))
        share = hits / n
        error = math.sqrt(share * (1 - share) * self.phi / n)
        return Proxy("low_confidence", share, expected, error, n, p_value, self._outside(slots))

    def estimated_error_rate(self, slots: NDArray[np.int64], start_ms: int = 0) -> Proxy | None:
        """Return the error rate to expect of a window whose score's slot vector this is; it starts at `start_ms`.

        None when the reference has too few labels, or the window has no score.

        Raises:
            ValueError: the vector is not that of the reference's score.
        """
        if self._wrong is None or not (n := self._present(slots)):
            return None
        now = slots[:-2] / n
        weights = self._wrong.weights[:-2]
        moments = np.array([now @ weights, now @ weights**2, now @ weights**3])
        at = self._slot(start_ms)
        rows, known = int(self._wrong.rows[at]), self._wrong.moments[at]
        labels = float(np.bincount(self._group, now) ** 2 @ self._noise)
        coins = float(now @ (weights * (1 - weights))) / n
        p_value = 1.0
        if n >= LEAST_N:
            shift = float((np.bincount(self._group, now) - self._usual) ** 2 @ self._noise)
            p_value = _rise(moments, n, known, rows, self.phi, shift)
        error = math.sqrt(labels + coins)
        return Proxy(
            "estimated_error_rate", float(moments[0]), float(known[0]), error, n, p_value, self._outside(slots)
        )

    def _present(self, slots: NDArray[np.int64]) -> int:
        """Return the number of scores of a slot vector."""
        if len(slots) != len(self._group) + 2:
            message = f"a slot vector of {len(self._group) + 2} counts is needed, got {len(slots)}"
            raise ValueError(message)
        return int(slots[:-2].sum())

    def _outside(self, slots: NDArray[np.int64]) -> float:
        return float(slots[0] + slots[-3]) / self._present(slots)

    def _slot(self, start_ms: int) -> int:
        return int(slots_at(self.season, self.slot_ms, np.array([start_ms], np.int64))[0])


def _boundary(counts: NDArray[np.int64], positive: NDArray[np.int64]) -> int | None:
    """Return the first bin that is answered with the positive class; None where there is no such threshold.

    Where fewer answers are of one class than an outermost bin holds (fraud), the boundary is the inner edge of that bin.
    `counts` are the reference's scores by bin, `positive` those of them answered with the positive class, both int64[B].
    """
    against = np.concatenate(([0], np.cumsum(positive))) + np.concatenate(
        (np.cumsum((counts - positive)[::-1])[::-1], [0])
    )
    split = int(np.argmin(against))
    if against[split] > MOST_AGAINST * counts.sum() or len(counts) < _LEAST or not 0 < positive.sum() < counts.sum():
        return None
    return min(max(split, 1), len(counts) - 1)


def _band(counts: NDArray[np.int64], edges: NDArray[np.float64], split: int) -> tuple[int, int] | None:
    """Return the first bin of the band around edge `split`, and the one behind its last; None where it would be too wide."""
    far = np.abs((edges[:-1] + edges[1:]) / 2 - edges[split])
    order = np.argsort(far, kind="stable")
    held = np.cumsum(counts[order]) / counts.sum()
    size = int(np.searchsorted(held, BAND)) + 1
    if held[size - 1] > WIDEST_BAND:
        return None
    chosen = order[:size]  # distances grow on both sides of the boundary, so these are neighbours
    return int(chosen.min()), int(chosen.max()) + 1


def _wrong_rates(
    scored: NDArray[np.int64], width: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64], NDArray[np.float64]]:
    """Return P(wrong) of each slot, the group of bins that each slot (of a score) belongs to, and the groups' variances.

    Slots beyond the range have those of the outermost bin. P(wrong) is None with fewer than `LEAST_LABELLED` labels.
    """
    labelled, wrong = scored[1, 1:-3], scored[3, 1:-3]
    group = np.zeros(len(labelled), np.int64)
    at, held = 0, 0
    for b, labels in enumerate(labelled.tolist()):
        if held >= LEAST_LABELS:
            at, held = at + 1, 0
        group[b] = at
        held += labels
    if held < LEAST_LABELS and at:
        group[group == at] = at - 1
    labels = np.bincount(group, labelled)
    rate = np.bincount(group, wrong) / np.maximum(labels, 1)
    # As if one more label of each kind had come in halves: a group without an error is not taken for certain.
    smooth = (np.bincount(group, wrong) + 0.5) / (labels + 1)
    noise = smooth * (1 - smooth) / np.maximum(labels, 1)
    padded = np.concatenate((group[:1], group, group[-1:]))
    weights = np.zeros(width)
    weights[:-2] = rate[padded]
    return (weights if labels.sum() >= LEAST_LABELLED else None), padded, noise


def _weighted(weights: NDArray[np.float64], reference: Reference, habit: Habit | None) -> _Weighted:
    """Return what the reference has of a mean weight, by hour where its hours differ.

    The reference keeps the hours on groups of bins; within a group, each bin has the share that it has in all of it.
    """
    subject = reference.score
    assert subject is not None  # noqa: S101  # `of` has looked; for the type checker
    powers = np.stack([weights, weights**2, weights**3])[:, :-2]
    counts = subject.counts[:-2]
    if habit is None or habit.season == "none":
        return _Weighted(weights, np.array([counts.sum()]), (powers @ counts / counts.sum())[None, :])
    # The first group begins below the range and the last one ends above it.
    first = np.concatenate(([0], positions(subject)[1:]))
    held = np.add.reduceat(counts, first)
    means = np.add.reduceat(powers * counts, first, axis=1) / np.maximum(held, 1)
    by_hour = habit.baseline
    rows = by_hour.sum(axis=1)
    return _Weighted(weights, rows, (by_hour @ means.T) / np.maximum(rows, 1)[:, None])


def _rise(now: NDArray[np.float64], n: int, was: NDArray[np.float64], rows: int, phi: float, shift: float) -> float:
    """Return the p-value of "the mean weight has not risen", from three moments of the window and of the reference.

    The permutation distribution of the difference has the pooled sample's variance and a known skewness; a gamma law with both has
    the right upper tail where few rows carry most of the weight. `shift` is the variance that the weights' own noise adds.
    """
    total = rows + n
    if not rows:
        return 1.0
    mean, square, cube = (rows * was + n * now) / total
    variance = float(square - mean * mean)
    change = float(now[0] - was[0])
    if change <= 0 or variance <= 0:
        return 1.0
    spread = variance * phi * total / (total - 1) * total / (n * rows)
    third = float(cube - 3 * mean * square + 2 * mean**3)
    part = n / total
    skew = third / variance**1.5 * (1 - 2 * part) / math.sqrt(n / phi * (1 - part)) * (spread / (spread + shift)) ** 1.5
    z = change / math.sqrt(spread + shift)
    if skew <= _NO_SKEW:  # a tail that is lighter than the normal one is not trusted
        return float(ndtr(-z))
    shape = 4 / (skew * skew)
    return float(gammaincc(shape, shape + z * math.sqrt(shape)))


_NO_SKEW: Final = 1e-3
"""Below this skewness the normal law is as right as the gamma law, whose shape of over 4 million would be slow."""
