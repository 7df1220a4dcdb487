"""Labels as a monitored stream: whether they come, how late, of which classes, and for which share of the predictions.

Four subjects. Three follow the labels by arrival (the panes of `sequential`), one the windows of performance at maturity.

- ``rate``: labels that came before have stopped; the rule of `presence_family`, over arrivals. When predictions stop, or
  another version takes over, labels follow with their delay.
- ``coverage``: the share of a window's predictions that has a label at maturity: relative to the predictions, so that a busy
  day is no flood. Both directions.
- ``delay``: how late labels come, on the scale of `detectors.performance.delays` (four bins to a doubling). Both directions.
- ``class_balance``: the classes of the labels against the reference's. Labels of one class that come sooner than the others
  make the first labels of a new version another mix: it is judged from one maturity after its first labels on.

The unit is a *block*: windows taken together until they hold 200 labels (coverage: predictions), so that a sparse stream has
few and wide ones, and a nightly batch one or two a night.

Statistic: delay and coverage are compared with the stream's own blocks before, because no reference knows them. With m earlier
ones (older ones count less: half after 256) of mean u and variance s^2, ``t = (x - u) / sqrt(s^2 (1 + 1/m))`` is referred to
Student's t with m - 1 degrees of freedom; s^2 is at least what independent labels would give, and a fixed floor. So what varies
from block to block in the ordinary course (batches, hours of the day) is in s. Nothing is judged before 8 blocks over
seven days. The balance is Pearson's chi^2 of the block against the reference, over a dispersion that differences of neighbouring
blocks give, as an F ratio; from 8 blocks on.

Guarantee: none by proof. A test is made at the level of one block alone, and has to be confirmed as configured besides,
because neighbouring blocks are not independent. Assumed is that blocks vary around one level with tails no heavier than
Student's: a level that wanders for weeks, a weekly batch among daily ones, or a holiday is an alarm. Blocks that reject do not
enter the past; after seven days of an open alert the past is begun anew, at the new level.

Cost: 150 us a stream and block, about 300 bytes of state a stream besides the silence's. The level is the service share of the budget
(`presence_family.service_level`).

References: Student, The probable error of a mean, Biometrika 6 (1908); McCullagh & Nelder, Generalized Linear Models,
2nd ed. 1989, section 4.5 (dispersion).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy.special import fdtrc, stdtr

from detectors.performance import layout, reclassify
from detectors.performance.delays import DELAY_BINS, DELAY_PARTS
from schemas.alerts import Evidence
from schemas.config import ModelConfig
from schemas.identifiers import StreamKey  # noqa: TC001  # msgspec reads it from the annotation
from streams.engine import outcomes
from streams.engine.families import Book, decide, stream_text, who
from streams.engine.presence_family import Kind, Presence, duration, listen, quiet, service_level, tiered
from streams.engine.silence import forget_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detectors.reference import Reference
    from schemas.alerts import Severity
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

RATE = Kind("labels", "rate", "labels")
_LEAST = 200
"""Labels of a block: a share of 0.1 is then known within 0.02, the mean delay within half a bin."""
_BLOCKS = 8
"""Earlier blocks before one is judged: fewer make Student's t so wide that it would find nothing at these levels."""
_WEEK = 7 * 86_400_000
"""What the past must span, so that nights and weekends are in it; and how long an alert lasts until its level is taken as new."""
_HALF_LIFE = 256
"""Blocks after which an earlier one counts half: eight months of nightly batches, two days of ten-minute windows."""
_EXPECTED = 5
"""The usual least expectation of Pearson's test; F with a dispersion is blunter than chi^2 anyway."""
_TWO = 2
_SHARES, _DOUBLINGS = (0.05, 0.20), (0.5, 2.0)
"""From what size on an alert is a warning, and critical: shares of labels, and doublings of the delay."""
_DELAY_FLOOR, _COVERAGE_FLOOR = 0.5, 0.02
"""Least standard deviations between blocks: an eighth of a doubling, 2 % of the predictions. Less is nobody's business."""


class Ordinary(msgspec.Struct):
    """What a figure of a block was before: weight, weighted mean and sum of squares about it, and where the past begins (ms)."""

    since: int = -1
    blocks: int = 0
    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def p_value(self, value: float, variance: float, floor: float, end: int) -> float | None:
        """Two-sided; None as long as too little is known. ``variance`` is that of ``value`` if its labels were independent."""
        if self.blocks < _BLOCKS or end - self.since < _WEEK:
            return None
        free = self.weight - 1
        spread = max(self.squares / free, variance, floor * floor)
        t = (value - self.mean) / math.sqrt(spread * (1 + 1 / self.weight))
        return float(2 * stdtr(free, -abs(t)))

    def add(self, value: float, start: int) -> None:
        """Take a block in."""
        if self.since < 0:
            self.since = start
        keep = 0.5 ** (1 / _HALF_LIFE)
        self.blocks = min(self.blocks + 1, _BLOCKS)
        self.weight = self.weight * keep + 1
        step = value - self.mean
        self.mean += step / self.weight
        self.squares = self.squares * keep + step * (value - self.mean)


