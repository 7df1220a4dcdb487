"""Real data: the New South Wales electricity market, in which three columns come to life at row 17,424."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from detectors.drift import CellResult, cell_test
from detectors.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

WEEK = 7 * 48
COMES_TO_LIFE = 17_424
EPOCH_WEEK_START = 2 * 48  # 1996-05-07 is a Tuesday, weeks counted from 1970-01-01 begin on Thursdays


def judged(table: pl.DataFrame, reference: Reference, first: int) -> dict[str, CellResult]:
    window = table.slice(first, WEEK)
    return {s.name: cell_test(s, s.slots_of(window[s.name].to_numpy())) for s in reference.features}


def test_the_columns_that_come_to_life_rank_above_all_others(shared_data: Path) -> None:
    table = pl.read_csv(shared_data / "elec2.csv.gz")
    reference = Reference.build(table.head(8736), label="class", ignore=["date"])
    alive = {"vicprice", "vicdemand", "transfer"}
    assert {s.name for s in reference.features if s.constant} == alive
    before = COMES_TO_LIFE - WEEK - (COMES_TO_LIFE - EPOCH_WEEK_START) % WEEK
    quiet = judged(table, reference, before)
    assert {quiet[name].p_value for name in alive} == {1.0}
    for after in (COMES_TO_LIFE, before + 2 * WEEK):
        found = judged(table, reference, after)
        assert min(found[name].effect_size for name in alive) >= 15
        assert max(found[name].effect_size for name in found if name not in alive) < 1
        assert max(found[name].p_value or 0.0 for name in alive) < 1e-100
