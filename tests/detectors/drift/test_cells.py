"""Many cells at once: each as its definition says, none depending on the others."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift import Cells, CellStatistics, cell_test, combine
from detectors.drift.cells import ANDERSON, CHI2, SHARE
from detectors.drift.monte_carlo import p_value
from detectors.drift.views import drift_vector, view
from detectors.reference import Reference, Subject
from tests.oracle import cells as oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray

RNG = np.random.default_rng(4)
N = 20_000
WEIGHTS = 1 / np.arange(1, 201)
TABLE = {
    "normal": RNG.normal(size=N),
    "counts": RNG.poisson(3, N),
    "zero-inflated": np.where(RNG.random(N) < 0.9, 0.0, RNG.exponential(size=N)),
    "nearly constant": np.where(RNG.random(N) < 0.998, 0.0, RNG.random(N)),
    "constant": np.full(N, 2.5),
    "five classes": RNG.choice(list("abcde"), N, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
    "200 classes": RNG.choice(200, N, p=WEIGHTS / WEIGHTS.sum()).astype(str),
    "rare class": RNG.choice(["a", "b"], N, p=[0.9995, 0.0005]),
    "boolean": RNG.random(N) < 0.2,
}
SUBJECTS = Reference.build(TABLE).features
NAMES = [s.name for s in SUBJECTS]


def windows_of(subject: Subject, rng: np.random.Generator, sizes: list[int], moved: float = 0.0) -> NDArray[np.int64]:
    """Slot vectors drawn from the subject's own shares, a part of the rows from any of its slots."""
    shares = subject.counts / subject.counts.sum() * (1 - moved) + moved / subject.width
    return np.array([rng.multinomial(n, shares) for n in sizes])