class Balance(msgspec.Struct):
    """How widely the classes of neighbouring blocks vary: the mean of differences in units of independent labels'."""

    since: int = -1
    latest: list[int] = msgspec.field(default_factory=list)
    total: float = 0.0
    weight: float = 0.0

    @property
    def dispersion(self) -> float:
        """At least 1."""
        return max(1.0, self.total / self.weight) if self.weight else 1.0

    def add(self, counts: NDArray[np.int64]) -> None:
        """Take a block in."""
        if self.latest:
            before = np.array(self.latest, np.int64)
            difference, free = _pearson(before, counts)
            if free:
                keep = 0.5 ** (1 / _HALF_LIFE)
                self.total = self.total * keep + difference / free
                self.weight = self.weight * keep + 1
        self.latest = counts.tolist()


class Block(msgspec.Struct):
    """Labels by arrival: their span (ms), number, sum and sum of squares of the bins of their delays, and number by class."""

    start: int = -1
    end: int = -1
    n: int = 0
    bins: int = 0
    squares: int = 0
    classes: list[int] = msgspec.field(default_factory=list)

    def add(self, other: Block) -> None:
        """Take in what comes after it, or beside it."""
        self.start = other.start if self.start < 0 else min(self.start, other.start)
        self.end = max(self.end, other.end)
        self.n, self.bins, self.squares = self.n + other.n, self.bins + other.bins, self.squares + other.squares
        known = self.classes or [0] * len(other.classes)
        self.classes = [a + b for a, b in zip(known, other.classes, strict=True)]


class Stream(msgspec.Struct):
    """What is known of one stream: the block that is being filled, what blocks were before, and when its last label came (ms)."""

    block: Block = msgspec.field(default_factory=Block)
    delay: Ordinary = msgspec.field(default_factory=Ordinary)
    balance: Balance = msgspec.field(default_factory=Balance)
    last: int = -1


class Share(msgspec.Struct):
    """A block of windows at maturity: predictions and those with a label; and what the share was before."""

    start: int = -1
    n: int = 0
    labels: int = 0
    ordinary: Ordinary = msgspec.field(default_factory=Ordinary)


class Labels(msgspec.Struct):
    """The state of the family.

    ``arrived`` are the labels of the window that begins at ``start`` (-1: none), by stream. ``shares`` and ``mature`` go over
    other windows than the rest, and share no incident with it (P2).
    """

    presence: Presence = msgspec.field(default_factory=Presence)
    start: int = -1
    arrived: dict[str, tuple[StreamKey, str, Block]] = msgspec.field(default_factory=dict)
    streams: dict[str, Stream] = msgspec.field(default_factory=dict)
    mature: Book = msgspec.field(default_factory=Book)
    shares: dict[str, Share] = msgspec.field(default_factory=dict)


def collect(state: Labels, model: Model, pane: Window) -> None:
    """Add a pane of labels to the window that it lies in; the window before it is closed already (`advance`)."""
    if not _watched(model):
        return
    state.start = pane.start // model.window * model.window
    weights = np.arange(DELAY_BINS)
    for stream, (shape, vector) in pane.streams.items():
        found = outcomes.arrival(model, vector)
        if found.labels and stream.version not in state.presence.book.superseded:
            block = Block(
                state.start,
                state.start + model.window,
                found.labels,
                int(found.delays @ weights),
                int(found.delays @ weights**2),
                _classes(found.counts, len(model.classes)),
            )
            state.arrived.setdefault(stream_text(stream), (stream, shape, Block()))[2].add(block)


