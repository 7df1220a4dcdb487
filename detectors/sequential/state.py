"""Reading a detector's state: what is from a newer driftline or makes no sense is refused, in one way for all detectors.

A state is what `to_state` returned, possibly through JSON: a mapping of names to numbers, texts and lists. Whatever else
arrives, `reading` turns into StateNewer or StateCorrupt, so that nothing but these can leave a `from_state`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError, StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEDY = "restore it from a backup, or reset the detector on purpose"
"""What to do about a state that cannot be used."""
LARGEST_COUNT = 1 << 53
"""Up to here a count is exact as a float; none gets there in this world, so a larger one is damage."""


@contextmanager
def reading(detector: str, state: object, newest: int) -> Iterator[None]:
    """Check the version of the state of a `detector`, then turn every error of reading it into StateCorrupt.

    Raises:
        StateNewer: its format is beyond `newest`.
        StateCorrupt: it has no format, or what runs inside raises an error that damage can cause.
    """
    version = state.get("format") if isinstance(state, Mapping) else None
    if isinstance(version, int) and version > newest:
        what = f"the state of {detector} has format {version}, this driftline reads up to {newest}"
        raise StateNewer(what, "run the driftline version that wrote it, or a later one")
    if type(version) is not int or version < 1:
        what = f"the state of {detector} cannot be read (format {version!r})"
        raise StateCorrupt(what, REMEDY)
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, ConfigError) as error:
        what = f"the state of {detector} cannot be read ({type(error).__name__}: {error})"
        raise StateCorrupt(what, REMEDY) from error


def count(value: object, least: int = 0) -> int:
    """Return an integer of at least `least`.

    Raises:
        ValueError: it is something else, or too large to be a count.
    """
    if type(value) is not int or not least <= value <= LARGEST_COUNT:
        message = f"expected a count of at least {least}, got {value!r}"
        raise ValueError(message)
    return value


def number(value: object, least: float = -math.inf) -> float:
    """Return a finite number of at least `least`, as a float.

    Raises:
        ValueError: it is something else.
        OverflowError: no float holds it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"expected a number, got {value!r}"
        raise ValueError(message)  # noqa: TRY004  # one error for all that a damaged state can hold
    found = float(value)
    if not math.isfinite(found) or found < least:
        message = f"expected a finite number of at least {least}, got {value!r}"
        raise ValueError(message)
    return found


def flag(value: object) -> bool:
    """Return a truth value.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, bool):
        message = f"expected true or false, got {value!r}"
        raise ValueError(message)  # noqa: TRY004  # as above
    return value


def sign(value: object) -> int:
    """Return a direction: -1, 0 or 1.

    Raises:
        ValueError: it is something else.
    """
    if type(value) is not int or value not in {-1, 0, 1}:
        message = f"expected a direction, got {value!r}"
        raise ValueError(message)
    return value


def items(value: object, length: int | None = None, most: int | None = None) -> Sequence[Any]:
    """Return a list, of exactly `length` or at most `most` entries where these are given.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list | tuple):
        message = f"expected a list, got {value!r}"
        raise ValueError(message)  # noqa: TRY004  # as above
    if (length is not None and len(value) != length) or (most is not None and len(value) > most):
        message = f"expected a list of {length if length is not None else f'at most {most}'}, got {len(value)} entries"
        raise ValueError(message)
    return value
