"""HTTP out: one event to one endpoint, again and again until it is delivered or given up.

A request is a CloudEvent in structured mode (CloudEvents HTTP protocol binding 1.0.2): the body is the record's value
unchanged, the attributes are repeated as `ce-` headers, percent-encoded as §3.1.3.2 of the binding says. The header
`Idempotency-Key` is the event's id, so an endpoint that remembers it acts once although we may ask twice.

Answers: 2xx is delivered. 408, 425, 429, 5xx, and no answer at all (refused, reset, timed out) are tried again with
exponential backoff and jitter, and not before `Retry-After` has passed. Everything else, redirects included (a POST
that follows one would take its secrets elsewhere), is given up at once.

No message names more of the endpoint than its host: paths, queries, user names and headers may be secret.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
import stamina
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.route import WebhookConfig

log = structlog.get_logger()

_AGAIN: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# The binding: space, double quote, percent and what is not printable ASCII are encoded, nothing else.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class UndeliveredError(Exception):
    """An event was given up for good; `reason` is ``refused`` (the answer says never) or ``exhausted`` (no more time).

    The text is fit for logs and headers: it names the endpoint's host only.
    """

    def __init__(self, message: str, reason: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.reason = reason


class _AgainError(Exception):
    """An attempt failed in a way that may pass; `wait_s` is what the endpoint asked for, else None."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Webhook:
    """Delivers to one endpoint; an async context manager that holds the connections."""

    def __init__(self, config: WebhookConfig) -> None:
        """Nothing is opened yet."""
        self._config = config
        self.host: str = urlsplit(config.url).hostname or ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the connection pool."""
        timeout = aiohttp.ClientTimeout(total=self._config.timeout / 1000)
        self._session = aiohttp.ClientSession(timeout=timeout, headers=self._config.headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def deliver(self, event_id: str, body: bytes, attributes: Mapping[str, str]) -> int:
        """Return the number of attempts after the endpoint has answered 2xx.

        `attributes` are the CloudEvents attributes by name, without datacontenttype.

        Raises:
            UndeliveredError: the endpoint refuses the event, or `give_up_after` has passed.
        """
        headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
        headers |= {"content-type": "application/cloudevents+json", "Idempotency-Key": quote(event_id, safe=_PLAIN)}
        config = self._config
        attempts = 0
        try:
            async for attempt in stamina.retry_context(
                on=self._backoff,
                attempts=None,
                timeout=config.give_up_after / 1000,
                wait_initial=config.first_wait / 1000,
                wait_max=config.longest_wait / 1000,
                # As much again at random: copies of driftline that failed together do not come back together.
                wait_jitter=config.first_wait / 1000,
            ):
                attempts = attempt.num
                with attempt:
                    await self._post(body, headers)
        except _AgainError as error:
            what = f"given up after {attempts} attempts in {config.give_up_after} ms; the last one: {error}"
            raise UndeliveredError(what, "exhausted") from None
        return attempts

    def _backoff(self, error: Exception) -> bool | float:
        """Return whether to try again, or after how many seconds (stamina's hook)."""
        if not isinstance(error, _AgainError):
            return False
        log.warning("delivery_failed", problem=str(error), next="tried again unless its time is up")
        # A wait of nothing still gets the ordinary backoff; one without end would block the events behind it.
        return min(error.wait_s, self._config.give_up_after / 1000) if error.wait_s else True

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        assert self._session is not None  # noqa: S101 - for the type checker: deliver is for inside of the context
        try:
            async with self._session.post(
                self._config.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("Retry-After")
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError
            # Not the error's own text: some carry the whole URL.
            what = f"{self.host} gave no answer ({type(error).__name__})"
            raise _AgainError(what) from None
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return
        what = f"{self.host} answered {status}"
        if status in _AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _AgainError(what, retry_after_s(retry_after, time.time()))
        raise UndeliveredError(what, "refused")


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Return the seconds from `now_s` that a Retry-After header asks for (RFC 9110 §10.2.3); None if it says nothing.

    It is either a number of seconds or an HTTP date; one in the past asks for nothing.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:10])  # more digits than that are no wait that anybody means
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - now_s) or None
