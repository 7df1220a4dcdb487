"""The webhook edge against a real HTTP server: which answers count, how long it waits, what it never says."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from schemas.route import WebhookConfig
from streams.edges.embedded import LOOPBACK, free_ports
from streams.edges.webhook import UndeliveredError, Webhook, retry_after_s
from tests.route.harness import Answer, Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

BODY = '{"id":"1","größe":1}'.encode()
FAST = {"first_wait": "10ms", "longest_wait": "40ms", "give_up_after": "400ms"}


def _deliver(url: str, event_id: str = "1", attributes: dict[str, str] | None = None, **settings: Any) -> int:  # noqa: ANN401 - configuration
    async def once() -> int:
        async with Webhook(WebhookConfig.model_validate({"url": url, **FAST, **settings})) as webhook:
            return await webhook.deliver(event_id, BODY, attributes or {"id": event_id})

    return asyncio.run(once())


def _answering(statuses: Sequence[int]) -> Endpoint:
    """Return an endpoint that answers these, and the last one from then on."""
    answers = itertools.chain(statuses, itertools.repeat(statuses[-1]))
    return Endpoint(lambda _: Answer(next(answers)))


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_delivered_at_once(status: int) -> None:
    with _answering([status]) as endpoint:
        assert _deliver(endpoint.url) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with _answering([status, status, 200]) as endpoint:
        assert _deliver(endpoint.url) == 3
    assert [r.body for r in endpoint.requests] == [BODY] * 3
    assert [r.key for r in endpoint.requests] == ["1"] * 3


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404, 409, 410, 413, 422])
def test_what_will_not_pass_is_given_up_at_once(status: int) -> None:
    with (
        _answering([status]) as endpoint,
        pytest.raises(UndeliveredError, match=f"127.0.0.1 answered {status}") as given,
    ):
        _deliver(endpoint.url)
    assert given.value.reason == "refused"
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_never_recovers_is_given_up_after_the_configured_time() -> None:
    began = time.monotonic()
    with (
        _answering([503]) as endpoint,
        pytest.raises(UndeliveredError, match=r"the last one: 127\.0\.0\.1 answered 503") as given,
    ):
        _deliver(endpoint.url)
    assert given.value.reason == "exhausted"
    assert len(endpoint.requests) > 3
    assert 0.3 < time.monotonic() - began < 3


def test_an_answer_that_does_not_come_in_time_counts_as_none() -> None:
    answers = iter([Answer(200, after_s=5.0), Answer(200)])
    with Endpoint(lambda _: next(answers)) as endpoint:
        assert _deliver(endpoint.url, timeout="100ms") == 2


def test_retry_after_is_respected() -> None:
    answers = iter([Answer(503, {"Retry-After": "1"}), Answer(200)])
    began = time.monotonic()
    with Endpoint(lambda _: next(answers)) as endpoint:
        assert _deliver(endpoint.url, give_up_after="5s") == 2
    assert time.monotonic() - began >= 1.0


def test_a_retry_after_beyond_the_patience_does_not_block_for_ever() -> None:
    answers = iter([Answer(503, {"Retry-After": "86400"}), Answer(200)])
    began = time.monotonic()
    with Endpoint(lambda _: next(answers)) as endpoint:
        assert _deliver(endpoint.url) == 2
    assert 0.4 <= time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("120", 120.0),
        ("0", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Fri, 31 Dec 1999 23:58:00 GMT", None),
        ("soon", None),
        ("-1", None),
        ("9" * 5000, 9_999_999_999.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, now_s=946_684_740.0) == expected  # 1999-12-31T23:59:00Z


def test_attributes_are_encoded_as_the_http_binding_says() -> None:
    # The example of the binding: "Euro € 😀" is written Euro%20%E2%82%AC%20%F0%9F%98%80.
    attributes = {"subject": "Euro € 😀", "source": 'a"b%c/d\r\nX-Injected: 1', "id": "ü"}
    with _answering([200]) as endpoint:
        _deliver(endpoint.url, "ü", attributes)
    (request,) = endpoint.requests
    assert request.headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert request.headers["ce-source"] == "a%22b%25c/d%0D%0AX-Injected:%201"
    assert request.headers["Idempotency-Key"] == "%C3%BC"
    assert request.headers["Content-Type"] == "application/cloudevents+json"
    assert "X-Injected" not in request.headers


def test_user_and_password_of_the_url_are_sent_and_never_said() -> None:
    (port,) = free_ports(1)
    url = f"http://user:hunter2@{LOOPBACK}:{port}/p4th?token=s3cret"
    with capture_logs() as logs, pytest.raises(UndeliveredError) as given:
        _deliver(url, headers={"X-Api-Key": "k3y"})
    said = str(logs) + str(given.value) + repr(WebhookConfig.model_validate({"url": url, "headers": {"A": "k3y"}}))
    assert "127.0.0.1 gave no answer (ClientConnectorError)" in said
    assert not [secret for secret in ("hunter2", "p4th", "s3cret", "k3y") if secret in said]
    with Endpoint(lambda _: Answer(), port) as endpoint:
        _deliver(url.replace("/p4th", "/hook"))
    assert endpoint.requests[0].headers["Authorization"] == "Basic dXNlcjpodW50ZXIy"  # user:hunter2 in base64
