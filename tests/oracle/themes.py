"""Made-up histories of whole deployments, one kind for each thing that time can do to a monitor.

A history is made of its theme, its seed and its size alone. ``small`` ones have few rows and every coincidence; ``large`` ones
have enough rows in a window that alerts open and resolve.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from tests.oracle.join_oracle import Label, Prediction
from tests.oracle.worlds import DAY, HOUR, MINUTE, World, answer, worlds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.oracle.join_oracle import Rules

PARTITIONS = 2
Size = Literal["small", "large"]
BASE = 1_767_225_600_000
"""2026-01-01, ms."""
MIDNIGHTS = (
    datetime(2023, 2, 28, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 1, tzinfo=UTC),
)
"""Around leap days, ends of months and years, and a night when clocks on walls are put forward."""


def answered(*parts: Any) -> Prediction:  # noqa: ANN401  # from the id on, as they stand
    """A prediction that can be read; where and when it stands in its topic is said later."""
    return Prediction(0, 0, True, *parts)  # noqa: FBT003  # as above


def said(*parts: Any) -> Label:  # noqa: ANN401  # as `answered`
    """A label that can be read; where and when it stands in its topic is said later."""
    return Label(0, 0, True, *parts)  # noqa: FBT003  # as above


@dataclass(frozen=True)
class Silence:
    """The partition of a topic is caught up at ``offset``, and the wall clock says ``time``."""

    offset: int
    time: int


@dataclass
class Side:
    """One topic of one partition: its records in offset order, and where it fell silent."""

    records: list[Any] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)


@dataclass
class History:
    """What a deployment has read: by partition and topic."""

    name: str
    world: World
    sides: dict[tuple[str, int], Side]


class Story:
    """What is being told: records with the time at which they reach their topic."""

    def __init__(self, name: str, world: World, random: Random, size: Size) -> None:
        """Nothing told yet."""
        self.name, self.world, self.random, self.size = name, world, random, size
        self.told: dict[tuple[str, int], list[tuple[int, int, Any]]] = {
            (topic, p): [] for topic in ("predictions", "labels") for p in range(PARTITIONS)
        }
        self.count = 0

    def rules(self, model: str) -> Rules:
        """A model's times."""
        return self.world.models[model].rules

    def tell(self, topic: str, partition: int, at: int, what: Any) -> None:  # noqa: ANN401  # a record or a silence
        """Something reaches a topic at a time; what comes at one time keeps the order in which it was told.

        That is the time of the record, unless it has one already.
        """
        self.count += 1
        self.told[topic, partition].append((at, self.count, what))

    def predict(self, partition: int, at: int, p: Prediction) -> None:
        """A prediction reaches its topic."""
        self.tell("predictions", partition, at, p)

    def label(self, partition: int, at: int, label: Label) -> None:
        """A label reaches its topic."""
        self.tell("labels", partition, at, label)

    def silence(
        self, at: int, partitions: tuple[int, ...] = (0, 1), topics: tuple[str, ...] = ("predictions", "labels")
    ) -> None:
        """Partitions are caught up, and the wall clock says ``at``."""
        for partition in partitions:
            for topic in topics:
                self.tell(topic, partition, at, None)

    @property
    def end(self) -> int:
        """The last time of anything told."""
        return max((at for told in self.told.values() for at, _, _ in told), default=BASE)

    def close(self) -> None:
        """The wall clock goes on until everything is over."""
        rules = [m.rules for m in self.world.models.values()]
        end, idle = self.end, max(r.idle for r in rules)
        late = end + idle + max(r.window + r.lateness for r in rules)
        for more in (0, max(r.maturity for r in rules), 2 * max(r.horizon for r in rules)):
            self.silence(late + more)

    def history(self) -> History:
        """All of it, with offsets."""
        sides = {}
        for (topic, partition), told in self.told.items():
            side = sides[topic, partition] = Side()
            for at, _, what in sorted(told, key=lambda t: t[:2]):
                if what is None:
                    side.silences.append(Silence(len(side.records), at))
                else:
                    time = what.record_time or at
                    side.records.append(replace(what, offset=len(side.records), record_time=time))
        return History(self.name, self.world, sides)


MOODS: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "drifted": {"shift": 1.75},
    "wrong": {"errors": 0.75},
    "broken": {},
}
"""What a stretch of traffic looks like."""


