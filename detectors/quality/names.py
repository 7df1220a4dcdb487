"""Which features came and which did not: the schema of a window against that of the reference.

Names are compared as sets, without statistics: one row with a name is enough for it to be there. A feature that is sent
with null in every row is there; the check "missing" (`detectors.quality.checks`) says that it is gone. State: the set of
names; merge law: union.

>>> found = compare_names(["amount", "country"], ["amount", "currency"])
>>> found.gone, found.new
(('country',), ('currency',))
>>> found.sentence
'1 feature of the reference did not come (country); 1 came that it does not know (currency)'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED = 5
"""How many names a sentence lists: it is read on telephones."""


@dataclass(frozen=True, slots=True)
class NamesResult:
    """`gone`: names of the reference that did not come; `new`: names that came and it does not know. Both sorted."""

    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether exactly the names of the reference came."""
        return not (self.gone or self.new)

    @property
    def sentence(self) -> str:
        """The finding in plain English."""
        if self.ok:
            return "the features are those of the reference"
        gone = f"{_counted(self.gone)} of the reference did not come" if self.gone else ""
        new = f"{len(self.new) if gone else _counted(self.new)} came that it does not know" if self.new else ""
        if new and not gone:
            new = new.replace("it does", "the reference does")
        parts = [f"{text} ({_listed(names)})" for text, names in ((gone, self.gone), (new, self.new)) if text]
        return "; ".join(parts)


def compare_names(expected: Iterable[str], found: Iterable[str]) -> NamesResult:
    """Compare the names of the features that came (`found`) with those of the reference (`expected`)."""
    wanted, came = set(expected), set(found)
    return NamesResult(tuple(sorted(wanted - came)), tuple(sorted(came - wanted)))


def _counted(names: tuple[str, ...]) -> str:
    return f"{len(names)} feature{'s' if len(names) > 1 else ''}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
