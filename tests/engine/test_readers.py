"""What every reader has passed is deleted late, and never what a reader may have to read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import OwnershipLost, StateMissing
from schemas.identifiers import model_tag
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine import snapshot
from streams.engine.evaluator_head import Cursors
from streams.engine.store import FEATURES
from streams.host import PREDICTIONS, Host
from streams.hosting.readers import DROP_AFTER_S
from streams.references import ReferenceBook, plans
from tests.property import story

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Told(MemoryStore):
    """A store that tells cursors as the test wants them."""

    def __init__(self) -> None:
        """No evaluator has committed."""
        super().__init__()
        self.cursors: dict[str, int] = {}

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:
        """Of evaluators, what the test says."""
        names, said = (
            list(shards),
            {
                model_tag("driftline", name): snapshot.pack(b"curs", Cursors(at, at, at, at, at))
                for name, at in self.cursors.items()
            },
        )
        return [said.get(shard, found) for shard, found in zip(names, super().progress(names), strict=True)]


@pytest.fixture
def clock() -> list[float]:
    """The time, in seconds."""
    return [0.0]


@pytest.fixture
def host(tmp_path: Path, clock: list[float]) -> Host:
    """A process that owns the first partition of the story."""
    config, store = story.config(tmp_path), Told()
    parts = dict.fromkeys(plans(config), story.PARTITIONS)
    book = ReferenceBook(config, store)
    made = Host(config, plans(config), parts, store, MemoryPublisher(), MemoryJournal(), book, lambda: clock[0], str)
    made.claim([(PREDICTIONS, 0)])
    return made


def look(host: Host, clock: list[float], at: float, **cursors: int) -> dict[str, int]:
    """At this time the evaluators are so far; returns how far our task may delete features."""
    assert isinstance(host.store, Told)
    clock[0], host.store.cursors = at, {name.replace("_", "-"): cursor for name, cursor in cursors.items()}
    host._readers.look(PREDICTIONS)  # noqa: SLF001  # `tick` calls it beside everything else
    passed = host.tasks[PREDICTIONS, 0].passed
    return {name: found for (kind, name), found in passed.items() if kind == FEATURES}


def test_what_was_passed_a_while_ago_may_go(host: Host, clock: list[float]) -> None:
    assert look(host, clock, 0.0, loans=500) == {}
    assert look(host, clock, DROP_AFTER_S - 1, loans=600) == {}
    assert look(host, clock, DROP_AFTER_S, loans=700) == {"loans": 500}
    assert look(host, clock, 2 * DROP_AFTER_S, loans=800, late_comer=5) == {"loans": 700}


def test_what_a_reader_that_went_back_has_to_read_again_stays(host: Host, clock: list[float]) -> None:
    look(host, clock, 0.0, loans=600, late_comer=600)
    look(host, clock, 10.0, loans=570, late_comer=600)  # its commit lay in the second that Redis lost
    assert look(host, clock, DROP_AFTER_S + 1, loans=610, late_comer=600) == {"loans": 570, "late-comer": 600}
    look(host, clock, 2 * DROP_AFTER_S, loans=610)  # nothing is left of one of them
    assert look(host, clock, 3 * DROP_AFTER_S, loans=610, late_comer=1) == {"loans": 610}


def test_looks_from_before_a_claim_do_not_count(host: Host, clock: list[float]) -> None:
    look(host, clock, 0.0, loans=600)
    assert look(host, clock, DROP_AFTER_S, loans=600) == {"loans": 600}
    host.claim([(PREDICTIONS, 0)])
    assert look(host, clock, DROP_AFTER_S + 40, loans=570) == {}


@pytest.mark.parametrize("replaced", [True, False])
def test_an_evaluator_that_finds_panes_deleted_looks_first_whether_it_was_replaced(
    host: Host, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    (owned, *_) = host.evaluators.values()

    def deleted(*_: object) -> bool:
        raise StateMissing("panes are deleted", "restore them")

    monkeypatch.setattr(owned.evaluator, "run", deleted)
    if replaced:
        host.store.claim(owned.shard.name, "of somebody else")
    with pytest.raises(OwnershipLost if replaced else StateMissing):
        host.evaluate(PREDICTIONS)
