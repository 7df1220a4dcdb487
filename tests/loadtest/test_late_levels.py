"""``python -m loadtest levels``: the statistics of late labels keep their levels, in a short version of what the pages quote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detectors.performance import layout
from detectors.performance.calibration_drift import calibration_drift
from detectors.performance.proxies import ScoreProxies
from detectors.reference import Reference
from loadtest.__main__ import main
from loadtest.quality import late

if TYPE_CHECKING:
    from collections.abc import Iterator


def held(rows: Iterator[list[late.Row]]) -> None:
    seen = 0
    for row in (row for some in rows for row in some if row.level * row.trials >= 4):
        expected = row.level * row.trials
        assert row.factor * expected <= expected + 3.5 * np.sqrt(expected), row
        seen += 1
    assert seen


@pytest.mark.parametrize(("n", "known"), [(1_000, 10_000), (1_000, 2_000)])
def test_proxies_keep_their_level_over_references_long_and_short(
    n: int, known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "SIZES", ((n, known),))
    held(late.proxies(np.random.default_rng(2), 0.01))


@pytest.mark.parametrize(("n", "known"), [(1_000, 500), (30_000, 20_000), (30_000, 100_000)])
def test_calibration_drift_keeps_its_level_with_more_or_fewer_labels_than_the_reference(
    n: int, known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "LABELS", ((n, known),))
    held(late.calibration(np.random.default_rng(3), 0.02))


@pytest.mark.parametrize("world", ["scores that are off", "skewed errors", "three classes"])
def test_where_one_segment_is_nearly_all_its_small_rest_does_not_make_it_look_worse(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "WORLDS", {world: late.WORLDS[world]})
    monkeypatch.setattr(late, "SEGMENTS", {"3,000 beside 100": (3_000, 100)})
    monkeypatch.setattr(late, "CALLS", 300)
    held(late.worst(np.random.default_rng(4), 1.0))


def test_windows_against_one_short_reference_share_its_error_so_the_level_is_that_over_references() -> None:
    rng = np.random.default_rng(7)
    score = rng.beta(0.5, 0.5, 100_000)
    at = np.minimum(layout.SCORE_BINS - 1, (score * layout.SCORE_BINS).astype(np.int64))
    both, true = (np.bincount(at, w, layout.SCORE_BINS) / len(score) for w in (None, score))
    cells = np.concatenate((both - true, true))
    vectors = np.zeros((2, layout.width("binary", 2)), np.int64)
    rejected = np.zeros(120)
    for i in range(len(rejected)):
        vectors[0, layout.SCORES : layout.CLIPPED] = rng.multinomial(20_000, cells)
        for _ in range(20):
            vectors[1, layout.SCORES : layout.CLIPPED] = rng.multinomial(30_000, cells)
            found = calibration_drift(*vectors)
            assert found is not None
            rejected[i] += found.p_value <= 0.05
    factors = rejected / 20 / 0.05
    error = factors.std(ddof=1) / np.sqrt(len(factors))
    assert factors.mean() <= 1 + 3.5 * error
    assert (factors >= 6).mean() > 0.02  # independent windows: 6 of 20 in 0.03 % of references
    assert (factors == 0).mean() > 0.42  # independent windows: 0.95^20 = 36 %


def test_its_references_are_those_that_are_built() -> None:
    score = np.random.default_rng(5).beta(0.5, 0.5, 3_000)
    label = np.random.default_rng(6).random(3_000) < score
    table = {"x": score, "score": score, "prediction": score > 0.5, "label": label}
    built = Reference.build(table, task="binary", positive_class=True)
    light = late.reference_of(np.random.default_rng(6), score)
    assert light.score == built.score
    assert light.scored is not None
    assert built.scored is not None
    assert light.scored.tolist() == built.scored.tolist()
    one, other = ScoreProxies.of(light), ScoreProxies.of(built)
    assert one is not None
    assert other is not None
    assert (one.boundary, one.band, one.share, one.rate) == (other.boundary, other.band, other.share, other.rate)


def test_it_prints_a_line_for_each_statistic_and_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["levels", "--scale", "0.0001", "--only", "calibration"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(late.LABELS) * len(late.SHAPES)
    assert lines[0].startswith("calibration drift, n = 1,000, reference 500, beta(0.5, 0.5), 2 trials: 0.05: ")