def question(random: Random, mood: str) -> tuple[dict[str, Any], Any, float | None, str]:
    """Features, answer, score and truth of one prediction."""
    row = answer(random, **MOODS[mood])
    truth = row.pop("label")
    prediction, score = row.pop("prediction"), row.pop("score")
    if mood == "broken" and random.random() < 0.6:
        row = random.choice(
            [{"a": None, "c": "nowhere"}, {"a": "text", "c": "xx"}, {"a": 99.5, "c": 3}, {"stranger": 1}]
        )
    if random.random() < 0.02:
        prediction, score = random.choice([(None, score), ("yes", None), ("perhaps", score), (None, None)])
    return row, prediction, score, truth


@dataclass(frozen=True)
class Truth:
    """How labels come: after which delays (between the first and the second of one of these), and what goes wrong with them."""

    delays: tuple[tuple[int, int], ...]
    missing: float = 0.1
    named: float = 0.5
    untimed: float = 0.3
    twice: float = 0.05
    stray: float = 0.02


def truths(rules: Rules, random: Random) -> Truth:
    """Labels that mostly come in time."""
    return Truth(
        delays=(
            (0, rules.pane),
            (0, max(1, rules.maturity)),
            (-rules.pane, rules.window),
            (rules.maturity, rules.horizon),
            *([(rules.horizon - 3, rules.horizon + rules.window)] if random.random() < 0.3 else []),
        ),
        missing=random.choice([0.0, 0.1, 0.5]),
        named=random.choice([0.0, 0.3, 1.0]),
        untimed=random.choice([0.0, 0.5]),
        twice=random.choice([0.0, 0.1]),
        stray=random.choice([0.0, 0.05]),
    )


@dataclass(frozen=True)
class Traffic:
    """A model's traffic: windows, rows in each, when it is seen after its event, where, and what stretches look like."""

    model: str
    begin: int
    windows: int
    rows: int
    moods: tuple[str, ...]
    partitions: tuple[int, ...] = (0, 1)
    version: str = "v1"
    variants: tuple[str, ...] = ("champion",)
    lag: int = 0
    """Between an event and its record, at most."""
    seen: int = 0
    """Added to every record time: how far a backfill lies behind."""


