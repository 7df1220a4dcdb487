"""HeavyHitters: the sample is the smallest mixed ids, and says what a sample of that size can say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import HeavyHitters, category_hash
from tests.oracle.sketches import binomial_tail, bottom

PAIRS = st.lists(st.tuples(st.one_of(st.integers(0, 30), st.integers(0, 2**64 - 1)), st.integers(0, 3)), max_size=80)


@settings(deadline=None)  # the first example loads the compiled loop
@given(PAIRS, st.integers(1, 20), st.integers(1, 30))
def test_the_sample_is_that_of_the_oracle_however_batches_are_cut(
    pairs: list[tuple[int, int]], size: int, batch: int
) -> None:
    sketch = HeavyHitters(size)
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        sketch.update(np.array([c for _, c in part], np.uint64), rows=[row for row, _ in part])
    expected = bottom(pairs, size)
    assert list(zip(sketch._ranks.tolist(), sketch._categories.tolist(), strict=True)) == expected  # noqa: SLF001  # the state is the point
    assert (sketch.n, sketch.sampled) == (len(pairs), len(expected))


def stream(rng: np.random.Generator, rows: int, shares: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Categories 0, 1, ... with these shares, the rest each of its own, and ids of rows."""
    rest = 1_000 + np.arange(rows)
    edges = np.cumsum(shares)
    drawn = np.searchsorted(edges, rng.random(rows), side="right")
    return np.where(drawn < len(shares), drawn, rest).astype(np.uint64), rng.integers(0, 2**63, rows)


def test_heavy_categories_are_found_as_often_as_promised_and_bounds_cover() -> None:
    rng = np.random.default_rng(9)
    runs, found, covered = 600, 0, 0
    for _ in range(runs):
        sketch = HeavyHitters(64)
        categories, rows = stream(rng, 2_000, [0.25, 0.03])
        sketch.update(categories, rows=rows)
        hitters = {h.category: h for h in sketch.top(64)}
        found += 1 in hitters
        true = float((categories == 0).mean())
        covered += hitters[0].low <= true <= hitters[0].high
    promised = 1 - (1 - 0.03) ** 64  # 0.858
    assert found / runs >= promised - 4 * (promised * (1 - promised) / runs) ** 0.5
    assert covered / runs >= 0.95 - 4 * (0.95 * 0.05 / runs) ** 0.5


def test_plain_row_numbers_sample_evenly() -> None:
    sketch = HeavyHitters(256)
    sketch.update(np.repeat(np.array([1, 2], np.uint64), 50_000), rows=np.arange(100_000))
    assert sketch.top(1)[0].share == pytest.approx(0.5, abs=4 * 0.5 / 16)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    sketch = HeavyHitters(20)
    sketch.update(np.array([1] * 13 + [2] * 7 + [3] * 980, np.uint64), rows=np.arange(1_000))
    for hitter in sketch.top(confidence=0.9):
        entries = round(hitter.share * 20)
        assert binomial_tail(entries, 20, hitter.low) == pytest.approx(0.05)
        assert hitter.high == 1 or 1 - binomial_tail(entries + 1, 20, hitter.high) == pytest.approx(0.05)
    assert [h.category for h in sketch.top(1)] == [3]


def test_published_bounds_of_clopper_and_pearson() -> None:
    # 10 of 20 at 95 %: 0.272 to 0.728 (Clopper & Pearson 1934; in every table of exact binomial limits).
    sketch = HeavyHitters(20)
    sketch.update(np.array([1, 2] * 10, np.uint64), rows=np.arange(20))
    sketch.n = 21  # as if one more row had been seen
    first = sketch.top(1)[0]
    assert (round(first.low, 3), round(first.high, 3)) == (0.272, 0.728)


def test_up_to_its_size_the_sample_is_everything_and_exact() -> None:
    sketch = HeavyHitters(4)
    sketch.update(["b", "a", "b", None], rows=[1, 2, 3, 4])
    names = {category_hash(name): name for name in "ab"}
    assert sketch.exact
    assert [(h.name, h.share, h.low, h.high) for h in sketch.top(names=names)] == [
        ("b", 2 / 3, 2 / 3, 2 / 3),
        ("a", 1 / 3, 1 / 3, 1 / 3),
    ]
    sketch.update(["c", "c"], rows=[5, 6])
    assert not sketch.exact
    assert sketch.top(0) == []
    assert HeavyHitters().top() == []


def test_a_row_counted_twice_is_one_row_of_the_sample() -> None:
    once, twice = HeavyHitters(), HeavyHitters()
    once.update(["a", "b"], rows=[1, 2])
    twice.update(["a", "b", "a"], rows=[1, 2, 1])
    assert once.top() != twice.top()  # the shares of `twice` carry bounds: n is 3
    assert [h.share for h in once.top()] == [h.share for h in twice.top()]
    assert (once.sampled, twice.sampled, twice.n) == (2, 2, 3)


def test_only_hashes_are_kept() -> None:
    sketch = HeavyHitters()
    sketch.update(["a secret name"] * 3, rows=[1, 2, 3])
    assert b"secret" not in sketch.to_bytes()
    assert len(sketch.to_bytes()) == 14 + 12 + 3 * 16


@pytest.mark.parametrize(
    "rows", [[1], [1, 2, 3], [1, -1], [1, 2**64], [1.0, 2.0], np.array([-1, 2]), np.zeros((2, 1), int)]
)
def test_row_ids_that_are_none_are_refused_and_nothing_is_counted(rows: list[int]) -> None:
    sketch = HeavyHitters()
    with pytest.raises(ValueError, match=r"row id|dimension"):
        sketch.update(["a", "b"], rows=rows)
    assert sketch == HeavyHitters()


@pytest.mark.parametrize("size", [0, 2**16 + 1])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 65536"):
        HeavyHitters(size)


def test_questions_without_sense_are_refused() -> None:
    for wrong in ({"count": -1}, {"confidence": 0.0}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match="count >= 0"):
            HeavyHitters().top(**wrong)
