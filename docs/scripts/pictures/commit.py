"""The picture of claims and commits: what really passes between two workers, the store and the journal, drawn as it happens."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from docs.scripts.pictures.frame import FAINT, GOOD, MARK, REFERENCE, WINDOW, panels
from schemas.errors import OwnershipLost
from schemas.identifiers import task_tag
from schemas.journal import Claim, ClockEntry, Entries
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_store import MemoryStore
from streams.engine import fence
from streams.engine.shard import PROVEN_S, Shard, claim
from streams.engine.store import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from schemas.journal import Record
    from streams.engine.store import Commit, Head

SHARD: Final = task_tag("driftline.predictions", 0)
A, REDIS, JOURNAL, B = 0.0, 1.25, 2.6, 3.75
"""Where the lanes stand, in the picture's own unit."""
STEP: Final = 1.0
TEXT_PT: Final = 7.5


@dataclass(slots=True)
class Story:
    """What happened, one thing a line: (from lane, to lane, text, colour), or a note on one lane."""

    steps: list[tuple[float, float, str, str]] = field(default_factory=list)
    records: dict[int, int] = field(default_factory=dict)
    """The line at which the record of an offset came to stand in the journal."""

    def say(self, begin: float, end: float, text: str, colour: str = WINDOW) -> None:
        """Add a line."""
        self.steps.append((begin, end, text, colour))


def lane(token: str) -> float:
    """The lane of the worker that made a token."""
    return A if token.startswith("A") else B


class ToldStore(MemoryStore):
    """A store that tells what is asked of it, and can lose what it was told last."""

    def __init__(self, story: Story) -> None:
        """Empty."""
        super().__init__()
        self._story = story
        self._safe = deepcopy(self._shards)

    def sync(self) -> None:
        """What stands here now is on disk."""
        self._safe = deepcopy(self._shards)

    def restart(self) -> None:
        """Begin again with what is on disk."""
        self._shards = deepcopy(self._safe)

    def claim(self, shard: str, token: str) -> Head:
        """Claim, and tell."""
        head = super().claim(shard, token)
        self._story.say(lane(token), REDIS, f"claim: after commit {head.sequence}, epoch {head.position.epoch}")
        return head

    def commit(self, commit: Commit) -> Verdict:
        """Commit, and tell."""
        verdict = super().commit(commit)
        ours = verdict is Verdict.DONE
        text = f"commit {commit.sequence + 1}: {'done' if ours else 'refused, another token'}"
        self._story.say(lane(commit.token), REDIS, text, GOOD if ours else MARK)
        return verdict


class ToldJournal(MemoryJournal):
    """A journal that tells what is written and read."""

    def __init__(self, story: Story) -> None:
        """Empty."""
        super().__init__()
        self._story = story

    def _tell(self, record: Record, offset: int, text: str) -> None:
        self._story.records[offset] = len(self._story.steps)
        self._story.say(lane(record.token) if isinstance(record, Claim | Entries) else A, JOURNAL, text)

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """Claim, and tell."""
        found = super().claim(claims, since)
        (mine,) = claims
        self._tell(mine, len(self.records) - 1, f"claim, epoch {mine.epoch}")
        return found

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """Write, and tell."""
        text = "claim again: there is state for good" if isinstance(record, Claim) else "clock entry"
        self._tell(record, len(self.records), text)
        super().write(record, done)


def stage(commit: Commit) -> None:
    """A state of no interest here."""
    commit.body = b"state"


def obey(shard: Shard, story: Story, said: str) -> None:
    """Let what stands in the journal take effect, as a worker does."""
    offset = shard.pending[0].position.offset
    story.say(JOURNAL, lane(shard.token), f"obey {offset}")
    while shard.next_entry is not None:
        shard.obeyed()
    story.say(lane(shard.token), lane(shard.token), said, REFERENCE)


