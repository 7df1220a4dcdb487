"""Statistics of two samples with one fault each, by the name of the law that they break."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.drift import hellinger, jensen_shannon, ks
from detectors.registry import TwoSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.drift.result import Counts, DriftResult


def altered(base: Callable[[Counts, Counts], DriftResult], change: Callable[..., DriftResult]) -> Any:  # noqa: ANN401
    """A statistic whose result is changed: change(found, reference, current)."""
    return lambda reference, current: change(base(reference, current), reference, current)


def grown(found: DriftResult, by: float) -> DriftResult:
    """A result whose effect is multiplied."""
    return replace(found, effect_size=found.effect_size * by)


def drifting() -> Callable[[Counts, Counts], DriftResult]:
    """A statistic that remembers how often it was asked."""
    asked = [0]

    def test(reference: Counts, current: Counts) -> DriftResult:
        asked[0] += 1
        found = jensen_shannon(reference, current)
        return replace(found, p_value=found.p_value / (1 + asked[0] / 1000))

    return test


def by_place(reference: Counts, current: Counts) -> DriftResult:
    """A distance that looks at the upper bins more closely."""
    found = ks(reference, current)
    p, q = np.asarray(reference) / np.sum(reference), np.asarray(current) / np.sum(current)
    distance = float(np.abs(p - q) @ np.arange(len(p)) / len(p))
    return replace(found, statistic=distance, effect_size=distance)


def forgiving(reference: Counts, current: Counts) -> DriftResult:
    """A statistic that makes counts of everything."""
    n = min(np.size(reference), np.size(current))
    cleaned = (np.abs(np.nan_to_num(np.asarray(c, float).reshape(-1)[:n], posinf=0.0)) for c in (reference, current))
    return jensen_shannon(*cleaned)


def narrow(reference: Counts, current: Counts) -> DriftResult:
    """A statistic that computes in whatever type it is given."""
    with np.errstate(over="ignore"):
        product = np.asarray(reference) * np.asarray(current)
    return replace(jensen_shannon(reference, current), p_value=float(product.max()) / 1e9)


UNORDERED = TwoSample("broken", "", jensen_shannon, unordered=True, largest=1.0)
STATISTICS: dict[str, TwoSample] = {
    "the_result_has_plain_numbers_in_their_ranges": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, *_: replace(f, statistic=np.float64(f.statistic)))
    ),
    "equal_shares_are_no_difference": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, *_: replace(f, statistic=f.statistic + 0.01))
    ),
    "an_empty_sample_is_nothing_to_compare": replace(
        UNORDERED,
        test=altered(jensen_shannon, lambda f, r, c: f if np.sum(r) and np.sum(c) else replace(f, p_value=0.0)),
    ),
    "a_single_bin_is_no_difference": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, r, _: f if len(r) > 1 else replace(f, p_value=0.0))
    ),
    "what_is_no_pair_of_counts_is_refused": replace(UNORDERED, test=forgiving),
    "the_type_of_integer_does_not_matter": replace(UNORDERED, test=narrow),
    "the_same_counts_give_the_same_answer_and_are_left_alone": replace(UNORDERED, test=drifting()),
    "panes_add_up_to_the_window": replace(UNORDERED, test=drifting()),
    "reading_the_bins_from_the_other_end_gives_the_same_distance": replace(UNORDERED, test=by_place, unordered=False),
    "unordered_means_any_order_of_the_bins": replace(UNORDERED, test=ks),
    "ordered_means_that_farther_is_more": replace(UNORDERED, test=hellinger, unordered=False),
    "the_bins_named_are_those_that_moved_most": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, *_: replace(f, bins=f.bins[::-1]))
    ),
    "the_effect_does_not_depend_on_the_size_of_the_reference": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, r, _: grown(f, float(np.log(1 + np.sum(r)))))
    ),
    "the_effect_does_not_depend_on_the_size_of_the_window": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, _, c: grown(f, float(np.log(1 + np.sum(c)))))
    ),
    "a_gross_change_is_seen": replace(UNORDERED, test=altered(jensen_shannon, lambda f, *_: replace(f, p_value=1.0))),
    "without_drift_small_p_values_are_as_rare_as_they_say": replace(
        UNORDERED, test=altered(jensen_shannon, lambda f, *_: replace(f, p_value=f.p_value**2))
    ),
}
