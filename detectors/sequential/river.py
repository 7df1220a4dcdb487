"""Any drift detector of the river library, by its class name.

Idea: whoever already trusts one of river's detectors can keep it, with driftline's state and alarms around it. The detector is
river's own; this file adds three things. Its parameters are checked when it is made. After an alarm the next update starts
a new detector, so that every alarm is about what came after the one before (some of river's detectors do that
themselves; ADWIN and KSWIN do not, and keep part of their window). And it can be saved: not by pickling river's object, but by
keeping the series since the restart and feeding it to a new one, which then answers as the old one would have.

A series is bounded: when it has `limit` values, the older half is forgotten and a new detector is fed with the newer half;
alarms that this brings up are passed over. So a change that half of `limit` values do not show is not found. Fed with one
value per pane (an error rate), 10,000 of them are a year of hourly panes.

Guarantee: whatever river's detector gives, which is none for most (`python -m loadtest quality` measures their false alarms).
Detectors with randomness (KSWIN) get `seed=0` unless the parameters name another: the same values, the same alarms.

Cost: river's own, PageHinkley 1.1 microseconds a value (`python -m loadtest detectors`); 8 bytes a value of the series. Reading
a state feeds the whole series again.
There is no merge: the series of two detectors would interleave in time.

State: format 1, the name, the parameters and the series; see `River.to_state`.

References: Montiel et al., River: machine learning for streaming data in Python, JMLR 22 (2021); each detector's own paper
stands in river's documentation.

>>> detector = River("PageHinkley", threshold=20.0)
>>> alarms = [i for i in range(2000) if detector.update(i >= 1000)]
>>> alarms[0], detector.direction
(1020, 1)
"""

from __future__ import annotations

import inspect
import math
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.sequential.state import count, items, number, reading, sign
from detectors.sequential.values import as_values
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

FORMAT: Final = 1
"""Version of the state that `River.to_state` writes."""
LIMIT: Final = 10_000
"""Values of the series kept by default: 80 kB, and 0.01 to 0.15 s to feed again (KSWIN: 6 s)."""
_LEAST_LIMIT = 100
"""No detector decides anything on half of fewer."""
_SEED = 0
Parameter = bool | int | float | str | None
"""What a parameter of a river detector may be here: what JSON can hold."""


@cache
def river_detectors() -> dict[str, type]:
    """Return river's drift detectors by class name: those of `river.drift` and of `river.drift.binary`."""
    from river import base, drift  # noqa: PLC0415  # river loads pandas; who uses none of its detectors need not wait
    from river.drift import binary  # noqa: PLC0415  # as above

    kinds = (base.DriftDetector, base.BinaryDriftDetector)
    found = {
        name: kind
        for module in (drift, binary)
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, kinds)
    }
    return dict(sorted(found.items()))


