"""Codes for text: the columns of a model's rows, the categories in them, and the streams that send them.

All of them only grow, so that a code, once given, keeps its meaning while the process lives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import ReferenceMismatch
from schemas.events import category_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNSEEN = -1
"""The code of a category that no reference knows."""
TYPE_ERROR = -np.inf
"""The cell of a value of the wrong type. JSON has no infinities, so no value can be mistaken for it."""
MAX_CACHED = 10_000
"""Spellings remembered per column: beyond it, a value nobody knows costs one text conversion each time, and no memory."""


class Categories(dict[object, float]):
    """Value -> code of one categorical column; None (missing) is NaN, a value that nobody knows is ``UNSEEN``.

    Numbers and their text are one category: 3, 3.0 and "3" have one code (``category_text``).
    """

    def __init__(self) -> None:
        """An empty dictionary of categories."""
        super().__init__({None: float("nan")})
        self.codes: dict[str, int] = {}

    def __missing__(self, value: object) -> float:
        """The code of a spelling met for the first time."""
        code = float(self.codes.get(category_text(value), UNSEEN))  # type: ignore[arg-type]  # JSON scalars only, by the decoder
        if len(self) < MAX_CACHED:
            self[value] = code
        return code

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Codes for these names, new ones appended; remembered spellings of unknown values are forgotten."""
        for name in names:
            self.codes.setdefault(name, len(self.codes))
        self.clear()
        self[None] = float("nan")
        return np.array([self.codes[name] for name in names], np.int64)


@dataclass(slots=True)
class Column:
    """One decoded column: ``source`` is ``feature``, ``score`` or ``prediction``; kind numeric, boolean or categorical."""

    source: str
    name: str
    kind: str
    categories: Categories = field(default_factory=Categories)


class Columns:
    """The columns of one model's decoded rows: the union over the references of its versions."""

    def __init__(self) -> None:
        """No columns yet."""
        self.all: list[Column] = []
        self._index: dict[tuple[str, str], int] = {}

    def add(self, source: str, name: str, kind: str) -> int:
        """The index of a column, made when it is new; boolean in one reference and categorical in another is categorical.

        Raises ReferenceMismatch when one reference holds numbers and another categories under one name.
        """
        kind = "numeric" if kind == "integer" else kind
        at = self._index.get((source, name))
        if at is None:
            at = self._index[source, name] = len(self.all)
            self.all.append(Column(source, name, kind))
        elif self.all[at].kind != kind:
            if "numeric" in {kind, self.all[at].kind}:
                what = f"{source} {name!r} is {self.all[at].kind} in one reference of the model and {kind} in another"
                raise ReferenceMismatch(what, "rebuild one of them with the other's type (reference build --type)")
            self.all[at].kind = "categorical"
        return at

    def find(self, source: str, name: str) -> int | None:
        """The index of a column, None when no reference has it."""
        return self._index.get((source, name))

    def categories(self, column: int, names: Sequence[str]) -> NDArray[np.int64]:
        """Codes of category names in a column."""
        return self.all[column].categories.add(names)