def expected(subject: Subject, base: NDArray[np.int64], window: NDArray[np.int64], *, own: bool) -> oracle.Expected:
    seen = view(subject)

    def grouped(vector: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        counts = drift_vector(subject, vector).astype(int)
        ends = [[*starts.tolist(), len(counts)] for starts in (seen.fine, seen.coarse)]
        fine, coarse = ([int(counts[a:b].sum()) for a, b in pairwise(e)] for e in ends)
        return fine, coarse

    mode = int(drift_vector(subject, base)[seen.mode]), int(drift_vector(subject, window)[seen.mode])
    return oracle.expected(seen.kind, grouped(base), grouped(window), mode, own=own)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("subject", SUBJECTS, ids=NAMES)
def test_every_test_of_a_cell_is_its_definition(subject: Subject, own: bool) -> None:  # noqa: FBT001  # a parameter
    rng = np.random.default_rng(len(subject.name))
    windows = np.concatenate(
        [windows_of(subject, rng, [50, 73, 120, 260, 410, 1000, 3000], moved) for moved in (0.0, 0.02, 0.3)]
    )
    # A window can be taken out of a baseline that holds it.
    bases = subject.counts + (windows.sum(axis=0) if own else 0) * np.array([[1], [2]])
    slots = np.arange(len(windows)) % 2
    found = Cells([subject], [bases]).statistics(windows, slots, own=own, monte_carlo=0)
    for r, window in enumerate(windows):
        want = expected(subject, bases[slots[r]], window, own=own)
        assert found.n[r] == want.n
        for test, value in ((ANDERSON, want.anderson), (CHI2, want.chi2), (SHARE, want.share)):
            assert found.statistic[test, r] == pytest.approx(np.nan if value is None else value, nan_ok=True, rel=1e-9)
            assert np.isnan(found.p_value[test, r]) == (value is None)
            assert np.isnan(found.factor[test, r]) == (value is None)
        if want.anderson_mean is not None:
            assert found.mean[ANDERSON, r] == pytest.approx(want.anderson_mean)
            assert found.variance[ANDERSON, r] == pytest.approx(want.anderson_variance)
        if want.chi2 is not None and want.freedom is not None:
            assert (found.mean[CHI2, r], found.variance[CHI2, r]) == (want.freedom, 2 * want.freedom)
            assert found.p_value[CHI2, r] == pytest.approx(scipy.stats.chi2.sf(want.chi2, want.freedom), rel=1e-9)
        if want.share_p is not None:
            assert found.p_value[SHARE, r] == pytest.approx(want.share_p, rel=1e-9)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_cell_has_the_same_bytes_whatever_is_tested_with_it(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(SUBJECTS))), min_size=1, max_size=6))
    sizes = data.draw(st.lists(st.integers(0, 2000), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    subjects = [SUBJECTS[i] for i in chosen]
    vectors = [windows_of(s, rng, sizes, 0.05) for s in subjects]
    found = Cells(subjects).statistics(vectors, monte_carlo=200)
    for w in range(len(sizes)):
        for s, subject in enumerate(subjects):
            alone = Cells([subject]).statistics([vectors[s][w]], monte_carlo=200)
            for name in ("n", "effect_size"):
                assert getattr(found, name)[w * len(subjects) + s] == getattr(alone, name)[0]
            for name in ("statistic", "mean", "variance", "p_value", "factor", "simulated"):
                assert getattr(found, name)[:, w * len(subjects) + s].tobytes() == getattr(alone, name)[:, 0].tobytes()


def test_the_result_of_one_cell_is_that_of_cell_test() -> None:
    rng = np.random.default_rng(5)
    for moved in (0.0, 0.1):
        vectors = [windows_of(s, rng, [0, 30, 120, 900], moved) for s in SUBJECTS]
        results = Cells(SUBJECTS).test(vectors)
        assert len(results) == 4 * len(SUBJECTS)
        for w in range(4):
            for s, subject in enumerate(SUBJECTS):
                assert results[w * len(SUBJECTS) + s] == cell_test(subject, vectors[s][w])


def test_windows_may_come_joined_or_apart() -> None:
    rng = np.random.default_rng(6)
    vectors = [windows_of(s, rng, [300, 700]) for s in SUBJECTS]
    cells = Cells(SUBJECTS)
    joined = np.concatenate(vectors, axis=1)
    assert cells.width == joined.shape[1]
    apart = cells.statistics(vectors)
    for form in (joined, np.asfortranarray(joined)):
        assert cells.statistics(form).p_value.tobytes() == apart.p_value.tobytes()
    joined.flags.writeable = False
    assert cells.statistics(joined[1]).p_value.tobytes() == apart.p_value[:, len(SUBJECTS) :].tobytes()


def test_each_window_is_compared_with_the_baseline_it_names() -> None:
    rng = np.random.default_rng(7)
    a, b = SUBJECTS[0], SUBJECTS[5]
    bases = [windows_of(s, rng, [5000] * 3, 0.2) for s in (a, b)]
    windows = [windows_of(s, rng, [600] * 4) for s in (a, b)]
    slots = np.array([[0, 2], [1, 1], [2, 0], [2, 2]])
    found = Cells([a, b], bases).statistics(windows, slots)
    for w in range(4):
        for s, subject in enumerate((a, b)):
            one = Cells([subject], [bases[s][slots[w, s]]]).statistics([windows[s][w]])
            assert found.p_value[:, 2 * w + s].tobytes() == one.p_value[:, 0].tobytes()
    same = Cells([a, b], bases).statistics(windows, slots[:, 0])
    assert same.p_value[:, ::2].tobytes() == found.p_value[:, ::2].tobytes()


def test_a_baseline_without_rows_is_no_comparison() -> None:
    subject = SUBJECTS[0]
    nothing = np.zeros(subject.width, np.int64)
    window = windows_of(subject, np.random.default_rng(1), [500])
    found = Cells([subject], [nothing]).test([window])
    assert found[0].insufficient
    assert found[0].top == ()
    alone = Cells([subject], [window[0]])
    assert np.isnan(alone.statistics([window], own=True).p_value).all()  # nothing is left of the baseline but itself


def test_combining_takes_the_smallest_and_replaced_p_values_count() -> None:
    rng = np.random.default_rng(8)
    cells = Cells(SUBJECTS[:1])
    found = cells.statistics([windows_of(SUBJECTS[0], rng, [800] * 50)])
    p, test = combine(found)
    assert p.tolist() == np.minimum(1, 2 * found.p_value[:2].min(axis=0)).tolist()
    assert test.tolist() == found.p_value[:2].argmin(axis=0).tolist()
    wide = np.ones(50)
    replaced, by = combine(found, p_anderson=wide)
    assert replaced.tolist() == np.minimum(1, 2 * found.p_value[CHI2]).tolist()
    assert set(by.tolist()) == {CHI2}
    assert combine(found, wide, wide)[0].tolist() == wide.tolist()
    results = cells.results(found, p_anderson=wide)
    assert results[0].p_value == replaced[0]
    assert results[0].method == "chi2"


def test_categories_test_rare_ones_with_a_tenth_of_the_level() -> None:
    found = Cells([SUBJECTS[NAMES.index("five classes")]]).statistics([np.array([250, 150, 75, 20, 5, 0, 2, 0, 0])])
    assert found.factor[:, 0] == pytest.approx([np.nan, 1 / 0.9, 10], nan_ok=True)
    p, test = combine(found)
    assert p[0] == pytest.approx(min(found.p_value[CHI2, 0] / 0.9, found.p_value[SHARE, 0] / 0.1))
    assert test[0] == SHARE


def test_of_equal_p_values_the_smaller_statistic_decides() -> None:
    cells = Cells(SUBJECTS[:1])
    window = np.zeros(SUBJECTS[0].width, np.int64)
    window[-3] = 5000  # all above the reference's range: both p-values are 0.0
    found = cells.test([window])
    assert found.statistics.p_value[:2, 0].tolist() == [0.0, 0.0]
    assert found.statistic[0] == found.statistics.statistic[:2, 0].min()


def no_cells() -> CellStatistics:
    return Cells(SUBJECTS).statistics(np.zeros((0, Cells(SUBJECTS).width), np.int64))


def test_no_window_is_no_cell() -> None:
    assert no_cells().p_value.shape == (3, 0)
    assert combine(no_cells())[0].shape == (0,)


@pytest.mark.parametrize(
    ("vectors", "slots", "message"),
    [
        ([np.zeros(3, np.int64)], None, "slots, got 3"),
        ([np.zeros(104, np.int64)] * 2, None, "one per subject"),
        (np.zeros((2, 9), np.int64), None, "integer counts"),
        (np.zeros(104), None, "integer counts"),
        (np.full(104, -1), None, "negative"),
        (np.zeros((2, 104), np.int64), np.array([0, 1]), "slots must be"),
        (np.zeros((2, 104), np.int64), np.array([0, -1]), "slots must be"),
    ],
)
def test_what_does_not_fit_is_refused(vectors: object, slots: object, message: str) -> None:
    cells = Cells(SUBJECTS[:1])
    assert cells.width == 104
    with pytest.raises(ValueError, match=message):
        cells.statistics(vectors, slots)  # type: ignore[arg-type]  # wrong on purpose


def test_cells_need_subjects_and_fitting_baselines() -> None:
    with pytest.raises(ValueError, match="at least one subject"):
        Cells([])
    with pytest.raises(ValueError, match="one per subject"):
        Cells(SUBJECTS[:2], [SUBJECTS[0].counts])
    with pytest.raises(ValueError, match="normal"):
        Cells(SUBJECTS[:1], [np.zeros(7, np.int64)])


def test_categories_without_the_rest_expect_what_the_window_has_of_them() -> None:
    quarter = Subject(
        "x", "categorical", np.zeros(0), tuple("abcd"), (), np.array([4000, 2000, 2000, 2000, 0, 0, 0, 0])
    )
    window = np.array([18, 9, 9, 9, 0, 5, 0, 0])  # 50 rows would expect 10 of b, c and d each; 45 expect 9
    found = Cells([quarter]).statistics([window])
    assert found.mean[CHI2, 0] == 1  # a; b, c and d together
    assert found.factor[SHARE, 0] == 10
    # 60 rows without the rest, against 62 with it: the law is that of 60.
    seldom = np.array([18, 14, 14, 14, 0, 2, 0, 0])
    half = Subject("x", "categorical", np.zeros(0), tuple("abcd"), (), np.array([5000, 600, 600, 600, 0, 0, 0, 0]))
    moved = Cells([half]).statistics([seldom])
    assert moved.simulated[:, 0].tolist() == [False, True]
    assert moved.mean[CHI2, 0] == 1
    value = float(moved.statistic[CHI2, 0])
    expected = p_value("chi2", (5000.0, 1800.0), value, 60, lambda x: float(scipy.stats.chi2.sf(x, 1)))
    assert moved.p_value[CHI2, 0] == expected
