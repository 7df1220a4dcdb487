"""Distinct: registers as binary digits say, and the stated error over many seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches import Distinct, category_hash
from tests.oracle.sketches import registers

HASHES = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20))


@settings(deadline=None)  # the first example loads the compiled loop
@given(st.lists(HASHES, max_size=50), st.sampled_from([6, 8, 12]))
def test_registers_are_those_of_the_oracle(hashes: list[int], precision: int) -> None:
    sketch = Distinct(precision)
    sketch.update(np.array(hashes, np.uint64))
    assert sketch._registers.tolist() == registers(hashes, precision)  # noqa: SLF001  # the state is the point


@pytest.mark.parametrize("precision", [6, 8, 16])
def test_registers_of_a_long_stream_are_those_of_the_oracle(precision: int) -> None:
    hashes = np.random.default_rng(precision).integers(0, 2**64, 20_000, np.uint64)
    sketch = Distinct(precision)
    sketch.update(hashes)
    assert sketch._registers.tolist() == registers(hashes.tolist(), precision)  # noqa: SLF001  # the state is the point


@pytest.mark.parametrize("precision", [6, 8])
@pytest.mark.parametrize("true", [1, 5, 50, 200, 700, 2_000, 100_000])
def test_the_estimate_has_the_stated_bias_and_error(precision: int, true: int) -> None:
    repeats = 400 if true < 10_000 else 100
    rng = np.random.default_rng(true)
    errors = np.empty(repeats)
    for i in range(repeats):
        sketch = Distinct(precision)
        sketch.update(rng.integers(0, 2**64, true, np.uint64))
        errors[i] = sketch.estimate() / true - 1
    # Four standard errors of a mean, and of a standard deviation (1 / sqrt(2 n) of it).
    noise = 4 * sketch.standard_error / math.sqrt(repeats)
    assert -noise <= errors.mean() <= 1.079 / 2**precision + noise
    assert math.sqrt((errors**2).mean()) <= sketch.standard_error * (1 + 4 / math.sqrt(2 * repeats))


def test_256_registers_have_an_error_of_six_and_a_half_percent() -> None:
    assert Distinct().standard_error == 0.065
    assert len(Distinct().to_bytes()) == 14 + 1 + 256


def test_plain_counters_do_as_hashes() -> None:
    sketch = Distinct()
    sketch.update(np.arange(10_000, dtype=np.uint64))
    assert sketch.estimate() == pytest.approx(10_000, rel=3 * 0.065)


def test_repeats_and_missing_values_change_nothing() -> None:
    once, often = Distinct(), Distinct()
    once.update(["a", 1, True])
    often.update(["a", 1, True, None, math.nan] * 50)
    often = often.merge(often)
    assert once == often
    assert round(once.estimate()) == 3
    assert Distinct().estimate() == 0


def test_a_category_is_its_text() -> None:
    assert category_hash(1) == category_hash(1.0) == category_hash("1") == category_hash(np.int64(1))
    yes = True
    assert category_hash(yes) == category_hash("true") != category_hash(1)
    assert category_hash("").to_bytes(8, "little").hex() == "e4a6a0577479b2b4"  # what `b2sum -l 64 /dev/null` prints
    assert category_hash("\ud800") != category_hash("?")


def test_full_registers_estimate_infinity_and_nothing_raises() -> None:
    sketch = Distinct(6)
    sketch._registers[:] = 59  # noqa: SLF001  # what no stream reaches
    assert sketch.estimate() == math.inf


@pytest.mark.parametrize("precision", [5, 17])
def test_other_precisions_are_refused(precision: int) -> None:
    with pytest.raises(ValueError, match="between 6 and 16"):
        Distinct(precision)


@pytest.mark.parametrize("wrong", [[["a"]], [{"a": 1}], [b"a"], [object()]])
def test_what_is_no_category_is_refused_and_nothing_is_counted(wrong: list[object]) -> None:
    sketch = Distinct()
    with pytest.raises(ValueError, match="category"):
        sketch.update(["a", *wrong])  # type: ignore[list-item]  # what is no category is refused
    assert sketch == Distinct()
