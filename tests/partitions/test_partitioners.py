"""The hash functions of producers: published values, the definitions once more in another way, and the clients themselves."""

from __future__ import annotations

import collections
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]  # the package has no types
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from streams.edges.embedded import EmbeddedKafka
from streams.partitioners import (
    CRC32,
    FNV1A,
    FNV1A_REFERENCE,
    KAFKAJS_1,
    MURMUR2,
    MURMUR2_UNSIGNED,
    PARTITIONERS,
    Partitioner,
    absolute,
    fnv1a,
    kafkajs_murmur2,
    murmur2,
)
from tests.services import kafka as kafka_jars

KEYS = [f"key-{i}-{'ÿ' * (i % 7)}".encode() for i in range(400)]


def signed(word: int) -> int:
    """32 bits as Java and JavaScript read them."""
    return int.from_bytes(word.to_bytes(4, "little"), "little", signed=True)


# KafkaJS, src/producer/partitioners/defaultJava/murmur2.spec.js: made with Java's own Utils.murmur2.
JAVA = {
    "0": 971027396,
    "1": -1993445489,
    "128": -326012175,
    "2187": -1508407203,
    "16384": -325739742,
    "78125": -1654490814,
    "279936": 1462227128,
    "10000000": -1830336757,
    "170859375": -1658323481,
    "100:48069": 1009543857,
}
# KafkaJS, src/producer/partitioners/default/murmur2.spec.js.
KAFKAJS = {
    "0": 272173970,
    "1": 1311020360,
    "128": 2053105854,
    "2187": -2081355488,
    "16384": 204404061,
    "78125": -677491393,
    "279936": -622460209,
    "10000000": -1778616326,
    "170859375": 102939717,
}
# librdkafka, src/rdfnv1a.c: made with Go's hash/fnv as Sarama uses it.
SARAMA = {
    "kafka": 0xD33C4E1,
    "giberish123456789": 0x77A58295,
    "1234": 0x23BDD03,
    "234": 0x2DEA3CD2,
    "34": 0x740FA83E,
    "4": 0x310CA263,
    "PreAmbleWillBeRemoved,ThePrePartThatIs": 0x65CBD69C,
    "": 0x7EE3623B,
}
# The "check" value of CRC-32/ISO-HDLC, and draft-eastlake-fnv, appendix C.
CRC = {"123456789": 0xCBF43926, "": 0}
FNV = {"": 0x811C9DC5, "a": 0xE40C292C, "foobar": 0xBF9CF968}


def test_murmur2_is_that_of_java() -> None:
    assert {key: signed(murmur2(key.encode())) for key in JAVA} == JAVA


def test_the_variant_of_kafkajs_1_is_that_of_its_own_tests() -> None:
    assert {key: signed(kafkajs_murmur2(key.encode())) for key in KAFKAJS} == KAFKAJS


def test_fnv1a_is_the_published_one_and_its_absolute_value_that_of_sarama() -> None:
    assert {key: fnv1a(key.encode()) for key in FNV} == FNV
    assert {key: absolute(fnv1a(key.encode())) for key in SARAMA} == SARAMA


def test_crc32_is_the_published_one() -> None:
    assert {key: CRC32.number(key.encode()) for key in CRC} == CRC


@given(st.binary(max_size=40), st.integers(1, 1000))
def test_every_partitioner_gives_a_partition_for_every_key(key: bytes, partitions: int) -> None:
    assert all(0 <= p.partition(key, partitions) < partitions for p in PARTITIONERS)


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_the_absolute_value_before_the_remainder_is_that_of_go_s_remainder(word: int, partitions: int) -> None:
    # Go truncates towards zero, so Sarama negates a negative remainder.
    value = signed(word)
    remainder = abs(value) % partitions * (1 if value >= 0 else -1)
    assert absolute(word) % partitions == abs(remainder)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 100))
