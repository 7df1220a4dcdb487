"""Principal components: what no single feature shows, rows that score alike in any batch, a model that survives the disk."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift import Cells, cell_test
from detectors.drift.multivariate import SCORES, Reconstruction, taken
from detectors.reference import Reference
from detectors.reference.columns import column
from schemas.errors import StateCorrupt, StateNewer

N = 20_000


def pair(rng: np.random.Generator, n: int, correlation: float) -> dict[str, Any]:
    x, noise = rng.normal(size=(2, n))
    return {"x": x, "y": correlation * x + np.sqrt(1 - correlation**2) * noise}


def mixed(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Columns of every kind, with gaps, that hang together."""
    size = rng.normal(size=n)
    town = np.array(["paris", "rome", "oslo"], object)[np.clip((size + 1.5).astype(int), 0, 2)]
    town[rng.random(n) < 0.05] = None
    return {
        "size": np.where(rng.random(n) < 0.1, np.nan, size),
        "price": np.exp(size + 0.3 * rng.normal(size=n)),
        "rooms": np.maximum(0, np.rint(3 + size)).astype(int),
        "garden": (size + rng.normal(size=n) > 0).tolist(),
        "town": town.tolist(),
        "constant": np.ones(n),
    }


MIXED = Reconstruction.fit(mixed(np.random.default_rng(2), 3000))


def test_a_correlation_that_appears_is_found_though_no_feature_moves() -> None:
    rng = np.random.default_rng(1)
    table = pair(rng, N, 0.0)
    model, reference = Reconstruction.fit(table), Reference.build(table)
    window = pair(rng, 1000, 0.8)
    assert all((found.p_value or 0.0) < 1e-9 for found in model.test(window))
    assert all(
        (cell_test(s, s.slots_of(window[s.name])).p_value or 0.0) > 0.01 for s in reference.features
    )  # the columns, one by one, have not changed


def test_without_drift_the_scores_keep_their_level_with_many_columns_and_few_rows() -> None:
    rng = np.random.default_rng(3)
    loading = rng.normal(size=(5, 120))
    rejected, tests = dict.fromkeys(SCORES, 0), 0
    for _ in range(8):

        def rows(n: int) -> dict[str, Any]:
            values = rng.normal(size=(n, 5)) @ loading + rng.normal(size=(n, 120))
            return {f"x{i}": values[:, i] for i in range(120)}

        # 1,000 rows teach 120 components, whose own scores come out a fifth too small; 1,000 others make the bins.
        model = Reconstruction.fit(rows(2000), explained=0.95)
        for name, subject, scores in zip(SCORES, model.subjects, model.scores(rows(40 * 100)), strict=True):
            windows = np.array([subject.slots_of(part) for part in scores.reshape(40, 100)])
            rejected[name] += int((Cells([subject]).test(windows).p_value <= 0.05).sum())
        tests += 40
    # Forty windows share a reference of ten times their size: its own error is allowed to add a quarter.
    for name in SCORES:
        assert rejected[name] <= scipy.stats.binom.ppf(0.999, tests, 0.05 * 1.25), rejected