def advance(
    state: Labels,
    model: Model,
    until: int,
    reference_of: Callable[[StreamKey, str], Reference],
    *,
    silence: bool = True,
) -> tuple[int, list[Change]]:
    """Close the collected window if it ends at ``until`` or before, and judge the silence after it, if ``silence`` counts.

    Returns the time (ms) up to which something was decided, or 0, and the changes of alerts.
    """
    watched, through = _watched(model), 0
    changes: list[Change] = []
    if watched and state.start >= 0 and state.start + model.window <= until:
        through = state.start + model.window
        if "rate" in watched:
            rows = {stream: block.n for stream, _, block in state.arrived.values()}
            changes += listen(state.presence, model, RATE, state.start, rows)
        for key, (stream, shape, block) in sorted(state.arrived.items()):
            one = state.streams.setdefault(key, Stream())
            one.block.add(block)
            one.last = through
            if one.block.n >= _LEAST:
                changes += _judge(state.presence.book, model, stream, one, reference_of(stream, shape))
                one.block = Block()
        state.start, state.arrived = -1, {}
        book = state.presence.book
        forgotten = through - forget_after(model.window)
        for key in [k for k, one in state.streams.items() if one.last < forgotten or _version(k) in book.superseded]:
            del state.streams[key]
    if "rate" in watched and silence and state.start < 0:
        changes += quiet(state.presence, model, RATE, until)
    return max([through, *(change.time for change in changes)]), changes


def mature(state: Labels, model: Model, window: Window) -> list[Change]:
    """Judge which share of the predictions of one window of performance has a label at maturity."""
    changes: list[Change] = []
    if "rate" not in _watched(model):
        return changes
    for stream, (_, vector) in window.streams.items():
        waited = outcomes.remembered(model, vector)
        if waited == 0 or stream.version in state.mature.superseded:
            continue
        one = state.shares.setdefault(stream_text(stream), Share())
        one.start = window.start if one.n == 0 else one.start
        one.n, one.labels = one.n + waited, one.labels + outcomes.mature(model, vector).labels
        if one.n >= _LEAST:
            changes += _judge_share(state.mature, model, stream, one, window.end)
            one.n = one.labels = 0
    return changes


def _judge(book: Book, model: Model, stream: StreamKey, one: Stream, reference: Reference) -> list[Change]:
    watched, block = _watched(model), one.block
    changes = _judge_delay(book, model, stream, one) if "delay" in watched else []
    if "class_balance" not in watched or reference.outcomes is None or not model.classes:
        return changes
    balance, counts = one.balance, np.array(block.classes, np.int64)
    balance.since = block.start if balance.since < 0 else balance.since
    known = reference.outcomes
    if reference.classes != model.classes:  # a version's own reference may have met other classes
        known = reclassify(known, reference.classes, model.classes)
    expected = np.array(_classes(known, len(model.classes)), np.int64)
    statistic, free = _pearson(expected, counts)
    if not free or expected.sum() == 0:
        return changes
    p = None
    if balance.weight >= _BLOCKS - 1 and block.start >= balance.since + model.maturity:
        # Differences of neighbours are not independent of each other: the mean of m of them knows as much as of 2 m / 3.
        p = float(fdtrc(free, free * balance.weight * 2 / 3, statistic / free / balance.dispersion))
    shares = expected / expected.sum(), counts / counts.sum()
    size = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if p is None or p >= service_level(model, stream):
        balance.add(counts)
    if p is not None:
        most = int(
            np.argmax(np.abs(shares[0] - shares[1])[1:] if len(counts) == _TWO else np.abs(shares[0] - shares[1]))
        )
        most += len(counts) == _TWO  # of two classes the positive one has the name
        figures = f"{model.classes[most]} {shares[1][most]:.1%} of {block.n:,}, {shares[0][most]:.1%} in the reference"
        changes += _said(
            book,
            model,
            stream,
            "class_balance",
            p,
            (block.start, block.end),
            Evidence(
                statistic="chi2",
                value=statistic,
                effect_size=size,
                n=block.n,
                labels=block.n,
                reference_hash=reference.content_hash,
            ),
            ("critical" if size >= _SHARES[1] else "warning" if size >= _SHARES[0] else "info"),
            (
                f"the classes of labels have changed ({figures})",
                f"the classes of labels are as in the reference ({figures})",
            ),
        )
    return changes


def _judge_delay(book: Book, model: Model, stream: StreamKey, one: Stream) -> list[Change]:
    block, past = one.block, one.delay
    value = block.bins / block.n
    variance = max(0.0, block.squares / block.n - value * value) / block.n
    p = past.p_value(value, variance, _DELAY_FLOOR, block.end)
    before = past.mean
    changes: list[Change] = []
    if p is not None:
        size = (value - before) / DELAY_PARTS  # in doublings
        figures = f"typically {duration(_delay(value))}, {duration(_delay(before))} before; {block.n:,} labels"
        changes = _said(
            book,
            model,
            stream,
            "delay",
            p,
            (block.start, block.end),
            Evidence(
                statistic="mean_log_delay",
                value=float(_delay(value)),
                reference_value=float(_delay(before)),
                effect_size=size,
                n=block.n,
                labels=block.n,
            ),
            ("critical" if abs(size) >= _DOUBLINGS[1] else "warning" if abs(size) >= _DOUBLINGS[0] else "info"),
            (
                f"labels come {'later' if size > 0 else 'sooner'} than before ({figures})",
                f"labels come as late as before ({figures})",
            ),
        )
    one.delay = _learn(book, model, stream, "delay", past, p, value, (block.start, block.end))
    return changes