def traffic(story: Story, t: Traffic, truth: Truth) -> None:
    """Predictions, and the labels that they get."""
    random, rules = story.random, story.rules(t.model)
    grid = max(1, rules.pane // 10) if random.random() < 0.5 else 1
    for window in range(t.windows):
        mood = t.moods[window % len(t.moods)]
        for _ in range(t.rows):
            story.count += 1
            name = f"{t.model}{story.count}"
            time = t.begin + window * rules.window + random.randrange(rules.window) // grid * grid
            at = time + t.seen + (random.randrange(t.lag + 1) // grid * grid if t.lag else 0)
            row, prediction, score, actual = question(random, mood)
            partition = random.choice(t.partitions)
            for variant in t.variants:
                p = answered(name, t.model, t.version, variant, time, row, prediction, score)
                story.predict(partition, at, p)
                if random.random() < truth.twice:
                    story.predict(partition, at + random.randrange(rules.window), p)
                if variant != t.variants[-1]:
                    row, prediction, score, _ = question(random, mood)
            _labels(story, t, truth, (partition, name, time, actual))


def _labels(story: Story, t: Traffic, truth: Truth, of: tuple[int, str, int, str]) -> None:
    random, rules = story.random, story.rules(t.model)
    partition, name, time, truly = of
    actual: Any = truly
    if random.random() < truth.stray:
        name = f"nobody{story.count}"
    model = t.model if random.random() < truth.named else None
    while random.random() >= truth.missing:
        known = time + random.randint(*random.choice(truth.delays))
        untimed = random.random() < truth.untimed
        at = known + t.seen + (0 if untimed else random.choice([0, 0, random.randrange(rules.window)]))
        story.label(partition, at, said(name, actual, None if untimed else known, model))
        if random.random() >= truth.twice:
            break
        actual = random.choice([actual, "no", 1])
        model = random.choice([model, t.model])


def moods(random: Random, windows: int) -> tuple[str, ...]:
    """Stretches of ordinary and other windows."""
    found: list[str] = []
    while len(found) < windows:
        found += [random.choice(["ordinary", "ordinary", *MOODS])] * random.randrange(1, 4)
    return tuple(found[:windows])


def _size(story: Story, model: str = "m1") -> tuple[int, int]:
    """Windows, and rows in each; in large histories one model has enough for every test, the other one sometimes."""
    random = story.random
    if story.size == "small":
        return random.randrange(1, 4), random.randrange(1, 8)
    return random.randrange(4, 6), 52 if model == "m1" else random.choice([12, 12, 52])


def _world(random: Random, size: Size) -> World:
    return worlds()[random.choice(["tiny", "tiny", "seconds"] if size == "small" else ["seconds", "seconds", "tiny"])]


def _lag(rules: Rules, random: Random) -> int:
    return random.choice([0, rules.lateness // 2, rules.pane + rules.lateness, rules.window])


def mixed(random: Random, size: Size) -> Story:
    """Two models, some of everything, at the same time."""
    story = Story("mixed", _world(random, size), random, size)
    for model in story.world.models:
        windows, rows = _size(story, model)
        rules = story.rules(model)
        begin = BASE + random.randrange(3) * rules.window + random.randrange(rules.pane)
        t = Traffic(model, begin, windows, rows, moods(random, windows), lag=_lag(rules, random))
        traffic(
            story, replace(t, variants=random.choice([("champion",), ("champion", "shadow")])), truths(rules, random)
        )
        if random.random() < 0.3:
            traffic(story, replace(t, version="v2", rows=max(1, rows // 2)), truths(rules, random))
    _noise(story)
    return story


def _noise(story: Story) -> None:
    """Records that cannot be read, of models that nobody watches."""
    random = story.random
    for (topic, partition), told in story.told.items():
        for at, _, what in random.sample(told, min(len(told), random.randrange(4))):
            if what is None:
                continue
            bad: dict[str, Any] = random.choice(
                [{"readable": False, "id": str(random.randrange(8))}, {"model": "nobody"}]
            )
            story.tell(topic, partition, at + random.randrange(3), replace(what, record_time=at, **bad))


def horizons(random: Random, size: Size) -> Story:
    """Everything at a limit, one millisecond inside of it, or one outside."""
    story = Story("horizons", _world(random, size), random, size)
    for model in story.world.models:
        windows, rows = _size(story, model)
        rules = story.rules(model)
        begin = BASE // rules.window * rules.window
        for k in range(windows * rows if size == "small" else 0):
            partition, off = random.randrange(PARTITIONS), random.choice([-1, 0, 1])
            window = begin + k // rows * rules.window
            time = window + random.choice([0, rules.pane - 1, rules.pane, rules.window - 1])
            row, prediction, score, actual = question(random, "ordinary")
            p = answered(f"{model}{k}", model, "v1", "champion", time, row, prediction, score)
            story.predict(partition, time, p)
            if random.random() < 0.3:  # the same again, a horizon away
                again = replace(p, event_time=time + rules.horizon + off)
                story.predict(partition, again.event_time, again)
            if random.random() < 0.3:  # as late as may be
                slack = rules.pane - time % rules.pane + rules.lateness
                story.predict(partition, time + slack + off, replace(p, id=f"clock{k}", event_time=time + slack + off))
                story.predict(partition, time + slack + off, replace(p, id=f"late{k}"))
            known = random.choice(
                [
                    time - rules.horizon + off,
                    time + rules.horizon + off,
                    window + rules.window + rules.maturity + off,
                    (time + rules.pane) // rules.pane * rules.pane + off,
                ]
            )
            label = said(p.id, actual, known, random.choice([None, model]))
            story.label(partition, known, label)
            if random.random() < 0.3:
                again_at = known + random.choice([rules.horizon, 45, 60]) + off
                story.label(partition, again_at, replace(label, event_time=again_at, label="no"))
        if size == "large":
            exact = tuple((d + o, d + o) for d in (rules.maturity, rules.horizon, -rules.pane) for o in (-1, 0, 1))
            t = Traffic(model, begin, windows, rows, moods(random, windows), lag=rules.lateness)
            traffic(story, t, Truth((*exact, (0, rules.pane)), untimed=0.0, missing=0.0))
    return story


def repeats(random: Random, size: Size) -> Story:
    """Few names that come back: duplicates, conflicts, orphans, and labels that come before their prediction."""
    story = Story("repeats", _world(random, size), random, size)
    for model in story.world.models:
        windows, rows = _size(story, model)
        rules = story.rules(model)
        t = Traffic(
            model, BASE, windows, rows, moods(random, windows), variants=("champion", "shadow"), lag=rules.window
        )
        early = ((-rules.horizon, 0), (0, rules.pane), (0, rules.horizon))
        traffic(story, t, Truth(early, missing=0.2, twice=0.4, stray=0.15))
    ids = [(w.id, p) for (topic, p), told in story.told.items() for _, _, w in told if topic == "predictions"]
    for (topic, partition), told in list(story.told.items()):
        for at, _, what in random.sample(told, len(told) // 6):
            mine = [i for i, p in ids if p == partition]
            when = at + random.randrange(-5, 50)
            story.tell(topic, partition, when, replace(what, id=random.choice(mine or ["x"]), record_time=when))
    return story


def shadows(random: Random, size: Size) -> Story:
    """Champion, shadow and challenger answer under one id, and share its label."""
    story = Story("shadows", _world(random, size), random, size)
    windows, rows = _size(story)
    for model in story.world.models:
        rules = story.rules(model)
        variants = ("champion", "shadow", "challenger") if size == "small" else ("champion", "shadow")
        t = Traffic(model, BASE, windows, rows, moods(random, windows), variants=variants, lag=_lag(rules, random))
        traffic(story, t, replace(truths(rules, random), named=random.choice([0.0, 0.5])))
    # The other model answers some of the same questions, and a version is tried in the shadow only.
    for (topic, partition), told in list(story.told.items()):
        for at, _, what in random.sample(told, len(told) // 5) if topic == "predictions" else []:
            other = random.choice(["m1", "m2"])
            story.predict(
                partition, at, replace(what, model=other, version=random.choice(["v1", "v2"]), variant="shadow")
            )
    return story


def backfill(random: Random, size: Size) -> Story:
    """One model lives its past again while another one is live; its labels name it, or name nobody."""
    story = Story("backfill", _world(random, size), random, size)
    live, past = random.sample(["m1", "m2"], 2)
    windows, rows = _size(story)
    rules = story.rules(live)
    traffic(
        story,
        Traffic(live, BASE, windows, rows, moods(random, windows), lag=_lag(rules, random)),
        truths(rules, random),
    )
    rules = story.rules(past)
    behind = random.choice([20, 500]) * rules.window
    named = random.choice([1.0, 1.0, 0.5])
    where = random.choice([(0, 1), (0,), (1,)])
    t = Traffic(past, BASE - behind, windows, rows, moods(random, windows), partitions=where, seen=behind)
    traffic(story, t, replace(truths(rules, random), named=named, untimed=0.0))
    return story


def delayed(random: Random, size: Size) -> Story:
    """Labels come a day later, some after maturity, some a week later."""
    story = Story("delayed", worlds()["minutes"], random, size)
    windows, rows = _size(story)
    begin = BASE + random.randrange(24) * HOUR
    for model in random.choice([("m1",), ("m1", "m2")]):
        rules = story.rules(model)
        delays = ((DAY - HOUR, DAY), (DAY, DAY), (DAY, DAY + HOUR), (0, 3 * DAY), (7 * DAY - MINUTE, 7 * DAY + MINUTE))
        t = Traffic(model, begin, windows, rows, moods(random, windows), lag=_lag(rules, random))
        truth = Truth(delays[:3] if random.random() < 0.6 else delays, named=random.choice([0.0, 1.0]))
        traffic(story, t, truth)
        if random.random() < 0.5:  # another day of traffic, so that it is not the wall clock that lets labels close
            later = replace(t, begin=begin + DAY + random.randrange(HOUR), rows=max(1, rows // 4))
            traffic(story, later, truth)
    if random.random() < 0.5:
        for hours in range(1, 40, 6):
            story.silence(begin + windows * 10 * MINUTE + hours * HOUR)
    return story


def idle(random: Random, size: Size) -> Story:
    """A partition falls silent, or never sees a model, while the other one goes on."""
    story = Story("idle", _world(random, size), random, size)
    kind = random.randrange(3)
    windows, rows = _size(story)
    for model in story.world.models:
        rules = story.rules(model)
        alone = (random.randrange(PARTITIONS),)
        t = Traffic(model, BASE, windows, rows, moods(random, windows), lag=_lag(rules, random))
        truth = truths(rules, random)
        if kind == 0:  # first both, then one
            traffic(story, t, truth)
            more = replace(t, begin=BASE + windows * rules.window, partitions=alone)
            traffic(story, more, truth)
        elif kind == 1:  # one model here, the other there
            traffic(story, replace(t, partitions=(int(model == "m1"),)), truth)
        else:  # one partition long before the other
            traffic(story, replace(t, partitions=(0,)), truth)
            traffic(story, replace(t, begin=BASE + random.randrange(windows * rules.window), partitions=(1,)), truth)
    # The wall clock stands in for a partition that is caught up; a record of the other may be older or younger.
    step = max(m.rules.window for m in story.world.models.values())
    begin, end = BASE, story.end
    for at in range(begin, end, step):
        if random.random() < 0.4:
            story.silence(at + random.randrange(step), (random.randrange(PARTITIONS),))
    return story


def all_idle(random: Random, size: Size) -> Story:
    """Everything stops; the wall clock alone closes what is open; later some of it comes back."""
    story = Story("all idle", _world(random, size), random, size)
    for model in story.world.models:
        windows, rows = _size(story, model)
        rules = story.rules(model)
        t = Traffic(model, BASE, windows, rows, moods(random, windows), lag=_lag(rules, random))
        traffic(story, t, truths(rules, random))
    end = story.end
    step = max(m.rules.window for m in story.world.models.values())
    for k in range(random.randrange(1, 6)):
        story.silence(
            end + k * step + random.randrange(step), topics=random.choice([("predictions",), ("predictions", "labels")])
        )
    if random.random() < 0.6:
        again = end + random.choice([3, 10, 40]) * step
        for model in story.world.models:
            windows, rows = _size(story, model)
            rules = story.rules(model)
            traffic(story, Traffic(model, again, min(3, windows), rows, ("ordinary",)), truths(rules, random))
    return story


def future(random: Random, size: Size) -> Story:
    """One event, and one label, from far ahead; others as far ahead as is allowed, and one millisecond further."""
    story = Story("future", _world(random, size), random, size)
    for model in story.world.models:
        windows, rows = _size(story, model)
        rules = story.rules(model)
        t = Traffic(model, BASE, windows, rows, moods(random, windows), lag=_lag(rules, random))
        traffic(story, t, truths(rules, random))
    for (topic, partition), told in list(story.told.items()):
        if not told:
            continue
        for ahead in (DAY * 400, story.world.future + 1, story.world.future):
            at, _, what = random.choice(told)
            if random.random() < 0.6:
                strange = replace(what, record_time=at, event_time=at + ahead)
                story.tell(
                    topic, partition, at, strange if random.random() < 0.5 else replace(strange, id=f"ahead{at}")
                )
    return story


def calendar(random: Random, size: Size) -> Story:
    """Midnights: of leap days, of the ends of months and years, with windows of an hour and of a day."""
    story = Story("calendar", worlds()["hours"], random, size)
    midnight = int(random.choice(MIDNIGHTS).timestamp() * 1000)
    windows, rows = _size(story)
    for model, before in (("m1", random.randrange(1, 5)), ("m2", random.randrange(1, 3))):
        if model == "m2" and random.random() < 0.5:
            continue
        rules = story.rules(model)
        begin = midnight - before * rules.window + random.choice([0, 0, random.randrange(rules.window)])
        count = max(before + 1, windows) if model == "m1" else min(before + 2, windows)
        t = Traffic(model, begin, count, rows, moods(random, count), lag=_lag(rules, random))
        traffic(story, t, truths(rules, random))
        for off in (-1, 0, 1):
            row, prediction, score, actual = question(random, "ordinary")
            p = answered(f"{model} {off}", model, "v1", "champion", midnight + off, row, prediction, score)
            story.predict(0, midnight + off, p)
            known = midnight + random.choice([off, off + DAY, off + rules.maturity])
            story.label(0, known, said(p.id, actual, known, None))
    return story


THEMES: dict[str, Callable[[Random, Size], Story]] = {
    "mixed": mixed,
    "horizons": horizons,
    "repeats": repeats,
    "shadows": shadows,
    "backfill": backfill,
    "delayed": delayed,
    "idle": idle,
    "all idle": all_idle,
    "future": future,
    "calendar": calendar,
}


def history(theme: str, seed: int, size: Size) -> History:
    """The history of a theme, a seed and a size."""
    random = Random(f"{theme} {seed} {size}")
    story = THEMES[theme](random, size)
    if random.random() < 0.8:
        story.close()
    return story.history()
