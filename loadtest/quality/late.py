"""``python -m loadtest levels``: how often the statistics of late labels reject without drift, as a multiple of the level.

Proxies and calibration: each window meets a reference of its own or shares it with three others, so that the multiple is that over
references, with their sampling error in it. Many windows of one reference would share that error, and a few references would show
nothing but it. Worst segments: calls that name any segment, where none is worse.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import count_classes, count_errors, layout, merge
from detectors.performance.calibration_drift import calibration_drift
from detectors.performance.proxies import ScoreProxies
from detectors.performance.worst import worst_segments
from detectors.reference import Reference, Subject
from detectors.reference.bins import equal_mass_edges, numeric_slots

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Draw = Callable[[np.random.Generator, int], NDArray[np.int64]]

SEED: Final = 1
LEVELS: Final = (0.05, 0.01, 0.001, 0.0001)
SHAPES: Final = {"beta(0.5, 0.5)": (0.5, 0.5), "beta(0.1, 5)": (0.1, 5.0)}
"""Scores of a model that is mostly sure, and of rare positives; both come true as often as they say."""
SIZES: Final = ((50, 5_000), (200, 5_000), (1_000, 10_000), (1_000, 2_000), (5_000, 50_000), (5_000, 10_000))
"""Rows of the window and of the reference."""
WINDOWS: Final = 60_000
"""Windows of a proxy: at a level of 0.001 the multiple is known within 0.13."""
PER_REFERENCE: Final = 4
"""Windows that share a reference; the standard errors are those over references."""
LABELS: Final = tuple((n, known) for n in (1_000, 5_000, 30_000) for known in (500, 2_000, 20_000, 100_000))
"""Outcomes of the window and of the reference, the larger one on either side."""
PAIRS: Final = 20_000
"""Pairs of a reference and a window: at a level of 0.001 the multiple is known within 0.22."""
CALLS: Final = 2_000
"""Calls of `worst_segments`: at a level of 0.01 the multiple is known within 0.22."""
CALL_LEVELS: Final = (0.1, 0.01)
SEGMENTS: Final = {
    "ten of 100 beside 9,000": (*(100,) * 10, 9_000),
    "ten of 1,000": (1_000,) * 10,
    "20,000 beside 100": (20_000, 100),
    "20,000 beside 600": (20_000, 600),
}
"""Labels of the segments that make up all traffic; where one holds most of it, its rest is the small sample: 100 labels for what
rests on all of them, 600 for areas and F1, which rest on some."""
_POOL: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """Rejections over `level` times the trials, and the standard error of that."""

    statistic: str
    case: str
    trials: int
    level: float
    factor: float
    error: float


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full number of trials (default: 1)")
    parser.add_argument("--only", choices=tuple(PARTS), help="one of the three parts")


def main(args: Namespace) -> int:
    """Print a line for each statistic and case as it is measured; returns 0."""
    for name, part in PARTS.items():
        if args.only in (None, name):
            for rows in part(np.random.default_rng(SEED), args.scale):
                for statistic in dict.fromkeys(row.statistic for row in rows):
                    mine = [row for row in rows if row.statistic == statistic]
                    said = ", ".join(f"{row.level:g}: {row.factor:.2f} ({row.error:.2f})" for row in mine)
                    sys.stdout.write(f"{statistic}, {mine[0].case}, {mine[0].trials} trials: {said}\n")
                sys.stdout.flush()
    return 0


def proxies(rng: np.random.Generator, scale: float) -> Iterator[list[Row]]:
    """Measure both proxies of scores: all sizes and shapes."""
    for n, known in SIZES:
        for shape, (a, b) in SHAPES.items():
            pool = rng.beta(a, b, _POOL)
            references = max(2, round(WINDOWS * scale / PER_REFERENCE))
            p = np.ones((2, references, PER_REFERENCE))
            for i in range(references):
                reference = reference_of(rng, pool[rng.integers(0, _POOL, known)])
                made = ScoreProxies.of(reference)
                assert made is not None  # noqa: S101  # it has scores; for the type checker
                assert reference.score is not None  # noqa: S101  # likewise
                for j in range(PER_REFERENCE):
                    now = reference.score.slots_of(pool[rng.integers(0, _POOL, n)])
                    for k, found in enumerate((made.low_confidence(now), made.estimated_error_rate(now))):
                        p[k, i, j] = 1.0 if found is None else found.p_value
            case = f"n = {n:,}, reference {known:,}, {shape}"
            yield [
                row for k, name in enumerate(("low confidence", "estimated errors")) for row in _rows(name, case, p[k])
            ]


def reference_of(rng: np.random.Generator, score: NDArray[np.float64]) -> Reference:
    """Return what `Reference.build` makes of these scores, with answers at 0.5 and labels that come true, and nothing else."""
    edges = equal_mass_edges(score)
    at, width = numeric_slots(edges, score), len(edges) + 3
    answer, truth = score > 0.5, rng.random(len(score)) < score  # noqa: PLR2004  # as usual
    counts = np.bincount(at, minlength=width)
    positive, true, wrong = (np.bincount(at, of, width) for of in (answer, truth, answer != truth))
    subject = Subject("score", "numeric", edges, (), (), counts)
    scored = np.stack([positive, counts, true, wrong]).astype(np.int64)
    return Reference((), None, subject, None, "binary", "yes", ("", "yes"), None, len(score), None, scored=scored)


def calibration(rng: np.random.Generator, scale: float) -> Iterator[list[Row]]:
    """Measure calibration drift: the counts of each score bin and class are multinomial in both samples."""
    width = layout.width("binary", layout.BINARY_CLASSES)
    for shape, (a, b) in SHAPES.items():
        score = rng.beta(a, b, _POOL)
        at = np.minimum(layout.SCORE_BINS - 1, (score * layout.SCORE_BINS).astype(np.int64))
        both, true = (np.bincount(at, w, layout.SCORE_BINS) / _POOL for w in (None, score))
        cells = np.concatenate((both - true, true))
        for n, known in LABELS:
            pairs = max(2, round(PAIRS * scale))
            p = np.ones((pairs, 1))
            vectors = np.zeros((2, width), np.int64)
            for i in range(pairs):
                for vector, size in zip(vectors, (known, n), strict=True):
                    vector[layout.SCORES : layout.CLIPPED] = rng.multinomial(size, cells)
                found = calibration_drift(*vectors)
                p[i] = 1.0 if found is None else found.p_value
            yield list(_rows("calibration drift", f"n = {n:,}, reference {known:,}, {shape}", p))


def worst(rng: np.random.Generator, scale: float) -> Iterator[list[Row]]:
    """Measure the family-wise error of `worst_segments`: all worlds and metrics."""
    for world, (task, classes, metrics, draw) in WORLDS.items():
        for split, sizes in SEGMENTS.items():
            calls = max(2, round(CALLS * scale))
            p = np.ones((len(metrics), calls, 1))
            for i in range(calls):
                cells = dict(enumerate(draw(rng, size) for size in sizes))
                total = merge(*cells.values())
                for k, metric in enumerate(metrics):
                    found = worst_segments(cells, total, task, classes, metric, level=0.5)
                    p[k, i] = min((w.corrected for w in found), default=1.0)
            yield [
                row
                for k, metric in enumerate(metrics)
                if (p[k] < 1).any()  # else the metric rests on too little here, and nothing was judged
                for row in _rows(f"worst segments by {metric}", f"{world}, {split}", p[k], CALL_LEVELS)
            ]


def _rows(statistic: str, case: str, p: NDArray[np.float64], levels: tuple[float, ...] = LEVELS) -> Iterator[Row]:
    """Return the multiples of p-values float64[references, windows of each]."""
    for level in levels:
        hits = (p <= level).mean(axis=1)
        error = max(hits.std(ddof=1) / np.sqrt(len(hits)), 1 / p.size)  # none seen is not none ever
        yield Row(statistic, case, p.size, level, float(hits.mean() / level), float(error / level))


def _binary(scores: tuple[float, float], base: float, slope: float) -> Draw:
    """Return the outcomes of scores that come true with probability base + slope * score."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        score = rng.beta(*scores, n)
        truth = rng.random(n) < base + slope * score
        return count_classes(truth.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)  # noqa: PLR2004  # as usual

    return draw