def _judge_share(book: Book, model: Model, stream: StreamKey, one: Share, end: int) -> list[Change]:
    share, past = one.labels / one.n, one.ordinary
    value = math.asin(math.sqrt(share))  # whose variance does not depend on the share
    p = past.p_value(value, 1 / (4 * one.n), _COVERAGE_FLOOR, end)
    changes: list[Change] = []
    if p is not None:
        before = math.sin(past.mean) ** 2
        size = share - before
        figures = f"{share:.1%} of {one.n:,}, {before:.1%} before"
        changes = _said(
            book,
            model,
            stream,
            "coverage",
            p,
            (one.start, end),
            Evidence(
                statistic="coverage",
                value=share,
                reference_value=before,
                effect_size=size,
                n=one.n,
                labels=one.labels,
                coverage=share,
                sample=model.sample,
            ),
            ("critical" if -size >= _SHARES[1] else "warning" if abs(size) >= _SHARES[0] else "info"),
            (
                f"{'more' if size > 0 else 'fewer'} predictions than before have a label at maturity ({figures})",
                f"as many predictions as before have a label at maturity ({figures})",
            ),
            time=end + model.maturity,
        )
    one.ordinary = _learn(book, model, stream, "coverage", past, p, value, (one.start, end))
    return changes


def _learn(
    book: Book,
    model: Model,
    stream: StreamKey,
    subject: str,
    past: Ordinary,
    p: float | None,
    value: float,
    span: tuple[int, int],
) -> Ordinary:
    """The past with a block that did not reject in it; begun anew when an alert has been open for a week at this level."""
    if p is not None and p < service_level(model, stream):
        condition = book.condition(stream, subject)
        if not condition.open or span[1] - max(condition.opened, past.since) < _WEEK:
            return past
        past = Ordinary()
    past.add(value, span[0])
    return past


def _said(  # noqa: PLR0913, PLR0917  # what one decision is made of
    book: Book,
    model: Model,
    stream: StreamKey,
    subject: str,
    p: float,
    window: tuple[int, int],
    evidence: Evidence,
    severity: Severity,
    sentences: tuple[str, str],
    time: int | None = None,
) -> list[Change]:
    at = service_level(model, stream)
    rejected = p < at
    if not rejected and subject not in book.conditions.get(stream_text(stream), {}):
        return []  # what never rejected has no history that could decide anything
    change = decide(
        book,
        model,
        stream,
        "labels",
        subject,
        rejected=rejected,
        severity=tiered(model, severity),
        window=window,
        time=window[1] if time is None else time,
        confirm=model.config.alerts.confirmation,
        evidence=msgspec.structs.replace(evidence, p_value=p, level=at, config_hash=model.decision),
        summary=f"{who(stream)}: {sentences[not rejected]}",
    )
    return [] if change is None else [change]


def _watched(model: Model) -> tuple[str, ...]:
    return model.config.label_monitors if isinstance(model.config, ModelConfig) else ()


def _classes(counts: NDArray[np.int64], classes: int) -> list[int]:
    """The number of labels of each class; none for a regression."""
    if not classes:
        return []
    found: list[int] = layout.confusion(counts, classes).sum(axis=1).tolist()
    return found


def _pearson(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, int]:
    """Pearson's chi^2 of two samples, and its degrees of freedom; classes that expect fewer than ``_EXPECTED`` are one."""
    n, m = int(a.sum()), int(b.sum())
    if n == 0 or m == 0:
        return 0.0, 0
    both = (a + b).astype(np.float64)
    rare = both * min(n, m) / (n + m) < _EXPECTED
    kept = np.stack([np.append(x[~rare], x[rare].sum()) for x in (a, b)]).astype(np.float64)
    kept = kept[:, kept.sum(axis=0) > 0]
    expected = np.outer([n, m], kept.sum(axis=0)) / (n + m)
    return float(((kept - expected) ** 2 / expected).sum()), kept.shape[1] - 1


def _delay(mean_bin: float) -> int:
    """The delay (ms) that a mean of bins stands for: about the geometric mean of the delays."""
    return round(2 ** ((mean_bin - 1) / DELAY_PARTS))


def _version(key: str) -> str:
    return key.split("\x1f", 1)[0]
