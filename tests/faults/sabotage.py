"""What is taken away from a worker, and what befalls it: patches from outside, by name. The product has no hooks.

A *removal* takes one protection away; a *fault* makes the moment come in which it is needed. ``tests.faults.sabotaged`` runs the
product's command line with some of both. With the fault alone everything must come out right; with the removal too, somebody
must see it (``cells_sabotage``): that is how the cells prove that they can fail. Faults stand in ``sabotage_faults``.

Protections overlap on purpose, so some are seen only when what stands behind them is taken away as well: `fencing` is two.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from typing import Any, Final

from tests.faults import sabotage_patches
from tests.faults.sabotage_patches import of, replace, store, wrap

_TOKEN = "if head[1] ~= ARGV[1] then return 'lost' end"  # noqa: S105  # a line of the script
_SEQUENCE = "if (head[2] or '0') ~= ARGV[2] then return 'conflict' end"
_KNOWN = "if head[3] == ARGV[3] then return 'done' end"


def _without_lines(*lines: str) -> None:
    """The commit's script without some of its lines."""
    text = files("streams.edges").joinpath("commit.lua").read_text()
    for line in lines:
        assert line in text, f"commit.lua has no line {line!r} any more"
        text = text.replace(line, "")

    def init(original: Callable[..., None], self: Any, *args: Any, **named: Any) -> None:  # noqa: ANN401  # a RedisStore
        original(self, *args, **named)
        self._commit = self._redis.register_script(text)

    wrap(store(), "__init__", init)


def no_token() -> None:
    """A commit is run whoever owns the shard."""
    _without_lines(_TOKEN)


def no_fencing() -> None:
    """A commit is run whoever owns the shard, and whatever was committed since."""
    _without_lines(_TOKEN, _SEQUENCE)


def no_sequence() -> None:
    """A commit is run whatever was committed since."""
    _without_lines(_SEQUENCE)


def no_recognition() -> None:
    """A commit that is sent again is not known."""
    _without_lines(_KNOWN)


def no_one_write() -> None:
    """Panes and the join's log are written first, and then the rest: two writes."""

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        pipe = self._redis.pipeline(transaction=False)
        for (kind, model, start), data in commit.put:
            pipe.set(self._key(commit.shard, "cell", kind, model, start), data)
            pipe.zadd(self._key(commit.shard, "cells", kind, model), {start: start})
        for segment, data in commit.append:
            pipe.append(self._key(commit.shard, "segment", segment), data)
            pipe.sadd(self._key(commit.shard, "segments"), segment)
        pipe.execute()
        sabotage_patches.between_writes(commit)
        commit.put, commit.append = [], []
        return original(self, commit)

    wrap(store(), "commit", commit)


def no_outbox() -> None:
    """Decided events are published, and stand in no commit."""

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        commit.outbox.clear()
        return original(self, commit)

    wrap(store(), "commit", commit)


def no_determined_ids() -> None:
    """Ids hold something that every process draws anew."""
    identifiers, salt = import_module("schemas.identifiers"), uuid.uuid4().hex
    original = identifiers.event_id
    identifiers.event_id = lambda *parts: original(*parts, salt)  # type: ignore[attr-defined]


def no_letters_first() -> None:
    """A commit does not wait for the dead letters that it passes."""
    replace(of("streams.edges.kafka_publisher:KafkaPublisher"), "settled", lambda _: True)


def no_journal_first() -> None:
    """A commit does not wait for the journal."""
    replace(of("streams.engine.shard:Shard"), "journaled", property(lambda _: True))
    replace(of("streams.edges.kafka_journal:KafkaJournal"), "settled", lambda _: True)


def no_obedience() -> None:
    """Whoever takes a shard over does not look at what the journal says beyond its state."""
    fence = import_module("streams.engine.fence")

    def read(original: Callable[..., Any], *args: Any, **named: Any) -> Any:  # noqa: ANN401  # what fence.read says
        reading = original(*args, **named)
        reading.pending.clear()
        return reading

    wrap(fence, "read", read)


def no_unknown() -> None:
    """A partition of which nothing comes counts as silent, whether or not it was read to its end."""
    worker = import_module("streams.worker")

    def silent(self: Any, group: str, partition: int, topic: str) -> None:  # noqa: ANN401  # a Worker
        self.host.silent(group, partition, topic, worker.wall_ms())

    replace(worker.Worker, "_maybe_silent", silent)


def no_refusal() -> None:
    """State that is gone is begun anew without a word."""

    def take_over(original: Callable[..., None], self: Any, reading: Any, offset: int) -> None:  # noqa: ANN401  # a Shard
        reading.begun = False
        original(self, reading, offset)

    wrap(of("streams.engine.shard:Shard"), "take_over", take_over)


REMOVALS: Final[dict[str, Callable[[], None]]] = {
    "token": no_token,
    "fencing": no_fencing,
    "sequence": no_sequence,
    "recognition": no_recognition,
    "one-write": no_one_write,
    "outbox": no_outbox,
    "determined-ids": no_determined_ids,
    "letters-first": no_letters_first,
    "journal-first": no_journal_first,
    "obedience": no_obedience,
    "unknown": no_unknown,
    "refusal": no_refusal,
}