def _errors(of: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> Draw:
    return lambda rng, n: count_errors(of(rng, n), np.zeros(n))


def _classes(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    actual = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    return count_classes(actual, np.where(rng.random(n) < 0.15, rng.integers(0, 3, n), actual), "multiclass", 3)  # noqa: PLR2004  # errors in a tenth


BINARY: Final = ("accuracy", "f1", "roc_auc", "pr_auc", "log_loss", "brier", "ece")
NUMERIC: Final = ("mae", "rmse", "bias", "absolute_p95", "residual_p95")
WORLDS: Final[dict[str, tuple[str, tuple[str, ...], tuple[str, ...], Draw]]] = {
    "scores that are right": ("binary", ("", "yes"), BINARY, _binary((0.5, 0.5), 0.0, 1.0)),
    "scores that are off": ("binary", ("", "yes"), BINARY, _binary((0.3, 2.0), 0.15, 0.5)),
    "normal errors": ("regression", (), NUMERIC, _errors(lambda rng, n: rng.normal(0, 1, n))),
    "t(4) errors": ("regression", (), NUMERIC, _errors(lambda rng, n: rng.standard_t(4, n))),
    "skewed errors": ("regression", (), NUMERIC, _errors(lambda rng, n: rng.exponential(1, n) ** 1.5)),
    "three classes": ("multiclass", ("a", "b", "other"), ("accuracy", "f1"), _classes),
}
PARTS: Final[dict[str, Callable[[np.random.Generator, float], Iterator[list[Row]]]]] = {
    "proxies": proxies,
    "calibration": calibration,
    "worst": worst,
}
