"""The part of `monitor.yaml` for `driftline route`: where events are delivered, and how long that is tried."""

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.durations import UNITS_MS, PositiveDuration
from schemas.settings import Strict

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, the name of a field
_TEXT: Final = re.compile(r"[\t\x20-\x7e]*")  # no line break: it would begin another header
_OURS: Final = frozenset({"content-length", "content-type", "host", "idempotency-key", "transfer-encoding"})


def _url(url: str) -> str:
    allowed = "a URL like https://host/path, without a fragment"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.fragment and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", url):
        raise ValueError(allowed)
    return url


def _headers(headers: object) -> object:
    # The whole mapping is checked here and not value by value: a problem is then located at the mapping, whose values
    # no message shows.
    if not isinstance(headers, dict):
        message = "a mapping of header names to texts"
        raise ValueError(message)  # noqa: TRY004  # pydantic turns only ValueError into a located problem
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            message = "header names as HTTP has them: letters, digits and hyphens"
            raise ValueError(message)
        if name.lower() in _OURS or name.lower().startswith("ce-"):
            message = f"any header but the ones that driftline sets itself: ce-*, {', '.join(sorted(_OURS))}"
            raise ValueError(message)
        if not isinstance(value, str) or not _TEXT.fullmatch(value):
            message = "values that are text of one line, in ASCII (quote a number)"
            raise ValueError(message)
    return headers


class WebhookConfig(Strict):
    """One HTTP endpoint that takes CloudEvents in structured mode by POST."""

    url: Annotated[str, AfterValidator(_url), Field(repr=False)]
    """Address, with user and password if there are any: http:// or https://."""
    timeout: PositiveDuration = 10 * UNITS_MS["s"]
    """How long one attempt may take, in milliseconds."""
    first_wait: PositiveDuration = 500
    """The wait before the second attempt, in milliseconds; it doubles from attempt to attempt, plus jitter."""
    longest_wait: PositiveDuration = UNITS_MS["m"]
    """The longest wait between two attempts, unless the endpoint asks for more (Retry-After), in milliseconds."""
    give_up_after: PositiveDuration = UNITS_MS["h"]
    """How long one event is tried before it goes to the dead letters, in milliseconds. Later events wait behind it."""
    headers: Annotated[dict[str, str], BeforeValidator(_headers), Field(repr=False)] = Field(default_factory=dict)
    """Further headers of each request, for example Authorization."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.first_wait <= self.longest_wait <= self.give_up_after:
            message = "first_wait <= longest_wait <= give_up_after"
            raise ValueError(message)
        if urlsplit(self.url).username and any(name.lower() == "authorization" for name in self.headers):
            message = "a user in url or a header Authorization, not both"
            raise ValueError(message)
        return self


class RouteConfig(Strict):
    """Where `driftline route` delivers alerts and retrain requests."""

    webhook: WebhookConfig
    """The endpoint that gets every event."""