def test_murmur2_places_keys_as_aiokafka_does(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    assert MURMUR2.partition(key, partitions) == DefaultPartitioner()(key, every, every)


def test_with_a_power_of_two_the_sign_bit_changes_nothing_and_otherwise_it_does() -> None:
    for one, other in ((MURMUR2, MURMUR2_UNSIGNED), (FNV1A, FNV1A_REFERENCE)):
        assert any(one.partition(k, 6) != other.partition(k, 6) for k in KEYS)
    assert all(MURMUR2.partition(k, 8) == MURMUR2_UNSIGNED.partition(k, 8) for k in KEYS)


def placed(settings: Mapping[str, str | int | float | bool], topic: str) -> dict[bytes, int]:
    """Where a producer of librdkafka puts the keys."""
    found: dict[bytes, int] = {}

    def delivered(_: object, message: Any) -> None:  # noqa: ANN401 - untyped client
        found[message.key()] = message.partition()

    producer = Producer(dict(settings))
    for key in KEYS:
        producer.produce(topic, b"", key=key, on_delivery=delivered)
    assert producer.flush(20) == 0
    return found


@pytest.mark.parametrize(
    ("setting", "partitioner"),
    [
        ("consistent", CRC32),
        ("consistent_random", CRC32),
        ("murmur2", MURMUR2),
        ("murmur2_random", MURMUR2),
        ("fnv1a", FNV1A),
        ("fnv1a_random", FNV1A),
    ],
)
def test_librdkafka_places_keys_so(setting: str, partitioner: Partitioner) -> None:
    with EmbeddedKafka(["keys"]) as kafka:
        found = placed({"bootstrap.servers": kafka.bootstrap, "partitioner": setting}, "keys")
    assert found == {key: partitioner.partition(key, 4) for key in KEYS}


def test_node_computes_what_kafkajs_1_computes(tmp_path: Path) -> None:
    """The same arithmetic in JavaScript itself, where products are doubles because all numbers are."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("not run: needs node")
    script = tmp_path / "murmur2.js"
    script.write_text("""
        const M = 0x5bd1e995
        const hash = d => {
          let h = 0x9747b28c ^ d.length
          for (let i = 0; i < d.length; i += 4) {
            let k = d.slice(i, i + 4).reduceRight((sum, byte) => sum * 256 + byte, 0) | 0
            k = k * M; k = (k ^ k >>> 24) * M; h = h * M ^ k
          }
          const rest = d.slice(d.length & ~3)
          if (rest.length) h = (h ^ rest.reduceRight((sum, byte) => sum * 256 + byte, 0)) * M
          h = (h ^ h >>> 13) * M
          return (h ^ h >>> 15) & 0x7fffffff
        }
        for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n'))
          console.log(hash([...Buffer.from(line, 'hex')]))
    """)
    lines = "\n".join(key.hex() for key in KEYS)
    said = subprocess.run([node, str(script)], input=lines, capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in said.split()] == [KAFKAJS_1.number(key) for key in KEYS]


@pytest.mark.kafka
def test_kafka_s_own_clients_place_keys_so(tmp_path: Path) -> None:
    if (lacking := kafka_jars.missing()) is not None:
        pytest.skip(f"not run: {lacking}")
    source = tmp_path / "Place.java"
    source.write_text("""
        import java.nio.charset.StandardCharsets;
        import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
        public class Place {
            public static void main(String[] keys) {
                for (String key : keys)
                    System.out.println(BuiltInPartitioner.partitionForKey(key.getBytes(StandardCharsets.UTF_8), 7));
            }
        }
    """)
    keys = [f"prediction-{i}" for i in range(100)]
    command = ["java", "-cp", f"{kafka_jars.fetch()}/*", str(source), *keys]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = [MURMUR2.partition(key.encode(), 7) for key in keys]
    assert expected == [int(line) for line in done.stdout.split()]
    assert len(collections.Counter(expected)) == 7
