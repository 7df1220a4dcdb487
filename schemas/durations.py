"""Durations in configuration: "500ms", "30s", "10m", "24h", "7d", or an integer of milliseconds; inside always ms."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

# Ten years: sums of a few durations and an event time stay far inside 64 bits, and typing errors do not.
LONGEST_MS: Final = 3650 * UNITS_MS["d"]

_PATTERN: Final = "^[0-9]+(ms|s|m|h|d)$"
_ALLOWED = 'a duration like "500ms", "30s", "10m", "24h", "7d", or an integer of milliseconds, up to "3650d"'


def duration_ms(value: object) -> int:
    """Return the milliseconds that `value` stands for.

    Raises:
        ValueError: it is no duration, or longer than ten years.
    """
    if isinstance(value, str) and re.fullmatch(_PATTERN, value, re.ASCII):
        unit = value.lstrip("0123456789")
        digits = value.removesuffix(unit)
        # More digits than the longest duration has are too long anyway, and `int` refuses very many.
        milliseconds = int(digits) * UNITS_MS[unit] if len(digits) <= len(str(LONGEST_MS)) else LONGEST_MS + 1
    elif isinstance(value, int) and not isinstance(value, bool):
        milliseconds = value
    else:
        raise ValueError(_ALLOWED)
    if not 0 <= milliseconds <= LONGEST_MS:
        raise ValueError(_ALLOWED)
    return milliseconds


_SCHEMA = {"anyOf": [{"type": "string", "pattern": _PATTERN}, {"type": "integer", "minimum": 0}]}


def _positive(value: object) -> int:
    milliseconds = duration_ms(value)
    if milliseconds == 0:
        message = f"more than nothing: {_ALLOWED}"
        raise ValueError(message)
    return milliseconds


Duration = Annotated[int, BeforeValidator(duration_ms), WithJsonSchema(_SCHEMA)]
"""A duration in milliseconds, zero allowed."""

PositiveDuration = Annotated[int, BeforeValidator(_positive), WithJsonSchema(_SCHEMA)]
"""A duration in milliseconds, at least one."""
