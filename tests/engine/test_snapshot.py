"""Saved bytes are read as they were written, or refused with a remedy (P5)."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest

from schemas.errors import StateCorrupt, StateError, StateMismatch, StateNewer
from streams.edges.memory_store import MemoryStore
from streams.engine import cells, snapshot
from streams.engine.snapshot import Entry
from streams.engine.store import FEATURES, Commit
from streams.engine.task_restore import restore
from tests.oracle.histories import labels_of, predictions_of
from tests.property.driver import SHARD, Driver, new_plan

DATA = snapshot.pack(b"test", {"some": ["state", 1]})


def test_what_was_packed_is_unpacked() -> None:
    assert snapshot.unpack(b"test", DATA, dict[str, list[str | int]], "here") == {"some": ["state", 1]}


def test_every_single_wrong_byte_is_noticed() -> None:
    for at in range(len(DATA)):
        broken = DATA[:at] + bytes([DATA[at] ^ 0x41]) + DATA[at + 1 :]
        with pytest.raises(StateError, match="here"):
            snapshot.unseal(b"test", broken, "here")


def test_every_shorter_or_longer_snapshot_is_corrupt() -> None:
    for length in range(len(DATA)):
        with pytest.raises(StateCorrupt, match=r"here.*Redis"):
            snapshot.unseal(b"test", DATA[:length], "here")
    with pytest.raises(StateCorrupt):
        snapshot.unseal(b"test", DATA + b"\0", "here")


def test_a_snapshot_of_another_kind_is_corrupt() -> None:
    with pytest.raises(StateCorrupt, match="not a head"):
        snapshot.unseal(b"head", DATA, "here")


def test_a_snapshot_of_a_newer_driftline_says_so() -> None:
    newer = DATA[:4] + struct.pack("<H", snapshot.VERSION + 1) + DATA[6:]
    with pytest.raises(StateNewer, match="later"):
        snapshot.unpack(b"test", newer, dict[str, object], "here")


def test_sound_bytes_of_another_form_are_corrupt() -> None:
    with pytest.raises(StateCorrupt, match="here"):
        snapshot.unpack(b"test", DATA, list[int], "here")
    with pytest.raises(StateCorrupt, match="here"):
        snapshot.unpack(b"test", snapshot.seal(b"test", b"\xc1"), list[int], "here")


def test_a_vector_comes_back_and_equal_cells_have_equal_bytes() -> None:
    vector = np.array([0, -1, 1 << 62, 5], np.int64)
    assert vector.tolist() == snapshot.unpack_vector(snapshot.pack_vector(vector)).tolist()
    one, two = Entry("v1", "champion", "shape", b"x"), Entry("v2", "champion", "shape", b"y")
    assert cells.encode([one, two]) == cells.encode([two, one])
    assert [one, two] == cells.decode(cells.encode([two, one]), "here")


def _committed() -> Driver:
    driver = Driver(predictions_of(3, 60), labels_of(3, 60))
    driver.run([])
    return driver


def _rewrite(store: MemoryStore, commit: Commit) -> None:
    head = store.claim(SHARD, "test")
    commit.token, commit.sequence = "test", head.sequence
    store.commit(commit)


def _blank(body: bytes) -> Commit:
    return Commit(SHARD, "", 0, "rewrite", body, b"")


def test_a_task_is_not_restored_from_a_corrupt_head() -> None:
    driver = _committed()
    body = driver.store.claim(SHARD, "test").body
    assert body is not None
    with pytest.raises(StateCorrupt, match="head"):
        restore(new_plan(), SHARD, ("predictions", "labels"), body[:-1] + b"?", driver.store, None)


def test_a_task_is_not_restored_from_a_corrupt_join_log() -> None:
    driver = _committed()
    body = driver.store.claim(SHARD, "test").body
    assert body is not None
    change = _blank(body)
    change.append.append((min(driver.store.segments(SHARD)), b"\x05\0\0\0 torn"))
    _rewrite(driver.store, change)
    with pytest.raises(StateCorrupt, match="segment"):
        driver.start()


def test_a_task_is_not_restored_from_a_corrupt_or_ill_fitting_pane() -> None:
    driver = _committed()
    body = driver.store.claim(SHARD, "test").body
    assert body is not None
    [(m, at), *_] = driver.task.open[FEATURES].open()
    cell = (FEATURES, driver.task.plan.models[m].name, at)
    change = _blank(body)
    change.put.append((cell, b"drft, but not really"))
    _rewrite(driver.store, change)
    with pytest.raises(StateCorrupt, match=FEATURES):
        driver.start()
    entry = driver.task.plan.models[m]
    (version, variant), shape = next(iter(entry.streams)), entry.default.hash
    short = Entry(version, variant, shape, snapshot.pack_vector(np.zeros(3, np.int64)))
    change = _blank(body)
    change.commit_id, change.put = "again", [(cell, cells.encode([short]))]
    _rewrite(driver.store, change)
    with pytest.raises(StateMismatch, match="reference"):
        driver.start()


def test_state_of_another_reference_is_a_mismatch() -> None:
    driver = _committed()
    body = driver.store.claim(SHARD, "test").body
    assert body is not None
    head = msgspec.msgpack.decode(snapshot.unseal(b"task", body, "here"))
    for clock in head["models"].values():
        clock["streams"] = [
            [version, variant, "another shape", *rest] for version, variant, _, *rest in clock["streams"]
        ]
    with pytest.raises(StateMismatch, match="another shape"):
        restore(new_plan(), SHARD, ("predictions", "labels"), snapshot.pack(b"task", head), driver.store, None)