def play() -> tuple[Story, list[Record]]:
    """A takeover, and then a store that loses its last second."""
    story = Story()
    store, journal = ToldStore(story), ToldJournal(story)
    numbers = {"A": count(1), "B": count(1)}

    def take(worker: str) -> Shard:
        return claim(store, journal, [SHARD], lambda: f"{worker}.{next(numbers[worker])}")[SHARD]

    def clock(shard: Shard) -> None:
        shard.note(ClockEntry(topic="predictions", time_ms=30_000, offsets={"predictions": 120, "labels": 80}))
        shard.write()

    first = take("A")
    first.commit(stage)
    first.prove(0.0)
    first.prove(PROVEN_S)
    store.sync()
    clock(first)
    story.say(A, A, "is frozen", MARK)
    second = take("B")
    obey(second, story, "reads to record 120,\nthen moves the clock")
    second.commit(stage)
    story.say(A, A, "wakes up", MARK)
    clock(first)
    try:
        first.commit(stage)
    except OwnershipLost:
        story.say(A, A, "drops all, rejoins", MARK)
    store.restart()
    story.say(REDIS, REDIS, "restarts without its last second:\nafter commit 1 again", MARK)
    again = take("B")
    obey(again, story, "the same records,\nthen the same clock")
    again.commit(stage)
    return story, journal.records


def counting(records: Sequence[Record]) -> set[int]:
    """The offsets of the records that count: what the rule of the log lets somebody obey, and the claims that it is made of."""
    found = {p.position.offset for p in fence.read(enumerate(records)).pending}
    before: list[Claim] = []
    for offset, record in enumerate(records):
        if isinstance(record, Claim):
            if all(other.epoch < record.epoch or other.token == record.token for other in before):
                found.add(offset)
            before.append(record)
    return found


def arrow(ax: Axes, begin: float, end: float, y: float, colour: str) -> None:
    """From lane to lane."""
    ax.annotate("", (end, y), (begin, y), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.2})


def commit_picture() -> Figure:
    """Every message of a takeover and of a restart of Redis, and which records of the journal count."""
    story, records = play()
    heights = [1.0 + 0.55 * text.count("\n") for _, _, text, _ in story.steps]
    at = [-sum(heights[: n + 1]) * STEP for n in range(len(heights))]
    figure, (ax,) = panels(height_in=0.27 * sum(heights) + 0.5)
    bottom = min(at) - 0.6
    for x, name in ((A, "worker A"), (REDIS, "Redis"), (JOURNAL, "journal"), (B, "worker B")):
        ax.plot([x, x], [bottom, 0.0], color=FAINT, linewidth=1.0, zorder=0)
        ax.text(x, 0.25, name, ha="center", weight="bold")
    for (begin, end, text, colour), y in zip(story.steps, at, strict=True):
        if begin == end:
            box = {"facecolor": "#fbfbfc", "edgecolor": colour, "boxstyle": "round,pad=0.25", "linewidth": 0.9}
            ax.text(begin, y + 0.25, text, ha="center", va="center", fontsize=TEXT_PT, bbox=box)
            continue
        arrow(ax, begin, end + (0.14 if begin > end else -0.14) * (end == JOURNAL), y, colour)
        left, right = sorted((begin, end))
        middle = (left + right) / 2 if right - left < JOURNAL - A else (A + REDIS) / 2
        if end == REDIS and begin == B:
            middle = (REDIS + JOURNAL) / 2
        ax.text(middle, y + 0.12, text, ha="center", va="bottom", color=colour, fontsize=TEXT_PT)
    counts = counting(records)
    for offset, line in story.records.items():
        good = offset in counts
        box = {"facecolor": "#fbfbfc", "edgecolor": GOOD if good else MARK, "boxstyle": "square,pad=0.25"}
        text = f"{offset}" if good else f"{offset} void"
        ax.text(JOURNAL, at[line], text, ha="center", va="center", fontsize=TEXT_PT, bbox=box, zorder=5)
    ax.set(xlim=(A - 0.45, B + 0.5), ylim=(bottom, 0.9))
    ax.axis("off")
    return figure


PICTURES: Final[dict[str, Callable[[], Figure]]] = {"commit": commit_picture}
