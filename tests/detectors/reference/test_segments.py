"""Segments in a reference: what each part holds is what a table of its rows alone gives, in the bins of the whole."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from detectors.decisions import Budget, compile_rule
from detectors.performance import merge
from detectors.reference import Reference
from detectors.reference.segments import MISSING, OTHER, blank, value_text
from schemas.errors import ReferenceMismatch

N = 3000
DAY = 86_400_000


def table() -> dict[str, list[Any]]:
    rng = np.random.default_rng(3)
    country = rng.choice(["de", "fr", "it", "uk"], N, p=[0.5, 0.3, 0.15, 0.05])
    return {
        "amount": rng.normal(size=N).tolist(),
        "country": [None if i % 100 == 0 else c for i, c in enumerate(country)],
        "known": (rng.random(N) < 0.5).tolist(),
        "prediction": rng.choice(["yes", "no"], N).tolist(),
        "score": rng.random(N).tolist(),
        "label": rng.choice(["yes", "no"], N).tolist(),
        "event_time": (1_767_225_600_000 + np.arange(N) * 100_000).tolist(),
    }


@cache
def built() -> Reference:
    return Reference.build(
        table(), task="binary", positive_class="yes", segments=["country", ["country", "known"]], segment_values=3
    )


def rows_of(segment: str) -> list[int]:
    """The rows of a segment, by its text; written from the page."""
    data = table()
    order = ["de", "fr", "it"]
    found = []
    for i, (country, known) in enumerate(zip(data["country"], data["known"], strict=True)):
        one = MISSING if country is None else country if country in order else OTHER
        pair = (MISSING, MISSING) if country is None else (country, str(known).lower())
        # the three most frequent pairs of this table are those of de, and of fr with one value of known
        top = sorted(PAIRS, key=lambda p: (-PAIRS[p], p))[:3]
        pair = pair if pair in {*top, (MISSING, MISSING)} else (OTHER, OTHER)
        if segment in {f"country={one}", f"country={pair[0]},known={pair[1]}"}:
            found.append(i)
    return found


PAIRS: dict[tuple[str, str], int] = {}
for _country, _known in zip(table()["country"], table()["known"], strict=True):
    if _country is not None:
        PAIRS[_country, str(_known).lower()] = PAIRS.get((_country, str(_known).lower()), 0) + 1


def test_every_row_is_in_one_part_of_each_definition() -> None:
    for names in (1, 2):
        parts = [p for k, p in built().segments.items() if k.count("=") == names]
        assert sum(p.rows for p in parts) == N
        assert len(parts) == 5
        for i, subject in enumerate(built().subjects):
            assert_array_equal(sum(p.subjects[i].counts for p in parts), subject.counts)
        whole = built().outcomes
        assert whole is not None
        assert_array_equal(merge(*(p.outcomes for p in parts if p.outcomes is not None)), merge(whole))


@pytest.mark.parametrize("segment", list(built().segments))
def test_a_part_counts_its_rows_in_the_bins_of_the_whole(segment: str) -> None:
    rows, part, data = rows_of(segment), built().of_segment(segment), table()
    assert part.rows == len(rows)
    assert part.shape_hash == built().shape_hash
    assert part.content_hash != built().content_hash
    for subject in (*built().subjects, built().label):
        assert subject is not None
        mine = next(s for s in (*part.subjects, part.label) if s is not None and s.name == subject.name)
        assert_array_equal(mine.counts, subject.slots_of([data[subject.name][i] for i in rows]))
    times = [data["event_time"][i] for i in rows]
    assert part.span == (min(times), max(times))


def test_a_reference_with_segments_reads_back_with_all_of_them() -> None:
    again = Reference.from_json(built().to_json())
    assert again == built()
    assert {k: p.content_hash for k, p in again.segments.items()} == {
        k: p.content_hash for k, p in built().segments.items()
    }
    assert built().of_segment("") is built()


def test_what_the_table_did_not_hold_is_compared_with_nothing() -> None:
    nothing = built().of_segment("country=xx")
    assert nothing is blank(built())
    assert (nothing.rows, nothing.outcomes, nothing.ordinary, nothing.shape_hash) == (0, None, None, built().shape_hash)
    rule = compile_rule(nothing, range(len(nothing.subjects)), Budget.parse("1 per 30d"), 600_000)
    judged = rule.judge({1: [s.counts for s in built().subjects]}, 0)
    assert [(j.rejected, j.p_value) for j in judged] == [(False, None)] * len(judged)


@pytest.mark.parametrize("segments", [["nowhere"], [[]], [["country", "country"]]])
def test_segments_of_no_such_columns_are_refused(segments: list[Any]) -> None:
    with pytest.raises(ReferenceMismatch):
        Reference.build(table(), task="binary", positive_class="yes", segments=segments)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[("de", "de"), ("", MISSING), (None, MISSING), (3, "3"), (3.0, "3"), (2.5, MISSING), (True, "true")],
        *[([1], MISSING), (float("nan"), MISSING), (float("inf"), MISSING), ("x" * 257, OTHER), (1e300, OTHER)],
    ],
)
def test_the_text_of_a_value(value: object, text: str) -> None:
    assert value_text(value) == text
