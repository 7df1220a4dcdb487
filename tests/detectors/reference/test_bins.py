"""Frozen bins and slots: laws, and a naive oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.reference import Reference, Subject
from detectors.reference.bins import equal_mass_edges
from tests.oracle.slots import slot

NUMBERS = st.one_of(st.floats(-1e12, 1e12), st.integers(-5, 5).map(float), st.sampled_from([0.0, -0.0, 5e-324, 1e300]))


def subject(values: object, **options: object) -> Subject:
    return Reference.build({"x": values}, **options).features[0]  # type: ignore[arg-type]


@given(st.lists(NUMBERS, min_size=1, max_size=300), st.sampled_from([1, 3, 10, 100]))
def test_edges_ascend_and_every_reference_value_lies_in_a_bin_with_mass(values: list[float], max_bins: int) -> None:
    edges = equal_mass_edges(np.array(values), max_bins)
    assert edges[0] == min(values)
    assert edges[-1] == np.nextafter(max(values), np.inf)
    assert (np.diff(edges) > 0).all()
    counts, _ = np.histogram(values, edges)  # numpy closes the last bin; nothing lies on its end
    assert counts.sum() == len(values)
    assert (counts > 0).all()


@given(st.lists(st.integers(0, 30), min_size=200, max_size=400))
def test_an_atom_has_a_bin_of_its_own(values: list[int]) -> None:
    edges = equal_mass_edges(np.array(values, float), 20)
    found, counts = np.unique(values, return_counts=True)
    for value in found[counts > len(values) / 20]:
        at = int(np.searchsorted(edges, value, side="right")) - 1
        assert edges[at] == value
        assert ((found >= edges[at]) & (found < edges[at + 1])).sum() == 1


def test_the_zeros_of_a_zero_inflated_feature_end_right_behind_zero() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(10_000) < 0.9, 0.0, rng.exponential(size=10_000))
    found = subject(values)
    assert found.edges[:2].tolist() == [0.0, 5e-324]
    assert found.counts[1] == (values == 0).sum()
    assert 9 <= found.bins - 1 <= 11  # a tenth of the mass lies elsewhere: a tenth of the bins
    assert found.counts[2:-3].max() < 1.3 * found.counts[2:-3].min() + 2


def test_a_continuous_feature_has_a_hundred_bins_of_equal_mass() -> None:
    found = subject(np.random.default_rng(1).lognormal(size=50_000))
    assert found.bins == 100
    assert set(found.counts[1:-3].tolist()) == {500}


def test_a_constant_has_one_bin() -> None:
    found = subject([2.5] * 7)
    assert found.constant
    assert found.edges.tolist() == [2.5, math.nextafter(2.5, math.inf)]
    assert found.counts.tolist() == [0, 7, 0, 0, 0]


@given(
    st.lists(NUMBERS, min_size=1, max_size=100),
    st.lists(st.one_of(NUMBERS, st.none(), st.just(math.nan), st.booleans(), st.just("text")), max_size=60),
)
def test_numeric_slots_are_those_of_the_naive_oracle(reference: list[float], values: list[object]) -> None:
    found = subject(reference, max_bins=10)
    # Edge values and their neighbours are where binary search and a scan could differ.
    values = [*values, *found.edges.tolist(), *np.nextafter(found.edges, -np.inf).tolist(), "text"]
    expected = np.bincount([slot(found, v) for v in values], minlength=found.width)
    assert found.slots_of(values).tolist() == expected.tolist()


@given(
    st.lists(st.sampled_from(["a", "b", "1", "true", ""]), min_size=1),
    st.lists(st.one_of(st.none(), st.text(max_size=2), st.integers(0, 2), st.sampled_from([1.0, 0.5, True]))),
)
def test_categorical_slots_are_those_of_the_naive_oracle(reference: list[str], values: list[object]) -> None:
    found = subject(reference)
    expected = np.bincount([slot(found, v) for v in values], minlength=found.width)
    assert found.slots_of(values).tolist() == expected.tolist()


def test_categories_beyond_200_are_others_and_beyond_10200_unseen() -> None:
    names = [f"{i:05d}" for i in range(10_500)]
    found = subject([*names[::-1], *names[:200]])
    assert found.categories == tuple(names[:200])
    assert found.others == tuple(names[200:10_200])
    assert found.counts[200:].tolist() == [10_000, 300, 0, 0]
    assert found.slots_of(["00000", "00201", "10300", None])[[0, 200, 201, 202]].tolist() == [1, 1, 1, 1]


def test_a_boolean_always_has_both_of_its_values() -> None:
    found = subject([True, True, None])
    assert (found.kind, found.categories) == ("boolean", ("false", "true"))
    assert found.counts.tolist() == [0, 2, 0, 0, 1, 0]
    assert found.slots_of([False, "true", 1, "maybe", 2]).tolist() == [1, 2, 0, 0, 0, 2]


@pytest.mark.parametrize(
    "content",
    [
        {"edges": [1.0]},
        {"edges": [2.0, 1.0]},
        {"edges": [0.0, math.inf]},
        {"kind": "colour"},
        {"counts": [1, 2]},
        {"counts": [0, -1, 0, 0, 0]},
    ],
)
def test_a_subject_that_contradicts_itself_is_refused(content: dict[str, object]) -> None:
    good = {
        "name": "x",
        "kind": "numeric",
        "edges": [0.0, 1.0],
        "categories": [],
        "others": [],
        "counts": [0, 1, 0, 0, 0],
    }
    assert Subject.from_dict(good).bins == 1
    with pytest.raises(ValueError, match="x"):
        Subject.from_dict(good | content)
