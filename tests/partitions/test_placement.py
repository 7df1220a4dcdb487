"""Judging samples of two topics: what is provable is said, what is not is not."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import zlib

import pytest

from streams.partitioners import CRC32, FNV1A, KAFKAJS_1, MURMUR2, PARTITIONERS, Partitioner
from streams.placement import NEWEST, Placement, Sighting, Verdict, enough, judge

PARTITIONS = 6
MANY = [f"id-{i}" for i in range(400)]
LATER = [f"late-{i}" for i in range(400)]


def records(ids: list[str], by: Partitioner | None, partitions: int = PARTITIONS, begin: int = 0) -> list[Sighting]:
    """Records with the id as key, placed by a partitioner, or at random."""
    rng = random.Random(1)
    return [
        Sighting(
            rng.randrange(partitions) if by is None else by.partition(id_.encode(), partitions),
            id_.encode(),
            id_,
            record_ms=begin + i,
        )
        for i, id_ in enumerate(ids)
    ]


def compared(predictions: list[Sighting], labels: list[Sighting], partitions: int = PARTITIONS) -> Verdict:
    """The verdict over topics named as by default."""
    return judge(Placement("predictions", partitions, predictions), Placement("labels", partitions, labels))


@pytest.mark.parametrize("by", PARTITIONERS, ids=lambda p: p.name)
@pytest.mark.parametrize("partitions", [2, 3, 4, 12, 100])
def test_one_partitioner_on_both_topics_is_together_whichever_it_is(by: Partitioner, partitions: int) -> None:
    verdict = compared(records(MANY, by, partitions), records(LATER, by, partitions), partitions)
    assert (verdict.state, verdict.refuse) == ("together", False)


@pytest.mark.parametrize("partitions", [2, 3, 4, 12, 100])
@pytest.mark.parametrize(("one", "other"), list(itertools.permutations((MURMUR2, CRC32, FNV1A, KAFKAJS_1), 2)))
def test_two_partitioners_are_apart_and_both_are_named(one: Partitioner, other: Partitioner, partitions: int) -> None:
    verdict = compared(records(MANY, one, partitions), records(LATER, other, partitions), partitions)
    assert (verdict.state, verdict.refuse) == ("apart", True)
    assert f"predictions is partitioned by {one.name} of the id" in verdict.what
    assert f"labels by {other.name} (" in verdict.what


def test_the_number_of_ids_that_lie_elsewhere_is_exact() -> None:
    verdict = compared(records(MANY, MURMUR2), records(LATER, CRC32))
    elsewhere = sum(MURMUR2.partition(i.encode(), PARTITIONS) != CRC32.partition(i.encode(), PARTITIONS) for i in LATER)
    assert f"{elsewhere} of 400 ids lie on another partition number" in verdict.what


def test_the_producer_to_change_is_the_one_of_librdkafka_and_the_setting_is_said() -> None:
    for verdict, topic in (
        (compared(records(MANY, CRC32), records(LATER, MURMUR2)), "predictions"),
        (compared(records(MANY, MURMUR2), records(LATER, CRC32)), "labels"),
    ):
        assert verdict.remedy.startswith(f"let the producers of {topic} use murmur2: librdkafka")
        assert '"partitioner": "murmur2_random"' in verdict.remedy
    assert '"partitioner": "fnv1a_random"' in compared(records(MANY, CRC32), records(LATER, FNV1A)).remedy


def test_labels_without_keys_are_apart_and_the_key_is_what_to_change() -> None:
    labels = [dataclasses.replace(s, key=None) for s in records(LATER, None)]
    verdict = compared(records(MANY, CRC32), labels)
    assert (verdict.state, verdict.refuse) == ("apart", True)
    assert "400 of 400 records of labels have no key" in verdict.what
    assert verdict.remedy == "give every record of labels its prediction_id as key"


def test_labels_keyed_by_something_else_are_apart_and_no_key_is_printed() -> None:
    labels = [
        dataclasses.replace(s, key=b"user-7-%d" % i, partition=CRC32.partition(b"user-7-%d" % i, PARTITIONS))
        for i, s in enumerate(records(LATER, None))
    ]
    verdict = compared(records(MANY, CRC32), labels)
    assert (verdict.state, verdict.refuse) == ("apart", True)
    assert "400 of 400 keys of labels are not the prediction_id of their record" in verdict.what
    assert verdict.remedy == "give every record of labels its prediction_id as key"
    assert "user" not in verdict.what + verdict.remedy


def test_keys_in_quotation_marks_are_recognised() -> None:
    labels = [
        dataclasses.replace(s, key=(quoted := f'"{s.id}"'.encode()), partition=MURMUR2.partition(quoted, PARTITIONS))
        for s in records(LATER, MURMUR2)
    ]
    verdict = compared(records(MANY, MURMUR2), labels)
    assert verdict.refuse
    assert "400 of 400 keys of labels are the prediction_id in quotation marks" in verdict.what
    assert verdict.remedy.startswith("send the keys of labels as plain text")


def by_user(ids: list[str]) -> list[Sighting]:
    """Keys that are no ids, the same one for the same id: a join that works."""
    keys = [f"user-{zlib.adler32(i.encode()) % 50}".encode() for i in ids]
    return [Sighting(CRC32.partition(k, PARTITIONS), k, i) for k, i in zip(keys, ids, strict=True)]


def test_what_no_hash_of_the_id_explains_is_decided_by_ids_seen_on_both_topics() -> None:
    together = compared(by_user(MANY), by_user(MANY[200:]))
    apart = compared(by_user(MANY), records(MANY[200:], None))
    unknown = compared(by_user(MANY), by_user(LATER))

    assert (together.state, "all 200 ids seen on both topics" in together.what) == ("together", True)
    assert apart.state == "apart"
    assert apart.refuse
    assert (unknown.state, unknown.refuse) == ("unknown", False)
    assert "0 ids were seen on both" in unknown.what


def test_a_second_producer_that_hashes_otherwise_is_noticed_and_stops_nobody() -> None:
    mixed = records(MANY[:380], MURMUR2) + records(MANY[380:], CRC32)
    verdict = compared(records(LATER, MURMUR2), mixed)
    strays = sum(
        MURMUR2.partition(i.encode(), PARTITIONS) != CRC32.partition(i.encode(), PARTITIONS) for i in MANY[380:]
    )
    assert (verdict.state, verdict.refuse) == ("partly", False)
    assert f"{strays} of 400 ids on labels lie elsewhere" in verdict.what


@pytest.mark.parametrize("corrected", ["predictions", "labels"])
def test_a_producer_that_was_corrected_is_not_held_against_its_past(corrected: str) -> None:
    before, after = records(MANY, CRC32), records(LATER[: 2 * NEWEST], MURMUR2, begin=1_000)
    right = records([f"x{i}" for i in range(400)], MURMUR2)
    pair = (before + after, right) if corrected == "predictions" else (right, before + after)
    assert compared(*pair).refuse is False
    assert "newest" in compared(*pair).what


def test_few_records_prove_nothing() -> None:
    few = enough(PARTITIONS) - 1
    for predictions, labels in (
        ([], []),
        (records(MANY, CRC32), []),
        ([], records(LATER, CRC32)),
        (records(MANY, CRC32), records(LATER[:few], CRC32)),
        (records(MANY[:few], CRC32), records(LATER[:few], MURMUR2)),
    ):
        assert compared(predictions, labels).state == "unknown"
    stray = compared(records(MANY, CRC32), records(LATER[:few], MURMUR2))
    assert (stray.state, stray.refuse) == ("partly", False)
    assert "labels has too few records to tell its hash" in stray.what
    beside = compared(records(MANY[:395], CRC32) + records(MANY[395:], MURMUR2), records(LATER[:few], CRC32))
    assert beside.state == "unknown"
    assert beside.what == "too few records on labels yet; those that are there lie right"


def test_records_that_cannot_be_read_are_no_evidence_and_are_said() -> None:
    unreadable = [dataclasses.replace(s, id="") for s in records(LATER, MURMUR2)]
    verdict = compared(records(MANY, CRC32), unreadable)
    assert (verdict.state, verdict.what) == ("unknown", "labels: its records could not be read")


def test_one_partition_is_always_right() -> None:
    nowhere = [Sighting(0, None, i) for i in MANY]
    assert compared(nowhere, nowhere, partitions=1).state == "together"


@pytest.mark.parametrize("partitions", [2, 3, 4, 12, 100])
def test_enough_ids_make_a_fit_by_chance_less_likely_than_one_in_a_billion(partitions: int) -> None:
    n = enough(partitions)
    assert len(PARTITIONERS) * partitions**-n <= 1e-9 < len(PARTITIONERS) * partitions ** -(n - 1)
    assert n <= NEWEST
    assert math.isfinite(n)


def test_a_thousand_topics_at_random_are_never_explained() -> None:
    rng = random.Random(5)
    for _ in range(200):
        ids = [f"{rng.random()}" for _ in range(enough(2))]
        found = Placement("t", 2, [Sighting(rng.randrange(2), i.encode(), i) for i in ids]).partitioner()
        assert found is None


@pytest.mark.parametrize(("right", "state"), [(280, "partly"), (120, "apart")])
def test_most_ids_must_lie_elsewhere_before_a_start_is_refused(right: int, state: str) -> None:
    mixed = records(LATER, MURMUR2)[:right] + records(LATER, FNV1A)[right:]
    random.Random(3).shuffle(mixed)
    mixed = [dataclasses.replace(s, record_ms=i) for i, s in enumerate(mixed)]
    verdict = compared(records(MANY, MURMUR2), mixed)
    assert (verdict.state, verdict.refuse) == (state, state == "apart")


def test_too_few_ids_are_explained_by_nothing() -> None:
    found = [Placement("t", 2, records(MANY[:n], CRC32, 2)).partitioner() for n in (enough(2) - 1, enough(2))]
    assert found == [None, CRC32]
