"""The proxy does to a connection what it says, and a trap tells when it struck."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streams.edges.embedded import LOOPBACK
from tests.faults.proxy import Proxy
from tests.services.redis import RedisService

SCRIPT = "redis.call('INCR', KEYS[1]) return 'done'"
SHORT_S = 0.5
"""How long a client here waits for an answer that must not come."""


@pytest.fixture
def proxy(redis_service: RedisService, redis_url: str) -> Iterator[Proxy]:
    """A proxy in front of an empty Redis."""
    assert redis_url
    with Proxy(redis_service.port) as proxy:
        yield proxy


@contextlib.contextmanager
def client_of(proxy: Proxy, timeout_s: float = 5.0) -> Iterator[redis.Redis]:
    """A client that tries once."""
    with redis.Redis(port=proxy.port, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def test_everything_passes_until_it_is_told_otherwise(proxy: Proxy) -> None:
    value = bytes(range(256)) * 20_000
    with client_of(proxy) as client:
        client.set("k", value)
        assert client.get("k") == value


def test_a_cut_resets_what_is_there_and_what_comes_until_it_clears(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.ping()
        proxy.cut()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        proxy.clear()
        assert client.ping()


def test_what_was_held_is_delivered_when_it_clears(proxy: Proxy, redis_url: str) -> None:
    with client_of(proxy, SHORT_S) as client, redis.from_url(redis_url) as direct:
        client.ping()
        proxy.hold()
        with pytest.raises(redis.TimeoutError):
            client.set("k", "v")
        assert direct.get("k") is None
        proxy.clear()
        deadline = time.monotonic() + 5
        while direct.get("k") is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert direct.get("k") == b"v"


def test_a_half_open_connection_is_never_heard_of_again_and_a_new_one_is(proxy: Proxy) -> None:
    with socket.create_connection((LOOPBACK, proxy.port), timeout=SHORT_S) as old:
        old.sendall(b"PING\r\n")
        assert old.recv(100) == b"+PONG\r\n"
        proxy.half_open()
        proxy.clear()
        old.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            old.recv(100)
        with client_of(proxy) as new:
            assert new.ping()


def test_a_trickle_takes_as_long_as_its_rate_says(proxy: Proxy, redis_url: str) -> None:
    with redis.from_url(redis_url) as direct:
        direct.set("k", b"x" * 20_000)
    with client_of(proxy) as client:
        client.ping()
        proxy.trickle(40_000)
        begin = time.monotonic()
        client.get("k")
        assert 0.4 < time.monotonic() - begin < 3


def test_a_delay_is_paid_both_ways(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.ping()
        proxy.delay(0.1)
        begin = time.monotonic()
        client.ping()
        assert 0.2 <= time.monotonic() - begin < 2


def test_a_reply_is_cut_only_after_the_script_has_run(proxy: Proxy, redis_url: str) -> None:
    with client_of(proxy) as client, redis.from_url(redis_url) as direct:
        script = client.register_script(SCRIPT)
        client.script_flush()
        trap = proxy.cut_reply(b"EVALSHA", b"done")
        with pytest.raises(redis.ConnectionError):
            script(keys=["n"])  # first answered with NOSCRIPT, which passes
        assert trap.struck.is_set()
        assert direct.get("n") == b"1"
        assert script(keys=["n"]) == b"done"
        assert direct.get("n") == b"2"


def test_a_request_that_is_cut_does_nothing(proxy: Proxy, redis_url: str) -> None:
    with client_of(proxy) as client, redis.from_url(redis_url) as direct:
        trap = proxy.cut_request(b"SET", keep=20)
        with pytest.raises(redis.ConnectionError):
            client.set("k", b"x" * 1000)
        assert trap.struck.is_set()
        assert direct.get("k") is None
        client.set("k", "again")
        assert direct.get("k") == b"again"


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_late_request_arrives_whole_after_its_client_has_given_up(proxy: Proxy, redis_url: str, size: int) -> None:
    with client_of(proxy) as client, redis.from_url(redis_url) as direct:
        trap = proxy.late_request(b"APPEND", after_s=0.3)
        with pytest.raises(redis.ConnectionError):
            client.append("k", b"x" * size)
        assert trap.struck.is_set()
        assert direct.get("k") is None
        deadline = time.monotonic() + 10
        while direct.strlen("k") < size and time.monotonic() < deadline:
            time.sleep(0.01)
        assert direct.strlen("k") == size


def test_the_connection_on_which_the_nth_byte_of_replies_comes_is_reset(proxy: Proxy, redis_url: str) -> None:
    with redis.from_url(redis_url) as direct:
        direct.set("k", b"x" * 100_000)
    with client_of(proxy) as client:
        client.ping()
        trap = proxy.cut_after(50_000)
        with pytest.raises(redis.ConnectionError):
            client.get("k")
        assert trap.struck.is_set()
        assert client.get("k") == b"x" * 100_000


def test_a_server_that_is_away_looks_like_one_behind_the_proxy_too(proxy: Proxy) -> None:
    proxy.target = 1  # nobody listens there
    with client_of(proxy) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_a_closed_proxy_leaves_no_thread_behind(redis_service: RedisService) -> None:
    before = set(threading.enumerate())
    with Proxy(redis_service.port) as proxy, client_of(proxy) as client:
        client.ping()
        proxy.half_open()
        with contextlib.suppress(redis.RedisError), client_of(proxy, 0.1) as other:
            other.ping()
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == set()
