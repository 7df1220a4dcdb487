"""Each fault of Redis does what its name says, or a cell that uses it proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults import redis_faults
from tests.services.redis import RedisService

SCRIPT = "redis.call('INCR', KEYS[1]) redis.call('HSET', KEYS[2], 'n', redis.call('GET', KEYS[1])) return 'done'"


def once(url: str, **settings: Any) -> redis.Redis:  # noqa: ANN401  # whatever redis-py takes
    """A client that tries once."""
    return redis.from_url(url, retry=Retry(NoBackoff(), 0), **settings)


def test_a_log_that_is_cut_takes_the_server_back_by_whole_scripts() -> None:
    with RedisService(settings=redis_faults.NO_REWRITE) as service, once(service.url) as client:
        script = client.register_script(SCRIPT)
        for _ in range(5):
            script(keys=["n", "h"])
        size = redis_faults.written(service)
        for _ in range(7):
            script(keys=["n", "h"])
        service.kill()
        assert redis_faults.go_back(service, size - 1) == 7
        service.restart()
        assert (client.get("n"), client.hget("h", "n")) == (b"5", b"5")


def test_a_log_is_never_cut_inside_a_transaction_or_a_command() -> None:
    log = b"*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n*2\r\n$3\r\nDEL"
    assert list(redis_faults.boundaries(log)) == [14, 14 + 15 + 20 + 14]
    with pytest.raises(ValueError, match="byte 0"):
        list(redis_faults.boundaries(b"REDIS0009"))


def test_a_full_redis_and_a_replica_refuse_to_write_and_still_answer(redis_url: str) -> None:
    with once(redis_url) as client:
        client.set("k", "v")
        with redis_faults.full(client), pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("k", "w")
        with redis_faults.read_only(client):
            assert client.get("k") == b"v"
            with pytest.raises(redis.exceptions.ReadOnlyError):
                client.set("k", "w")
        client.set("k", "w")
        assert client.get("k") == b"w"


def test_a_long_script_makes_everybody_else_wait_or_be_told_busy(redis_url: str) -> None:
    with redis_faults.busy(redis_url, 0.5):
        assert redis_faults.answers(redis_url) == "BUSY"
    assert redis_faults.answers(redis_url) == "PONG"


def test_a_frozen_server_answers_nothing_and_then_everything() -> None:
    with RedisService() as service:
        with redis_faults.frozen(service.pid):
            assert redis_faults.answers(service.url) == "TimeoutError"
        assert redis_faults.answers(service.url) == "PONG"


def test_a_server_with_a_slow_load_says_loading_before_it_says_pong() -> None:
    with RedisService(settings=(*redis_faults.NO_REWRITE, *redis_faults.SLOW_LOAD)) as service:
        with once(service.url) as client, client.pipeline() as pipe:
            for n in range(30_000):
                pipe.set(f"k{n}", n)
            pipe.execute()
        service.kill()
        service.launch()
        redis_faults.wait_for(service.url, "LOADING")
        redis_faults.wait_for(service.url, "PONG")


def test_a_flipped_bit_is_one_bit(redis_url: str) -> None:
    with once(redis_url) as client:
        client.set("driftline:s:cell:x", b"\x00" * 9)
        client.hset("driftline:s:head", "body", b"\x00" * 9)
        assert redis_faults.keys(client, "*:cell:*") == ["driftline:s:cell:x"]
        redis_faults.flip(client, "driftline:s:cell:x", at=1.0)
        redis_faults.flip(client, "driftline:s:head", "body", at=0.0)
        assert client.get("driftline:s:cell:x") == b"\x00" * 8 + b"\x10"
        assert client.hget("driftline:s:head", "body") == b"\x10" + b"\x00" * 8


def test_an_acknowledged_write_stands_in_the_append_only_file() -> None:
    with RedisService(appendfsync="always") as service, once(service.url) as client:
        before = redis_faults.written(service)
        client.set("k", "v")
        assert redis_faults.written(service) > before
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
