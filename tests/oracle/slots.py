"""The slot of one value, found by looking at one bin after the other."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from schemas.events import category_text

if TYPE_CHECKING:
    from detectors.reference import Subject


def slot(subject: Subject, value: object) -> int:
    """Return the slot of a value as it stands in an event."""
    last = subject.width - 1
    missing = value is None or (isinstance(value, float) and isnan(value))
    if missing:
        return last - 1
    if subject.numeric:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return last
        edges = subject.edges.tolist()
        return sum(edge <= value for edge in edges)
    text = category_text(value)  # type: ignore[arg-type]
    if text in subject.categories:
        return subject.categories.index(text)
    return len(subject.categories) + (0 if text in subject.others else 1)
