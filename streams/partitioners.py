"""How producers turn a record's key into a partition number: the hash functions of the clients in use, by their definitions.

A partitioner here is a hash of the key's bytes to a number >= 0; the partition is that number modulo the number of partitions.
What clients do with records that have no key (round robin, random, sticky) is no function of the key and not in here; nor is
an empty key, which librdkafka treats as none with crc32 and hashes with murmur2.

Sources: Kafka's ``Utils.murmur2`` and ``BuiltInPartitioner.partitionForKey``; librdkafka ``rdmurmur2.c``, ``rdcrc32.h``,
``rdfnv1a.c``; Sarama ``partitioner.go``; kafka-go ``balancer.go``; KafkaJS ``partitioners/default/murmur2.js`` (version 1).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SEED, _M = 0x9747B28C, 0x5BD1E995
_FNV_BASIS, _FNV_PRIME = 0x811C9DC5, 0x01000193
_WORD, _POSITIVE, _SIGN = 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000


def murmur2(data: bytes) -> int:
    """MurmurHash2 of 32 bits with Kafka's seed, unsigned; Java's ``Utils.murmur2`` is the same bits read as signed."""
    h = _SEED ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _WORD
        k = (k ^ k >> 24) * _M & _WORD
        h = (h * _M & _WORD) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _WORD
    h = (h ^ h >> 13) * _M & _WORD
    return h ^ h >> 15


def fnv1a(data: bytes) -> int:
    """FNV-1a of 32 bits, unsigned."""
    h = _FNV_BASIS
    for byte in data:
        h = (h ^ byte) * _FNV_PRIME & _WORD
    return h


def kafkajs_murmur2(data: bytes) -> int:
    """What KafkaJS 1 took for murmur2, unsigned: products are rounded to doubles, and the last bytes are mixed in twice."""
    h = _SEED ^ len(data)
    for at in range(0, len(data), 4):
        k = _product(int.from_bytes(data[at : at + 4], "little"))
        k = _product(k ^ k >> 24)
        h = _product(h) ^ k
    if len(data) & 3:
        h = _product(h ^ int.from_bytes(data[len(data) & ~3 :], "little"))
    h = _product(h ^ h >> 13)
    return h ^ h >> 15


def _product(word: int) -> int:
    """``word * M`` as JavaScript has it: signed, in doubles, and then the lowest 32 bits."""
    signed = word - 2 * _SIGN if word & _SIGN else word
    return int(float(signed) * float(_M)) & _WORD


def absolute(word: int) -> int:
    """The absolute value of 32 bits read as a signed number."""
    return 2 * _SIGN - word if word & _SIGN else word


@dataclass(frozen=True, slots=True)
class Partitioner:
    """One way to place keys. ``users`` says who does so without being told, ``settings`` how others can be told to."""

    name: str
    number: Callable[[bytes], int]
    users: str
    settings: str

    def partition(self, key: bytes, partitions: int) -> int:
        """The partition of ``key``, which is not empty."""
        return self.number(key) % partitions


MURMUR2: Final = Partitioner(
    "murmur2",
    lambda key: murmur2(key) & _POSITIVE,
    "Java clients, kafka-python, aiokafka, franz-go, KafkaJS 2",
    'librdkafka (confluent-kafka, kcat): "partitioner": "murmur2_random"; kafka-go: Murmur2Balancer; '
    "KafkaJS: Partitioners.DefaultPartitioner (version 1: JavaCompatiblePartitioner); Java: no partitioner.class",
)
CRC32: Final = Partitioner(
    "crc32",
    zlib.crc32,
    "librdkafka: confluent-kafka, kcat; ruby-kafka",
    'librdkafka: "partitioner": "consistent_random" (its default); kafka-go: CRC32Balancer; '
    "Java: a partitioner.class of your own",
)
FNV1A: Final = Partitioner(
    "fnv1a",
    lambda key: absolute(fnv1a(key)),
    "Sarama, kafka-go with Hash",
    'librdkafka: "partitioner": "fnv1a_random"; Sarama: NewHashPartitioner; kafka-go: Hash',
)
FNV1A_REFERENCE: Final = Partitioner(
    "fnv1a with the sign bit cleared",
    lambda key: fnv1a(key) & _POSITIVE,
    "Sarama with NewReferenceHashPartitioner, kafka-go with ReferenceHash",
    "Sarama: NewReferenceHashPartitioner; kafka-go: ReferenceHash",
)
KAFKAJS_1: Final = Partitioner(
    "KafkaJS 1's variant of murmur2",
    lambda key: kafkajs_murmur2(key) & _POSITIVE,
    "KafkaJS 1, and KafkaJS 2 with LegacyPartitioner",
    "KafkaJS: Partitioners.LegacyPartitioner",
)
MURMUR2_UNSIGNED: Final = Partitioner(
    "murmur2 with the sign bit kept",
    murmur2,
    "kafka_ex before 1.0",
    "kafka_ex: KafkaEx.Producer.Partitioner.Legacy",
)

PARTITIONERS: Final = (MURMUR2, CRC32, FNV1A, FNV1A_REFERENCE, KAFKAJS_1, MURMUR2_UNSIGNED)
"""In the order in which they are named where several fit: modulo a power of two, keeping the sign bit changes nothing."""
EASIEST: Final = (MURMUR2, FNV1A, CRC32)
"""Whom to follow where two topics differ: librdkafka, which alone uses crc32 by itself, can be told to do either other."""
