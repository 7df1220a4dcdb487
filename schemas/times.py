"""Event time: milliseconds since 1970-01-01T00:00:00Z, and its two spellings on the wire (integer, RFC 3339)."""

import re
from datetime import UTC, datetime, timedelta

EARLIEST_MS = 0
"""1970-01-01: nothing that driftline watches is older, and a zero is more often a forgotten field than a date."""

LATEST_MS = 7_289_654_400_000
"""2201-01-01, the first moment out of range: behind it lie microseconds taken for milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# RFC 3339 section 5.6. `datetime.fromisoformat` reads more than that, and not the same in every version of Python,
# which would let the interpreter decide what is a dead letter.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})",
)


def parse_time(value: int | str) -> int:
    """Return the milliseconds since the epoch that `value` names, UTC.

    Integers are milliseconds already; strings are RFC 3339 with an offset, and what is finer than a millisecond is
    cut off. A string without an offset is an error: guessing a zone would move events between windows.

    Raises:
        ValueError: `value` is no such time, or lies outside the years 1970 to 2200.
    """
    if isinstance(value, str):
        if _RFC_3339.fullmatch(value) is None:
            message = "not a time: RFC 3339 with an offset is needed, like 2024-05-01T12:00:00Z"
            raise ValueError(message)
        milliseconds = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
    elif isinstance(value, bool):
        message = "not a time: a boolean"
        raise ValueError(message)  # noqa: TRY004  # one exception type for "no usable time", as documented
    else:
        milliseconds = value
    if not EARLIEST_MS <= milliseconds < LATEST_MS:
        message = "not a usable time: outside the years 1970 to 2200 (an integer is milliseconds since 1970)"
        raise ValueError(message)
    return milliseconds


def rfc3339(milliseconds: int) -> str:
    """Return the RFC 3339 text of a time in ms since the epoch, UTC, always with three decimals.

    The width is fixed, so that texts sort like the times they name.

    Raises:
        OverflowError: the year would not lie in 1 to 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"
