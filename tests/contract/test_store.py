"""The contract of a store, on Redis and on its twin in memory: one atomic commit, fenced by a token and a sequence."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from schemas.errors import (
    CommitConflict,
    ConnectionProblem,
    OwnershipLost,
    ReferenceMismatch,
    StateCorrupt,
    StateMissing,
)
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_store import MemoryStore
from streams.edges.redis_store import RedisStore
from streams.engine.shard import Shard, claim
from streams.engine.store import ARRIVALS, FEATURES, Cell, Commit, Store, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

SHARD, OTHER = "{task:test:0}", "{task:test:1}"
_ids = count()


class Watched:
    """A store, and everything that is in it, to compare before and after."""

    def __init__(self, store: Store, everything: Callable[[], object]) -> None:
        """``everything`` returns a value that changes whenever anything in the store does."""
        self.store, self.everything = store, everything


@pytest.fixture(params=["memory", "redis"])
def watched(request: pytest.FixtureRequest) -> Watched:
    """An empty store of each kind."""
    if request.param == "memory":
        store = MemoryStore()
        return Watched(store, lambda: msgspec.json.encode(_plain(vars(store)), order="deterministic"))
    url = request.getfixturevalue("redis_url")
    return Watched(RedisStore(url), lambda: _dump(url))


@pytest.fixture
def store(watched: Watched) -> Store:
    """The store alone."""
    return watched.store


def _plain(value: Any) -> Any:  # noqa: ANN401  # whatever the twin keeps
    if isinstance(value, dict):
        return sorted((repr(k), _plain(v)) for k, v in value.items())
    return repr(value)


def _dump(url: str) -> dict[bytes, bytes]:
    with redis.Redis.from_url(url) as client:
        return {key: client.dump(key) for key in sorted(client.keys("*"))}


def commit(sequence: int, token: str = "me", **what: Any) -> Commit:  # noqa: ANN401, S107  # the fields of Commit; a fencing token
    """A commit of our shard with an id of its own."""
    name = what.pop("commit_id", f"commit {next(_ids)}")
    return Commit(
        what.pop("shard", SHARD), token, sequence, name, what.pop("body", b"body"), what.pop("progress", b"far"), **what
    )


def everything(sequence: int, **what: Any) -> Commit:  # noqa: ANN401  # the fields of Commit
    """A commit that uses every field."""
    fields: dict[str, Any] = {
        "put": [((FEATURES, "m", 10), b"ten"), ((FEATURES, "m", 20), b"twenty")],
        "append": [("p:m:1", b"one"), ("p:m:1", b"more"), ("l:*:7", b"seven")],
        "outbox": [(0, b"first"), (1, b"second")],
    }
    return commit(sequence, **(fields | what))


def cell(store: Store, at: int, kind: str = FEATURES, shard: str = SHARD) -> bytes | None:
    """The bytes of one cell."""
    wanted: Cell = (kind, "m", at)
    return store.cells([(shard, wanted)])[0]


def test_a_shard_that_never_committed_has_no_body_and_sequence_zero(store: Store) -> None:
    head = store.claim(SHARD, "me")
    assert (head.sequence, head.body) == (0, None)
    assert store.segments(SHARD) == {}
    assert store.outbox(SHARD) == {}
    assert store.progress([SHARD]) == [None]
    assert store.starts(SHARD, FEATURES, "m", 0, 1 << 60) == []
    assert store.cells([(SHARD, (FEATURES, "m", 1))]) == [None]
    assert store.cells([]) == []


def test_a_commit_writes_all_of_it(store: Store) -> None:
    store.claim(SHARD, "me")
    assert store.commit(everything(0)) is Verdict.DONE
    head = store.claim(SHARD, "me")
    assert (head.sequence, head.body) == (1, b"body")
    assert store.progress([SHARD, OTHER]) == [b"far", None]
    assert store.starts(SHARD, FEATURES, "m", 0, 1 << 60) == [10, 20]
    assert store.cells([(SHARD, (FEATURES, "m", at)) for at in (10, 20, 30)]) == [b"ten", b"twenty", None]
    assert store.segments(SHARD) == {"p:m:1": b"onemore", "l:*:7": b"seven"}
    assert store.outbox(SHARD) == {0: b"first", 1: b"second"}


def test_a_later_commit_replaces_drops_appends_cuts_and_acknowledges(store: Store) -> None:
    store.claim(SHARD, "me")
    store.commit(everything(0))
    change = commit(
        1,
        put=[((FEATURES, "m", 10), b"TEN"), ((ARRIVALS, "m", 10), b"other kind")],
        drop=[(FEATURES, "m", 20), (FEATURES, "m", 99)],
        append=[("p:m:1", b"still")],
        cut=["l:*:7", "never:was:1"],
        outbox=[(2, b"third")],
        acknowledged=[0, 77],
        body=b"\x00\xff body",
    )
    assert store.commit(change) is Verdict.DONE
    assert store.claim(SHARD, "me").body == b"\x00\xff body"
    assert (cell(store, 10), cell(store, 20), cell(store, 10, ARRIVALS)) == (b"TEN", None, b"other kind")
    assert store.starts(SHARD, FEATURES, "m", 0, 1 << 60) == [10]
    assert store.segments(SHARD) == {"p:m:1": b"onemorestill"}
    assert store.outbox(SHARD) == {1: b"second", 2: b"third"}


def test_starts_are_those_from_the_first_up_to_but_not_including_the_last_in_order(store: Store) -> None:
    store.claim(SHARD, "me")
    times = [1_767_225_600_000 + 60_000 * i for i in (3, 0, 2, 1)]
    store.commit(commit(0, put=[((FEATURES, "m", t), b"x") for t in times]))
    assert sorted(times)[1:3] == store.starts(SHARD, FEATURES, "m", sorted(times)[1], sorted(times)[3])
    assert store.starts(SHARD, FEATURES, "n", 0, 1 << 60) == []
    assert store.starts(SHARD, ARRIVALS, "m", 0, 1 << 60) == []
    assert store.starts(OTHER, FEATURES, "m", 0, 1 << 60) == []


def test_a_commit_whose_reply_was_lost_is_recognised_and_done_once(watched: Watched) -> None:
    watched.store.claim(SHARD, "me")
    change = everything(0)
    assert watched.store.commit(change) is Verdict.DONE
    before = watched.everything()
    assert watched.store.commit(change) is Verdict.DONE
    assert before == watched.everything()


@pytest.mark.parametrize("sequence", [0, 2, 7])
def test_a_commit_for_another_sequence_is_a_conflict_and_changes_nothing(watched: Watched, sequence: int) -> None:
    watched.store.claim(SHARD, "me")
    watched.store.commit(everything(0))
    before = watched.everything()
    change = everything(sequence, drop=[(FEATURES, "m", 10)], cut=["p:m:1"], acknowledged=[0, 1])
    assert watched.store.commit(change) is Verdict.CONFLICT
    assert before == watched.everything()


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_a_commit_with_anothers_token_is_lost_and_changes_nothing(watched: Watched, sequence: int) -> None:
    watched.store.claim(SHARD, "me")
    mine = everything(0)
    watched.store.commit(mine)
    watched.store.claim(SHARD, "you")
    before = watched.everything()
    change = everything(sequence, drop=[(FEATURES, "m", 10)], cut=["p:m:1"], acknowledged=[0, 1])
    assert watched.store.commit(change) is Verdict.LOST
    assert watched.store.commit(mine) is Verdict.LOST
    assert before == watched.everything()


def test_a_commit_to_a_shard_that_nobody_claimed_is_lost(watched: Watched) -> None:
    assert watched.store.commit(everything(0)) is Verdict.LOST
    assert watched.store.starts(SHARD, FEATURES, "m", 0, 1 << 60) == []
    assert watched.store.outbox(SHARD) == {}


def test_a_new_owner_finds_what_the_old_one_committed_and_goes_on(store: Store) -> None:
    store.claim(SHARD, "me")
    store.commit(everything(0))
    head = store.claim(SHARD, "you")
    assert (head.sequence, head.body) == (1, b"body")
    assert store.commit(commit(1, "you", body=b"yours")) is Verdict.DONE
    assert store.claim(SHARD, "me").body == b"yours"


def test_peeking_claims_nothing(store: Store) -> None:
    store.claim(SHARD, "me")
    store.commit(everything(0))
    head = store.peek(SHARD)
    assert (head.sequence, head.body, head.token) == (1, b"body", "me")
    assert store.commit(commit(1)) is Verdict.DONE


def test_shards_do_not_touch_each_other(store: Store) -> None:
    store.claim(SHARD, "me")
    store.claim(OTHER, "me")
    store.commit(everything(0))
    store.commit(commit(0, shard=OTHER, put=[((FEATURES, "m", 10), b"other")], outbox=[(0, b"other")]))
    assert (cell(store, 10), cell(store, 10, shard=OTHER)) == (b"ten", b"other")
    assert store.outbox(OTHER) == {0: b"other"}
    assert store.segments(OTHER) == {}


def test_a_large_commit_is_one_commit(store: Store) -> None:
    store.claim(SHARD, "me")
    many = [((FEATURES, "m", at), b"%d" % at) for at in range(3000)]
    assert store.commit(commit(0, put=many, append=[(f"p:m:{i}", b"x") for i in range(500)])) is Verdict.DONE
    assert list(range(3000)) == store.starts(SHARD, FEATURES, "m", 0, 1 << 60)
    assert len(store.segments(SHARD)) == 500


def test_the_first_start_of_a_model_holds(store: Store) -> None:
    assert store.declare_start("g", "m", 5, 7) == (5, 7)
    assert store.declare_start("g", "m", 1, 2) == (5, 7)
    assert store.declare_start("h", "m", 1, 2) == (1, 2)
    assert store.model_starts("g") == {"m": (5, 7)}
    assert store.model_starts("nowhere") == {}


def test_the_first_number_of_partitions_holds(store: Store) -> None:
    assert store.pinned_partitions("g") is None
    assert (store.pin_partitions("g", 4), store.pin_partitions("g", 8), store.pin_partitions("h", 8)) == (4, 4, 8)
    assert store.pinned_partitions("g") == 4


def test_the_reference_of_a_version_never_changes(watched: Watched) -> None:
    store = watched.store
    assert store.reference("m", "v1") is None
    store.publish_reference("hash 1", b"one", "m", "v1")
    store.publish_reference("hash 1", b"one", "m", "v1")
    store.publish_reference("hash 1", b"one", "m", "v2")
    with pytest.raises(ReferenceMismatch, match="hash 1"):
        store.publish_reference("hash 2", b"two", "m", "v1")
    one = "hash 1", b"one"
    assert [store.reference(*of) for of in (("m", "v1"), ("m", "v2"), ("n", "v1"))] == [one, one, None]


def test_a_reference_that_was_damaged_is_whole_when_it_is_published_again(store: Store) -> None:
    store.publish_reference("hash 1", b"o", "m", "v1")
    store.publish_reference("hash 1", b"one", "m", "v1")
    assert store.reference("m", "v1") == ("hash 1", b"one")


def test_a_version_whose_reference_is_gone_is_not_one_that_has_none(redis_url: str) -> None:
    store = RedisStore(redis_url)
    store.publish_reference("hash 1", b"one", "m", "v1")
    with redis.Redis.from_url(redis_url) as client:
        client.delete("driftline:references:content")
    with pytest.raises(StateMissing, match="'v1' of model 'm', hash 1, is gone"):
        store.reference("m", "v1")
    store.publish_reference("hash 1", b"one", "m", "v1")
    assert store.reference("m", "v1") == ("hash 1", b"one")
    with redis.Redis.from_url(redis_url) as client:
        client.hset("driftline:references:versions:m", "v1", b"\xff")
    with pytest.raises(StateCorrupt, match="references:versions:m"):
        store.reference("m", "v1")
    with pytest.raises(StateCorrupt, match="references:versions:m"):
        store.publish_reference("hash 1", b"one", "m", "v1")


def held(store: Any, journal: MemoryJournal, token: str) -> Shard:  # noqa: ANN401  # what a shard asks of a store
    """The shard, claimed."""
    return claim(store, journal, [SHARD], lambda: token)[SHARD]


def test_a_shard_of_ours_loses_conflicts_and_goes_on(store: Store) -> None:
    def stage(change: Commit) -> None:
        change.body = b"staged"

    log = MemoryJournal()
    mine = held(store, log, "me")
    mine.commit(stage)
    mine.commit(stage)
    yours = held(store, log, "you")
    assert yours.body == b"staged"
    with pytest.raises(OwnershipLost):
        mine.commit(stage)
    yours.commit(stage)
    store.commit(commit(3, "you"))
    with pytest.raises(CommitConflict):
        yours.commit(stage)


class Flaky:
    """A store whose reply to the next commit is lost, after the commit was done or before it was tried."""

    def __init__(self, store: Store, *, done: bool) -> None:
        """``done``: the commit happens, and only its reply is lost."""
        self._store, self._done, self.broken = store, done, True

    def claim(self, shard: str, token: str) -> Any:  # noqa: ANN401  # as the store
        """As the store."""
        return self._store.claim(shard, token)

    def commit(self, change: Commit) -> Verdict:
        """Fail once."""
        if self.broken:
            self.broken = False
            if self._done:
                self._store.commit(change)
            raise ConnectionProblem("the reply did not come", "try again")
        return self._store.commit(change)


@pytest.mark.parametrize("done", [True, False])
def test_a_commit_in_doubt_is_sent_again_as_it_was_and_counts_once(store: Store, *, done: bool) -> None:
    staged: list[int] = []

    def stage(change: Commit) -> None:
        staged.append(1)
        change.append.append(("p:m:1", b"once"))
        change.outbox.append((len(staged), b"event"))

    shard = held(Flaky(store, done=done), MemoryJournal(), "me")
    with pytest.raises(ConnectionProblem):
        shard.commit(stage)
    assert shard.in_doubt
    shard.acknowledged.append(1)
    shard.commit(stage)
    assert not shard.in_doubt
    assert (store.segments(SHARD), store.outbox(SHARD), staged) == ({"p:m:1": b"once"}, {1: b"event"}, [1])
    shard.commit(lambda _: None)
    assert store.outbox(SHARD) == {}


def test_a_redis_that_is_not_there_is_a_connection_problem_with_a_remedy() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(ConnectionProblem, match=r"127\.0\.0\.1:1.*redis\.url"):
        store.claim(SHARD, "me")


@pytest.mark.parametrize("broken", ["cell", "index", "segment", "outbox"])
def test_a_commit_that_fails_midway_writes_nothing_at_all(redis_url: str, broken: str) -> None:
    store, client = RedisStore(redis_url), redis.from_url(redis_url)
    store.claim(SHARD, "me")
    key, other = {
        "cell": (f"driftline:{SHARD}:cell:{FEATURES}:m:2", "hset"),
        "index": (f"driftline:{SHARD}:cells:{FEATURES}:m", "set"),
        "segment": (f"driftline:{SHARD}:segment:p:m:1", "hset"),
        "outbox": (f"driftline:{SHARD}:outbox", "set"),
    }[broken]
    client.set(key, "something else") if other == "set" else client.hset(key, "something", "else")
    before = _dump(redis_url)
    commit = Commit(SHARD, "me", 0, "first", b"body", b"progress")
    commit.put += [((FEATURES, "m", 1), b"one"), ((FEATURES, "m", 2), b"two")]
    commit.append.append(("p:m:1", b"entries"))
    commit.outbox.append((1, b"event"))
    for _ in range(2):  # the second time, too: the first must not look as if it had been done
        with pytest.raises(StateCorrupt, match="WRONGTYPE"):
            store.commit(commit)
        assert _dump(redis_url) == before


def test_shards_are_found_and_erased_by_how_their_names_begin_and_nothing_else_is(store: Store) -> None:
    others = ["{task:test2:0}", "{model:test:m}", "{task:tes?:0}"]
    for shard in (SHARD, OTHER, *others):
        store.claim(shard, "me")
        store.commit(everything(0, shard=shard))
    store.declare_start("test", "m", 1, 2)
    store.pin_partitions("test", 2)
    store.publish_reference("abc", b"reference", "m", "v1")

    assert store.shards("{task:test:") == [SHARD, OTHER]
    assert store.erase("{task:test:") == 2

    assert store.shards("{task:test:") == []
    assert [store.peek(shard).body for shard in (SHARD, OTHER)] == [None, None]
    assert (store.segments(SHARD), store.outbox(SHARD), cell(store, 10)) == ({}, {}, None)
    assert [store.peek(shard).body for shard in others] == [b"body"] * 3
    assert store.erase("{task:tes?:") == 1
    assert store.shards("{task:") == ["{task:test2:0}"]
    assert (store.model_starts("test"), store.pinned_partitions("test")) == ({"m": (1, 2)}, 2)
    assert store.reference("m", "v1") == ("abc", b"reference")


def test_an_owner_whose_shard_was_erased_has_lost_it(store: Store) -> None:
    store.claim(SHARD, "me")
    store.commit(everything(0))
    store.erase(SHARD)
    assert store.commit(everything(1)) is Verdict.LOST


def test_model_starts_can_be_forgotten_and_declared_again(store: Store) -> None:
    store.declare_start("test", "m", 1, 2)
    store.declare_start("other", "m", 3, 4)
    store.forget_starts("test")
    store.forget_starts("never")
    assert (store.model_starts("test"), store.model_starts("other")) == ({}, {"m": (3, 4)})
    assert store.declare_start("test", "m", 5, 6) == (5, 6)
