"""The search without branches finds the bin that a scan over all edges finds, for every float."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import Bins
from detectors.sketches.binning import TABLE, bin_values, count_rows, count_values, search_table
from tests.oracle.sketches import slot

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PIECES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, math.inf, -math.inf, math.nan]


def hard_values(edges: np.ndarray) -> np.ndarray:
    """Every edge, its neighbours on both sides, and the floats that are special."""
    with np.errstate(over="ignore"):
        return np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), PIECES])


def scanned(edges: np.ndarray, values: np.ndarray) -> list[int]:
    return [slot(edges.tolist(), v) for v in values.tolist()]


@settings(deadline=None)  # the first example loads the compiled loops
@given(
    st.lists(FLOATS, min_size=1, max_size=TABLE + 45, unique_by=lambda x: x + 0.0), st.lists(st.floats(), max_size=30)
)
def test_slots_are_those_of_a_scan(edges: list[float], values: list[float]) -> None:
    ascending = np.array(sorted(edges))
    asked = np.concatenate([hard_values(ascending), values])
    slots = np.empty(len(asked), np.int64)
    bin_values(search_table(ascending), len(ascending), asked, slots)
    assert slots.tolist() == scanned(ascending, asked)


@pytest.mark.parametrize("size", [2, 3, 101, TABLE - 1, TABLE, TABLE + 1, 400])
def test_any_number_of_bins_and_bins_one_ulp_wide(size: int) -> None:
    steps = [1.0]
    for _ in range(size - 1):
        steps.append(math.nextafter(steps[-1], math.inf))
    edges = np.array(steps)
    asked = hard_values(edges)
    assert Bins(edges).slots(asked).tolist() == scanned(edges, asked)
    counts = np.zeros(size + 2, np.int64)
    count_values(search_table(edges), size, asked, counts)
    assert counts.tolist() == np.bincount(scanned(edges, asked), minlength=size + 2).tolist()


def test_a_million_values_fall_where_numpy_says() -> None:
    rng = np.random.default_rng(3)
    edges = np.unique(rng.lognormal(size=101))
    values = rng.lognormal(size=1_000_000)
    assert np.array_equal(Bins(edges).slots(values), np.searchsorted(edges, values, side="right"))


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 1_000])
def test_rows_of_a_matrix_count_like_its_columns_in_either_memory_order(rows: int) -> None:
    rng = np.random.default_rng(rows)
    features = [np.sort(rng.normal(size=size)) for size in (2, 101, TABLE)]
    matrix = rng.normal(size=(rows, 3))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    expected = np.zeros((3, TABLE + 2), np.int64)
    for j, edges in enumerate(features):
        expected[j, : len(edges) + 2] = np.bincount(scanned(edges, matrix[:, j]), minlength=len(edges) + 2)
    tables, sizes = np.stack([search_table(e) for e in features]), np.array([len(e) for e in features])
    for laid_out in (np.ascontiguousarray(matrix), np.asfortranarray(matrix)):
        counts = np.zeros((3, TABLE + 2), np.int64)
        count_rows(tables, sizes, laid_out, counts)
        assert counts.tolist() == expected.tolist()


def test_none_and_nan_are_missing_and_text_is_refused() -> None:
    bins = Bins(np.array([0.0, 1.0]))
    assert bins.slots([None, math.nan, -math.inf, math.inf, -0.0, True]).tolist() == [3, 3, 0, 2, 1, 2]
    assert bins.slots([]).tolist() == []
    for wrong in (["1.0"], [1j], np.array(["a"]), [[1.0]], [10**400]):
        with pytest.raises(ValueError, match=r"batch|dimension|sequence|inhomogeneous"):
            bins.slots(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("edges", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, math.inf], [math.nan, 1.0], [[0.0, 1.0]]])
def test_edges_that_make_no_bins_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="edges"):
        Bins(np.array(edges))


def test_bins_are_equal_when_their_edges_are_and_cannot_be_written() -> None:
    one, same = Bins(np.array([-0.0, 1.0])), Bins(np.array([0.0, 1.0]))
    assert (one, hash(one), one.fingerprint) == (same, hash(same), same.fingerprint)
    assert one != Bins(np.array([0.0, 2.0]))
    with pytest.raises(ValueError, match="read-only"):
        one.edges[0] = 5.0
