"""Detectors of change in a stream with one fault each, by the name of the law that they break: ADWIN, bent."""

# ruff: noqa: D102  # a method that is overridden does what the class above says, wrongly

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from detectors.sequential import Adwin
from schemas.errors import StateCorrupt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


class NumpyAnswers(Adwin):
    """Answers with numpy's truth values, which `is True` and JSON do not take for Python's."""

    def update(self, x: float) -> bool:
        return np.bool_(super().update(x))  # type: ignore[return-value]  # wrong on purpose


class Random(Adwin):
    """Draws from a generator that nobody seeded alike."""

    made: ClassVar[list[int]] = []

    def __init__(self, delta: float = 0.002) -> None:
        super().__init__(delta)
        self.made.append(1)
        self.rng = np.random.default_rng(len(self.made))

    def update(self, x: float) -> bool:
        return super().update(x) or self.rng.random() < 0.01


class Hasty(Adwin):
    """Takes many values as one pane."""

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        array = np.asarray(values, float)
        found = np.zeros(len(array), np.bool_)
        found[-1:] = self.update_many(len(array), float(array.sum()), float((array**2).sum()))
        return found


class Gullible(Adwin):
    """Passes over what is no number."""

    def update(self, x: float) -> bool:
        return bool(np.isfinite(x)) and super().update(x)


class Forgetful(Adwin):
    """Does not save the direction."""

    def to_state(self) -> dict[str, Any]:
        return super().to_state() | {"direction": 0}


class Sharing(Adwin):
    """Gives away what it goes on using."""

    def __init__(self, delta: float = 0.002) -> None:
        super().__init__(delta)
        self.seen: list[float] = [0]

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        self.seen[0] += len(np.asarray(values))
        return super().update_each(values)

    def to_state(self) -> dict[str, Any]:
        return super().to_state() | {"seen": self.seen}


class Hoarder(Adwin):
    """Keeps everything it was ever told."""

    def __init__(self, delta: float = 0.002) -> None:
        super().__init__(delta)
        self.seen: list[float] = []

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        self.seen += np.asarray(values, float).tolist()
        return super().update_each(values)

    def to_state(self) -> dict[str, Any]:
        return super().to_state() | {"seen": list(self.seen)}


class Careless(Adwin):
    """Does not look at the version."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return super().from_state(state | {"format": 1})  # type: ignore[operator,return-value]  # wrong on purpose


class Plain(Adwin):
    """Lets whatever error a damaged state causes go through."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        str(state["delta"])
        return super().from_state(state)  # type: ignore[return-value]  # Adwin's


class Trusting(Adwin):
    """Takes over parameters unread."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        found: Any = super().from_state({**state, "delta": 0.002})
        if "delta" not in state:
            raise StateCorrupt("no delta", "restore it")
        found.delta = state["delta"]
        return found  # type: ignore[no-any-return]  # a subclass of Adwin


class Alarmist(Adwin):
    """Alarms now and then, whatever comes."""

    def update(self, x: float) -> bool:
        return super().update(x) or self.elements % 4000 == 0

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        return np.array([self.update(x) for x in np.asarray(values, float).tolist()])


class Deaf(Adwin):
    """Never alarms."""

    def update(self, x: float) -> bool:
        super().update(x)
        return False


class CountsNothing(Adwin):
    """Takes an empty pane for a value of zero."""

    def update_many(self, n: int, total: float, total_sq: float) -> bool:
        return super().update_many(max(1, n), total, total_sq)


class Lossy(Adwin):
    """Loses the last of many panes."""

    def update_panes(self, n: ArrayLike, total: ArrayLike, total_sq: ArrayLike) -> NDArray[np.bool_]:
        found = super().update_panes(*(np.asarray(a)[:-1] for a in (n, total, total_sq)))
        return np.append(found, np.False_)


class Lenient(Adwin):
    """Passes over panes that cannot be."""

    def update_many(self, n: int, total: float, total_sq: float) -> bool:
        return n > 0 and bool(np.isfinite(total + total_sq)) and super().update_many(n, total, total_sq)


STREAM: dict[str, type[Adwin]] = {
    "it_speaks_the_common_language": NumpyAnswers,
    "the_same_values_give_the_same_alarms": Random,
    "many_at_once_is_one_by_one": Hasty,
    "what_is_no_number_is_refused_and_leaves_no_trace": Gullible,
    "restarting_anywhere_changes_nothing": Forgetful,
    "a_state_is_its_own": Sharing,
    "a_state_stays_small": Hoarder,
    "a_newer_state_is_refused": Careless,
    "arbitrary_json_is_a_corrupt_state": Plain,
    "a_damaged_state_is_refused_or_gives_a_detector_that_works": Trusting,
    "a_constant_stream_never_alarms": Alarmist,
    "a_gross_change_is_seen_at_once": Deaf,
    "a_quiet_stream_alarms_no_more_often_than_stated": Alarmist,
    "a_pane_of_one_value_is_the_value_and_an_empty_one_is_nothing": CountsNothing,
    "panes_at_once_are_panes_one_by_one": Lossy,
    "panes_that_cannot_be_are_refused_and_leave_no_trace": Lenient,
}
