"""Segment values of a batch as codes: of every event, and every name that the model's segments need, one text.

What the event's ``segments`` say goes before its ``features`` (``streams.engine.segments``). All of it is C-level maps over
dictionaries that belong to the batch, so that neither memory nor results depend on what the process has met before.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from streams.engine.segments import MISSING, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streams.engine.decode.wire import Wire

ABSENT = -1
"""The code of a name that the event's ``segments`` do not have: its features may."""


class Texts(dict[str | None, int]):
    """Text -> code, in the order of their coming; 0 is ``missing``, None (not said at all) is ``ABSENT``."""

    def __init__(self) -> None:
        """Only ``missing``."""
        super().__init__({None: ABSENT, MISSING: 0})
        self.texts = [MISSING]

    def __missing__(self, said: str | None) -> int:
        """The code of a text met for the first time."""
        text = value_text(said)
        code = self.get(text)
        if code is None:
            code = self[text] = len(self.texts)
            self.texts.append(text)
        self[said] = code
        return code


class _Spellings(dict[Any, int]):
    """Value of a feature -> code of its text; values of one column have one type, so that no true is a 1."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, value: object) -> int:
        code = self[value] = self._texts[value_text(value)]
        return code


class _TypedSpellings(dict[tuple[type, Any], int]):
    """The same for pairs of type and value, where a column may have values of any type."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, pair: tuple[type, Any]) -> int:
        code = self[pair] = self._texts[value_text(pair[1])]
        return code


def segment_codes(
    wire: Wire, said: Sequence[dict[str, str]], cells: Sequence[Sequence[Any]], texts: Texts
) -> NDArray[np.int64]:
    """The codes of each name's value, int64[names, n].

    ``said`` are the events' ``segments``; ``cells`` the fields of their ``features``, in the order of the wire's struct.
    """
    n = len(said)
    names = wire.model.segments.names
    codes = np.empty((len(names), n), np.int64)
    anything = any(said)
    for i, name in enumerate(names):
        own = codes[i]
        own[:] = ABSENT
        if anything:
            own[:] = np.fromiter(map(texts.__getitem__, map(dict.get, said, repeat(name))), np.int64, n)
        if anything and own.min(initial=0) > ABSENT:
            continue
        at = wire.model.columns.find("feature", name)
        if at is None:
            cell = cells[len(wire.features) + wire.asked.index(name)]
            spelt = _TypedSpellings(texts)
            found = np.fromiter(map(spelt.__getitem__, zip(map(type, cell), cell, strict=True)), np.int64, n)
        else:
            cell = cells[wire.features.index(at)]
            found = np.fromiter(map(_Spellings(texts).__getitem__, cell), np.int64, n)
        np.copyto(own, found, where=own == ABSENT)
    return codes