class River:
    """A detector of river, made as `River("HDDMA", drift_confidence=0.01)`.

    Args:
        name: the class's name in `river.drift` or `river.drift.binary`.
        limit: the most values that are kept to rebuild it; at least 100.
        parameters: those of the class.

    A binary detector takes 0 and 1 only. `n` and `mean` are about the values since the start or the latest alarm;
    `direction` is found at an alarm from these values, by the split where their cumulative sum of deviations is largest.
    """

    __slots__ = ("_alarmed", "_binary", "_detector", "_series", "direction", "limit", "name", "parameters")

    def __init__(self, name: str, *, limit: int = LIMIT, **parameters: Parameter) -> None:
        """Start before the first value.

        Raises:
            ConfigError: no such detector, a parameter that it does not have or take, or a limit below 100.
        """
        known = river_detectors()
        if name not in known:
            what = f"river has no drift detector {name!r}"
            raise ConfigError(what, f"use one of {', '.join(known)}")
        if limit < _LEAST_LIMIT:
            what = f"the limit of a river detector is {limit}"
            raise ConfigError(what, f"keep at least {_LEAST_LIMIT} values")
        from river import base  # noqa: PLC0415  # as in `river_detectors`

        self.name, self.limit, self.parameters = name, limit, dict(parameters)
        self.direction = 0
        self._binary = issubclass(known[name], base.BinaryDriftDetector)
        self._series: list[float] = []
        self._alarmed = False
        self._detector = self._new()

    @property
    def n(self) -> int:
        """Number of values since the start or the latest alarm, as far back as they are kept."""
        return len(self._series)

    @property
    def mean(self) -> float:
        """Mean of these values; 0.0 while there are none."""
        return math.fsum(self._series) / len(self._series) if self._series else 0.0

    def update(self, x: float) -> bool:
        """Add one value; return whether river's detector says that there is a change.

        Raises:
            ValueError: the value is not finite, or the detector is a binary one and the value neither 0 nor 1.
        """
        if not math.isfinite(x) or (self._binary and x not in {0, 1}):
            message = f"{self.name} takes {'0 and 1' if self._binary else 'finite values'}, got {x}"
            raise ValueError(message)
        if not self._alarmed and len(self._series) >= self.limit:
            self._rebuild(self._series[-(self.limit // 2) :])
        self._feed(float(x))
        if self._alarmed:
            self.direction = _direction(self._series) or self.direction
        return self._alarmed

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Add values one by one (a Python loop); return for each what `update` would.

        Raises:
            ValueError: a value that the detector does not take; none was added.
        """
        array = as_values(values)
        wrong = (array != 0) & (array != 1)
        if self._binary and wrong.any():
            message = f"{self.name} takes 0 and 1, got {array[wrong][0]}"
            raise ValueError(message)
        return np.array([self.update(x) for x in array.tolist()], np.bool_)

    def _restart(self) -> None:
        self._series, self._alarmed = [], False
        self._detector = self._new()

    def _feed(self, x: float) -> None:
        if self._alarmed:
            self._restart()
        self._detector.update(bool(x) if self._binary else x)
        self._series.append(x)
        self._alarmed = bool(self._detector.drift_detected)

    def _rebuild(self, series: list[float]) -> None:
        """Feed a new detector; after an alarm on the way another one takes the rest."""
        self._restart()
        for x in series:
            self._feed(x)

    def _new(self) -> Any:  # noqa: ANN401  # river's binary and other detectors share no public base
        kind = river_detectors()[self.name]
        parameters = inspect.signature(kind).parameters
        unknown = sorted(set(self.parameters) - set(parameters))
        if unknown:
            what = f"river's {self.name} has no parameter {', '.join(unknown)}"
            raise ConfigError(what, f"it has {', '.join(parameters) or 'none'}")
        for given, value in self.parameters.items():
            default = parameters[given].default
            if default is not None and not _fits(value, default):
                what = f"river's {self.name} has {given} {default!r}, got {value!r}"
                raise ConfigError(what, f"give a {type(default).__name__}")
        seed = {"seed": _SEED} if "seed" in parameters else {}
        try:
            return kind(**(seed | self.parameters))
        except (TypeError, ValueError, ArithmeticError) as error:
            what = f"river's {self.name} does not take {self.parameters} ({error})"
            raise ConfigError(what, "see its documentation at riverml.xyz") from error

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next; `from_state` is its inverse.

        Keys: `format`, `name`, `limit`, `parameters`, `direction`, and `series`: the values since the restart. The latest
        was an alarm exactly when feeding the series ends in one.
        """
        return {
            "format": FORMAT,
            "name": self.name,
            "limit": self.limit,
            "parameters": dict(self.parameters),
            "direction": self.direction,
            "series": list(self._series),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> River:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of a river detector.
        """
        with reading("a river detector", state, FORMAT):
            limit = count(state["limit"], _LEAST_LIMIT)
            detector = cls(state["name"], limit=limit, **state["parameters"])
            series = [number(v) for v in items(state["series"], most=limit)]
            if detector._binary and not set(series) <= {0.0, 1.0}:
                message = f"a series of {detector.name} holds more than 0 and 1"
                raise ValueError(message)
            detector._rebuild(series)
            if len(detector._series) != len(series):
                message = f"{detector.name} alarms within the series that it has kept"
                raise ValueError(message)
            detector.direction = sign(state["direction"])
        return detector


def _fits(value: Parameter, default: object) -> bool:
    """Return whether a value can stand for a default: of the same kind, an integer also for a float."""
    if isinstance(value, bool) or isinstance(default, bool | str):
        return type(value) is type(default)
    return isinstance(value, int) or (isinstance(value, float) and isinstance(default, float) and math.isfinite(value))


def _direction(series: list[float]) -> int:
    """Return the sign of the change of mean where the cumulative sum of deviations is farthest from zero (Page 1954)."""
    values = np.array(series)
    sums = np.cumsum(values - values.mean())
    return -int(np.sign(sums[int(np.argmax(np.abs(sums)))]))
