"""Each protection of the protocol taken out, from outside. A simulation that does not notice would prove nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import PropertyMock, patch

import msgspec

from schemas.errors import ConnectionProblem
from schemas.journal import Claim, Entries
from streams.edges.memory_store import MemoryStore
from streams.engine import fence
from streams.engine.fence import Position, Reading
from streams.engine.shard import Shard
from tests.sim import toy
from tests.sim.consumer import SimLog
from tests.sim.redis import Connection
from tests.sim.toy import TaskState, ToyTask
from tests.sim.toy_host import ToyHost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.journal import Record
    from streams.edges.kafka_assignment import Place
    from streams.engine.journal import Journal
    from streams.engine.store import Commit, Verdict

_commit = MemoryStore.commit


def no_token_check() -> AbstractContextManager[Any]:
    """Whoever commits is the owner."""

    def commit(self: MemoryStore, commit: Commit) -> Verdict:
        self._shard(commit.shard).token = commit.token
        return _commit(self, commit)

    return patch.object(MemoryStore, "commit", commit)


def no_sequence_check() -> AbstractContextManager[Any]:
    """A commit is taken whatever came before it."""

    def commit(self: MemoryStore, commit: Commit) -> Verdict:
        mine = self._shard(commit.shard)
        mine.sequence = commit.sequence
        return _commit(self, commit)

    return patch.object(MemoryStore, "commit", commit)


def tokens_used_again() -> AbstractContextManager[Any]:
    """A machine claims with one token all its life."""
    return patch.object(ToyHost, "token", lambda self: self.machine.name)


def claim_epochs_ignored() -> AbstractContextManager[Any]:
    """Every entry counts, whoever wrote it and whenever."""
    whole = fence.read

    def read(records: Iterable[tuple[int, Record]], since: Position) -> Reading:
        found = list(records)
        highest = since.epoch + sum(isinstance(r, Claim) for _, r in found)
        heeded = [(o, msgspec.structs.replace(r, epoch=highest) if isinstance(r, Entries) else r) for o, r in found]
        return whole(heeded, since)

    return patch.object(fence, "read", read)


def epochs_counted_in_the_store() -> AbstractContextManager[Any]:
    """Each claim gets a number above that of the last from the store, which may forget it and give it out again."""
    init = Shard.__init__

    def counted(self: Shard, store: Any, journal: Journal, name: str, token: str, last: int = 0) -> None:  # noqa: ANN401  # as the simulation has it
        init(self, store, journal, name, token, last)
        given = store._store._shard(name).starts.setdefault(("epoch", ""), [0])  # noqa: SLF001  # goes back with the shard
        given[0] = self.epoch = max(given[0], last) + 1

    return patch.object(Shard, "__init__", counted)


def repeats_count_twice() -> AbstractContextManager[Any]:
    """An entry that was sent again is obeyed again."""
    read = fence.read

    def renumbered(records: Iterable[tuple[int, Record]], since: Position) -> Reading:
        numbered = itertools.count()
        found = [
            (o, msgspec.structs.replace(r, number=next(numbered)) if isinstance(r, Entries) else r) for o, r in records
        ]
        return read(found, since)

    return patch.object(fence, "read", renumbered)


def repeats_not_passed() -> AbstractContextManager[Any]:
    """Whoever has obeyed a record stands behind its first copy only."""
    return patch.object(fence, "replace", lambda pending, position: pending)  # noqa: ARG005  # as dataclasses.replace


def journal_not_awaited() -> AbstractContextManager[Any]:
    """The state is committed before what shaped it stands in the journal."""
    return patch.object(Shard, "journaled", PropertyMock(return_value=True))


def journal_not_read() -> AbstractContextManager[Any]:
    """Whoever takes over goes on from the state alone."""
    read = fence.read

    def forgetful(records: Iterable[tuple[int, Record]], since: Position) -> Reading:
        reading = read(records, since)
        reading.pending.clear()
        return reading

    return patch.object(fence, "read", forgetful)


def part_of_a_record_forgotten() -> AbstractContextManager[Any]:
    """A state does not say how many entries of a record it has obeyed."""
    read = fence.read
    return patch.object(fence, "read", lambda records, since: read(records, replace(since, part=0)))


def state_and_offsets_in_two_steps() -> AbstractContextManager[Any]:
    """What was counted is written first, how far it was counted a moment later."""
    whole = Connection.commit

    def halves(self: Connection, commit: Commit) -> Verdict:
        mine = self._store._shard(commit.shard)  # noqa: SLF001  # sabotage
        if mine.body and commit.shard.startswith("{task") and mine.token == commit.token:
            before, after = (msgspec.msgpack.decode(body, type=TaskState) for body in (mine.body, commit.body))
            after.offsets = before.offsets
            mine.body = msgspec.msgpack.encode(after)
        return whole(self, commit)

    return patch.object(Connection, "commit", halves)


def doubtful_commits_forgotten() -> AbstractContextManager[Any]:
    """A commit without an answer counts as not done, and another takes its place."""
    whole = Shard.commit

    def forgetful(self: Shard, stage: Callable[[Commit], None]) -> None:
        try:
            whole(self, stage)
        except ConnectionProblem:
            self._doubtful = None
            raise

    return patch.object(Shard, "commit", forgetful)


def restarts_unnoticed() -> AbstractContextManager[Any]:
    """A new connection does not ask whether it leads to the same life of the store."""
    ask = Connection._ask  # noqa: SLF001  # sabotage

    def blind(self: Connection, what: str, shard: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401  # as the original
        self._life = None
        return ask(self, what, shard, call)

    return patch.object(Connection, "_ask", blind)


def memory_kept_blindly() -> AbstractContextManager[Any]:
    """What is in memory goes on, whatever the store holds."""
    return patch.object(Shard, "succeeds", lambda self, _: not self.pending)


def memory_kept_with_void_entries() -> AbstractContextManager[Any]:
    """What is in memory goes on although it contains the effect of entries that do not count."""

    def succeeds(self: Shard, before: Shard) -> bool:
        return self.found != "" and not self.pending and self.found == before._last and before.journaled  # noqa: SLF001  # sabotage

    return patch.object(Shard, "succeeds", succeeds)


def ids_made_up() -> AbstractContextManager[Any]:
    """An event has another id each time it is decided."""
    event, fresh = toy.event, itertools.count()
    return patch.object(toy, "event", lambda name, payload: event(f"{name} {next(fresh)}", payload))


def no_outbox() -> AbstractContextManager[Any]:
    """Decided events are published after the commit, and not kept in it."""
    stage = ToyTask.stage

    def without(self: ToyTask, commit: Commit) -> None:
        stage(self, commit)
        commit.outbox.clear()

    return patch.object(ToyTask, "stage", without)


def commands_before_the_past() -> AbstractContextManager[Any]:
    """An evaluator that went back takes new commands before it has decided again what it had published."""
    return patch.object(ToyHost, "fence", lambda *_: None)


def assign_not_repeated() -> AbstractContextManager[Any]:
    """Whoever has claimed goes on, although the consumer was not set back to where the state stands."""
    whole = SimLog.assign_again

    def careless(self: SimLog, starts: Mapping[Place, int]) -> None:
        with suppress(ConnectionProblem):
            whole(self, starts)

    return patch.object(SimLog, "assign_again", careless)


Sabotage = Callable[[], AbstractContextManager[Any]]
ZOMBIES = {"move": 0.08, "sleep": 0.05, "wake": 0.3, "trouble": 250, "machines": 2, "most": 8} | dict.fromkeys(
    ("crash", "rewind", "resend", "command", "impatience"), 0.0
)
"""Hazards in which partitions go to and fro, and nothing else happens."""
GONE_BACK = {"rewind": 0.1, "most": 12} | dict.fromkeys(("crash", "sleep", "move", "command", "second", "assign"), 0.0)
"""Hazards in which the store goes back, and next to nothing else happens."""
ONE_GOES_BACK = {
    "rewind": 0.05,
    "second": 0.02,
    "arrival": 0.3,
    "most": 20,
    "trouble": 240,
    "machines": 1,
} | dict.fromkeys(("crash", "sleep", "move", "impatience", "command", "assign"), 0.0)
"""Hazards in which one machine obeys again and again what it has journaled itself."""

ALL: dict[Sabotage, dict[str, Any]] = {
    no_token_check: {},
    no_sequence_check: {},
    tokens_used_again: {},
    claim_epochs_ignored: {},
    epochs_counted_in_the_store: {"rewind": 0.08, "impatience": 0.3, "arrival": 0.1, "most": 12},
    repeats_count_twice: {"resend": 0.3},
    repeats_not_passed: {},
    journal_not_awaited: {},
    journal_not_read: {},
    part_of_a_record_forgotten: ONE_GOES_BACK,
    state_and_offsets_in_two_steps: {},
    doubtful_commits_forgotten: {"command": 0.2},
    restarts_unnoticed: {"rewind": 0.05},
    memory_kept_blindly: {},
    memory_kept_with_void_entries: ZOMBIES,
    ids_made_up: {},
    no_outbox: {"crash": 0.05},
    commands_before_the_past: GONE_BACK,
    assign_not_repeated: {"assign": 0.3},
}
"""Each with what has to happen more often than usual for it to show soon."""
BY_NAME = {taken_out.__name__: taken_out for taken_out in ALL}


def hazards(name: str) -> dict[str, Any]:
    """The hazards with which a protection is missed; none for a seed that is kept for no protection."""
    return ALL[BY_NAME[name]] if name else {}