def test_scores_are_distances_in_the_space_of_the_components() -> None:
    rng = np.random.default_rng(4)
    loading = rng.normal(size=(2, 6))
    values = rng.normal(size=(2000, 2)) @ loading + 0.3 * rng.normal(size=(2000, 6)) + rng.normal(size=6) * 100
    names = [f"x{i}" for i in range(6)]
    model = Reconstruction.fit(dict(zip(names, values.T, strict=True)), explained=0.8)
    learn = values[::2]
    centre, scale = learn.mean(axis=0), learn.std(axis=0)
    _, singular, axes = np.linalg.svd((learn - centre) / scale, full_matrices=False)
    variances = singular**2 / len(learn)
    kept = int(np.argmax(np.cumsum(variances) / variances.sum() >= 0.8)) + 1
    assert model.kept == kept
    z = (values - centre) / scale
    plane = axes[:kept]
    expected_residual = np.linalg.norm(z - z @ plane.T @ plane, axis=1)
    expected_spread = np.sqrt((((z @ plane.T) ** 2) / variances[:kept]).sum(axis=1))
    residual, spread = model.scores(dict(zip(names, values.T, strict=True)))
    np.testing.assert_allclose(residual, expected_residual, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(spread, expected_spread, rtol=1e-9, atol=1e-9)
    bins, rest = model.subjects[0], values[1::2]
    assert bins.counts.tolist() == bins.slots_of(model.scores(dict(zip(names, rest.T, strict=True)))[0]).tolist()


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_row_has_the_same_scores_to_the_byte_in_any_batch(cuts: list[int], seed: int) -> None:
    table = mixed(np.random.default_rng(seed), 400)
    whole = MIXED.scores(table)
    bounds = [0, *sorted(cuts), 400]
    parts = [MIXED.scores({name: values[a:b] for name, values in table.items()}) for a, b in pairwise(bounds)]
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    counted = [MIXED.counts({n: v[a:b] for n, v in table.items()}) for a, b in pairwise(bounds)]
    for i in (0, 1):
        assert np.sum([c[i] for c in counted], axis=0).tolist() == MIXED.counts(table)[i].tolist()


def test_sixty_columns_score_alike_one_row_at_a_time() -> None:
    values = np.random.default_rng(9).normal(size=(300, 60))
    model = Reconstruction.fit({f"x{i}": values[:, i] for i in range(60)})
    whole = model.scores({f"x{i}": values[:, i] for i in range(60)})
    for r in (0, 17, 299):
        alone = model.scores({f"x{i}": values[r : r + 1, i] for i in range(60)})
        assert alone[:, 0].tobytes() == whole[:, r].tobytes()


def test_a_value_of_another_type_is_missing_whatever_stands_beside_it() -> None:
    row = {"price": 1.0, "rooms": 3, "garden": True, "town": "rome"}
    for odd in (None, float("nan"), True, "large", float("inf")):
        alone = MIXED.scores({"size": [odd], **{n: [v] for n, v in row.items()}})
        beside = MIXED.scores({"size": [odd, 0.5, "x"], **{n: [v] * 3 for n, v in row.items()}})
        without = MIXED.scores({n: [v] for n, v in row.items()})
        assert alone[:, 0].tobytes() == beside[:, 0].tobytes() == without[:, 0].tobytes()
    spelled = MIXED.scores({"size": ["0.5"], **{n: [v] for n, v in row.items()}})
    assert spelled.tobytes() == MIXED.scores({"size": [0.5], **{n: [v] for n, v in row.items()}}).tobytes()


def test_a_category_the_reference_does_not_know_is_rarer_than_all_others() -> None:
    coding = next(c for c in MIXED.columns if c.name == "town")
    table = {"town": ["paris", "rome", "oslo", None, "atlantis"]}
    coded = [float(coding.encode(column([table["town"][i]]))[0]) for i in range(5)]
    assert min(coded) == coded[4] == pytest.approx((0 - coding.centre) / coding.scale)
    assert coded[3] == pytest.approx((coding.missing - coding.centre) / coding.scale)


def test_constant_and_ignored_columns_take_no_part() -> None:
    assert [c.name for c in MIXED.columns] == ["size", "price", "rooms", "garden", "town"]
    table = mixed(np.random.default_rng(1), 500)
    assert [c.name for c in Reconstruction.fit(table, ignore=["price", "town"]).columns] == ["size", "rooms", "garden"]


def test_columns_that_are_sums_of_others_leave_no_residual_until_they_are_none() -> None:
    rng = np.random.default_rng(5)

    def rows(n: int) -> dict[str, Any]:
        a, b = rng.normal(size=(2, n))
        return {"a": a, "b": b, "sum": a + b}

    model = Reconstruction.fit(rows(2000), explained=0.99)
    assert model.kept == 2
    assert set(model.scores(rows(500))[0].tolist()) == {0.0}
    assert model.test(rows(500))[0].p_value == 1.0
    broken = rows(500)
    broken["sum"][:20] += 0.01
    assert (model.test(broken)[0].p_value or 0.0) < 1e-9


def test_values_far_out_stay_finite() -> None:
    assert np.isfinite(MIXED.scores({"size": [1e300], "price": [-1e300]})).all()


def test_a_saved_model_is_the_same_model() -> None:
    saved = MIXED.to_json()
    again = Reconstruction.from_json(saved)
    assert again.to_json() == saved
    table = mixed(np.random.default_rng(6), 300)
    assert again.scores(table).tobytes() == MIXED.scores(table).tobytes()
    assert again.test(table) == MIXED.test(table)


def test_a_newer_format_is_not_read() -> None:
    saved = orjson.loads(MIXED.to_json())
    saved["version"] = 2
    with pytest.raises(StateNewer, match="format 2"):
        Reconstruction.from_json(orjson.dumps(saved))


def test_a_format_that_never_was_is_refused() -> None:
    saved = orjson.loads(MIXED.to_json())
    saved["version"] = 0
    with pytest.raises(StateCorrupt, match="reconstruction"):
        Reconstruction.from_json(orjson.dumps(saved))


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": "something else", "version": 1}'])
def test_what_is_no_saved_model_is_refused(damage: bytes) -> None:
    with pytest.raises(StateCorrupt, match="reconstruction"):
        Reconstruction.from_json(damage)


@given(st.integers(0, len(MIXED.to_json()) - 1))
@settings(max_examples=60, deadline=None)
def test_a_damaged_byte_is_noticed_or_says_the_same(at: int) -> None:
    saved = bytearray(MIXED.to_json())
    saved[at] ^= 1
    try:
        again = Reconstruction.from_json(bytes(saved))
    except (StateCorrupt, StateNewer):
        return
    assert again.to_json() == MIXED.to_json()  # the 17th digit of a number can spell the same number


def test_content_that_does_not_fit_is_refused_though_its_checksum_does() -> None:
    saved = orjson.loads(MIXED.to_json())
    other = orjson.loads(Reconstruction.fit(pair(np.random.default_rng(1), 300, 0.5)).to_json())
    other["content"]["columns"] = saved["content"]["columns"]
    from detectors.drift.multivariate import _checksum  # noqa: PLC0415  # a forger would have it too

    other["checksum"] = _checksum(other["content"])
    with pytest.raises(StateCorrupt, match="components"):
        Reconstruction.from_json(orjson.dumps(other))


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ({"a": np.arange(100.0), "b": np.arange(100.0)}, {}, "200 rows"),
        ({"a": np.arange(500.0)}, {}, "columns that vary"),
        ({"a": np.arange(500.0), "b": np.ones(500)}, {}, "got 1 of 2"),
        ({"a": np.arange(500.0), "b": np.arange(500.0)}, {"explained": 0.0}, "explained"),
    ],
)
def test_a_reference_that_cannot_teach_is_refused(table: Any, arguments: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        Reconstruction.fit(table, **arguments)


def test_a_sample_is_the_same_share_of_the_same_rows_in_any_order() -> None:
    keys = np.arange(100_000, dtype=np.uint64)
    chosen = taken(keys, 0.1)
    assert abs(int(chosen.sum()) - 10_000) < 400
    assert taken(keys[::-1], 0.1)[::-1].tolist() == chosen.tolist()
    assert bool(np.all(taken(keys, 0.3)[chosen]))  # a larger sample holds the smaller one
    assert not taken(keys, 0.0).any()
    assert taken(keys, 1.0).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        taken(keys, 1.5)
