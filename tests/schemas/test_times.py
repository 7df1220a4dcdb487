"""Event time in its two spellings."""

import calendar
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import EARLIEST_MS, LATEST_MS, parse_time, rfc3339

IN_RANGE = st.integers(EARLIEST_MS, LATEST_MS - 1)


def test_the_range_is_the_years_1970_to_2200() -> None:
    assert (0, calendar.timegm((2201, 1, 1, 0, 0, 0)) * 1000) == (EARLIEST_MS, LATEST_MS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-05-01T12:00:00Z", calendar.timegm((2024, 5, 1, 12, 0, 0)) * 1000),
        ("2024-05-01t12:00:00.5z", calendar.timegm((2024, 5, 1, 12, 0, 0)) * 1000 + 500),
        ("2024-05-01 14:00:00.0019999+02:00", calendar.timegm((2024, 5, 1, 12, 0, 0)) * 1000 + 1),
        ("2024-05-01T06:30:00-05:30", calendar.timegm((2024, 5, 1, 12, 0, 0)) * 1000),
        ("2200-12-31T23:59:59.999Z", LATEST_MS - 1),
    ],
)
def test_rfc_3339_is_read(text: str, expected: int) -> None:
    assert expected == parse_time(text)


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-01T12:00:00",  # no offset
        "2024-05-01",
        "20240501T120000Z",  # ISO 8601, but not RFC 3339
        "2024-W18-3T12:00:00Z",
        "2024-05-01T12:00:00,5Z",
        "2024-02-30T12:00:00Z",
        "2024-05-01T12:00:60Z",
        "1714564800000",
        "٢٠٢٤-05-01T12:00:00Z",
        "2024-05-01T12:00:00Z\n",
        "",
        "1969-12-31T23:59:59.999Z",
        "2201-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        -1,
        LATEST_MS,
        10**40,
        True,
    ],
)
def test_what_is_no_usable_time_is_a_value_error(value: int | str) -> None:
    with pytest.raises(ValueError, match=r"not a|must be in|out of range"):
        parse_time(value)


@given(IN_RANGE)
def test_an_integer_is_the_time_itself(milliseconds: int) -> None:
    assert milliseconds == parse_time(milliseconds)


@given(IN_RANGE)
def test_writing_and_reading_is_the_identity(milliseconds: int) -> None:
    assert milliseconds == parse_time(rfc3339(milliseconds))


@given(IN_RANGE, IN_RANGE)
def test_texts_sort_like_the_times_they_name(one: int, other: int) -> None:
    assert (one < other) == (rfc3339(one) < rfc3339(other))


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 12, 30)),  # noqa: DTZ001  # the zone is drawn below
    st.integers(-23 * 60, 23 * 60),
)
def test_the_offset_moves_the_time_and_nothing_else(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    whole_seconds = calendar.timegm(moment.astimezone(UTC).timetuple())
    assert whole_seconds * 1000 + local.microsecond // 1000 == parse_time(moment.isoformat())


@given(st.text() | st.integers())
def test_reading_raises_nothing_but_value_error(value: str | int) -> None:
    try:
        result = parse_time(value)
    except ValueError:
        return
    assert EARLIEST_MS <= result < LATEST_MS
