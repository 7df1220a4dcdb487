"""What an evaluator keeps: no book of alerts is forgotten where they are shown and superseded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.engine.evaluator_head import EvaluatorHead
from streams.engine.families import Book

if TYPE_CHECKING:
    from collections.abc import Iterator

REPEATED = "final.matured"
"""Revision 1 of performance as revision 2 goes over it again: its alerts are those of ``performance``."""


def books_in(state: msgspec.Struct, path: str = "") -> Iterator[tuple[str, Book]]:
    """Every book anywhere in a state, with the path to it."""
    for name in state.__struct_fields__:
        value, at = getattr(state, name), f"{path}{name}"
        if isinstance(value, Book):
            yield at, value
        elif isinstance(value, msgspec.Struct):
            yield from books_in(value, f"{at}.")


def test_every_book_of_published_alerts_is_listed_once() -> None:
    head = EvaluatorHead()
    expected = {id(book): path for path, book in books_in(head) if path != REPEATED}
    actual = [expected.get(id(book)) for _, book in head.books()]
    assert sorted(expected.values()) == sorted(path for path in actual if path)
    assert len(actual) == len(expected)
