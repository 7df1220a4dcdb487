"""The typed struct of each model's records: what the fast path of the ordinary decoder reads in one C call per record.

Every model's struct is tagged with its name, so one decoder reads a mixed batch. Features the reference does not know are
refused by the fast path; the slow path counts them and teaches their names to the struct (``MAX_LEARNT`` at most, as
undecoded ``Raw``), so that a producer who always sends one more feature does not stay on the slow path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.events import MAX_VERSION, Scalar, Variant

if TYPE_CHECKING:
    from streams.engine.plan import Model

MAX_LEARNT = 64
"""Unknown feature names that one model's struct learns; beyond it unknown features are no longer noticed one by one."""
_FIRST_PRINTABLE = " "

_CELL = {"numeric": float | None, "boolean": bool | None, "categorical": str | int | float | None}


def can_be_field(name: str) -> bool:
    """Whether msgspec takes a feature's name for a field: not with quotes, backslashes or control characters."""
    return not any(c in '"\\' or c < _FIRST_PRINTABLE for c in name)


@dataclass(slots=True)
class Wire:
    """One model's wire form. ``features`` are the model's columns that come from the features object, in order.

    ``asked`` are names that no reference knows as a feature and the configuration wants for its segments. ``slow`` are those among
    the model's features whose name no struct can have: a record that carries one is refused by the fast path, and the slow
    path reads it.
    """

    model: Model
    columns: int
    features: list[int]
    learnt: list[str] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def struct(self, kind: str) -> type[msgspec.Struct]:
        """The struct; ``kind`` is ``predictions`` or ``features``."""
        columns = self.model.columns.all
        cells: list[tuple[str, Any, Any]] = [
            (f"f{i}", _CELL[columns[c].kind], None) for i, c in enumerate(self.features)
        ]
        names = {f"f{i}": columns[c].name for i, c in enumerate(self.features)}
        cells += [(f"g{i}", Scalar, None) for i in range(len(self.asked))]
        names |= {f"g{i}": name for i, name in enumerate(self.asked)}
        cells += [(f"u{i}", msgspec.Raw, msgspec.Raw()) for i in range(len(self.learnt))]
        names |= {f"u{i}": name for i, name in enumerate(self.learnt)}
        strict = len(self.learnt) < MAX_LEARNT or bool(self.slow)
        inner = msgspec.defstruct("Features", cells, rename=names, gc=False, forbid_unknown_fields=strict)
        fields: list[Any]
        if kind == "features":
            fields = [
                ("id", str),
                ("event_time", int | str),
                ("features", inner),
                ("computed_at", int | str | None, None),
            ]
            return msgspec.defstruct(
                "Event", fields, rename={"id": "entity_id"}, tag_field="feature_set", tag=self.model.name, gc=False
            )
        fields = [
            ("id", str),
            ("model_version", Annotated[str, Meta(max_length=MAX_VERSION)]),
            ("event_time", int | str),
            ("features", inner, msgspec.field(default_factory=inner)),
            ("prediction", self._type_of("prediction"), None),
            ("score", float | None, None),
            ("variant", Variant, "champion"),
            ("scores", dict[str, float] | None, None),
            ("latency_ms", float | None, None),
            ("status", Literal["ok", "error"], "ok"),
            ("request_id", str | None, None),
            ("value", float | None, None),
            ("segments", dict[str, str], msgspec.field(default_factory=dict)),
        ]
        return msgspec.defstruct(
            "Event", fields, rename={"id": "prediction_id"}, tag_field="model", tag=self.model.name, gc=False
        )

    def _type_of(self, name: str) -> Any:  # noqa: ANN401  # a type expression
        at = self.model.columns.find(name, name)
        return Scalar if at is None else _CELL[self.model.columns.all[at].kind]


class Nobody(msgspec.Struct, tag_field="model", tag="", gc=False):
    """No record is one: with it in the union the tag is required, which msgspec does not ask of a single struct."""

    never: Annotated[str, Meta(min_length=1, max_length=0)]


class NoSet(msgspec.Struct, tag_field="feature_set", tag="", gc=False):
    """The same for feature events."""

    never: Annotated[str, Meta(min_length=1, max_length=0)]


def wire_of(model: Model, learnt: list[str]) -> Wire:
    """The wire form of a model as its columns stand now."""
    columns = model.columns.all
    features = [i for i, c in enumerate(columns) if c.source == "feature"]
    fast = [i for i in features if can_be_field(columns[i].name)]
    asked = [name for name in model.segments.names if model.columns.find("feature", name) is None]
    return Wire(model, len(columns), fast, learnt, [i for i in features if i not in set(fast)], asked)
