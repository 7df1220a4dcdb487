"""What is watched: each model or feature set with its times, classes and references, compiled for the engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from detectors.decisions import Budget, compile_rule
from detectors.performance import layout
from schemas.config import FeatureSetConfig, ModelConfig, decision_hash
from schemas.errors import ReferenceMismatch, StateMismatch
from streams.engine.dictionary import Columns
from streams.engine.outcomes import FIRST_BLOCK, block_width
from streams.engine.segments import NONE, Segments, segments_of
from streams.engine.shape import HEADER, Shape, lay_out
from streams.engine.truth import Truths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.decisions import Rule
    from detectors.reference import Reference
    from schemas.identifiers import StreamKey
    from schemas.monitors import ProxySubject

_HALF = 0.5
"""Of the budget: a change in all traffic matters most, and many segments must not leave it without power."""
MOST_STREAMS = 1 << 16
"""Versions x variants of one model that a process can tell apart; a task takes far fewer (``task_streams.MAX_STREAMS``)."""
REGRESSION, BINARY, MULTICLASS = 0, 2, 3
"""What ``Model.task_code`` may be; a feature set has that of a regression. The number of classes does not tell: a multiclass
reference that met one class has two, with "other"."""
_CODES = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


class References(Protocol):
    """Where the reference of a version comes from."""

    def reference_for(self, model: str, version: str) -> Reference | None:
        """The version's own reference, or None when it uses the model's."""
        ...


@dataclass(slots=True)
class Model:
    """One model or feature set. Times in ms. ``streams`` grows as versions and variants are met, and never shrinks."""

    index: int
    name: str
    config: ModelConfig | FeatureSetConfig
    pane: int
    window: int
    lateness: int
    idle: int
    maturity: int
    horizon: int
    sample: float
    memory: int
    columns: Columns
    default: Shape
    reference: Reference
    classes: tuple[str, ...]
    task_code: int
    decision: str
    truth: Truths
    shapes: dict[str, Shape] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    streams: dict[tuple[str, str], int] = field(default_factory=dict)
    stream_names: list[tuple[str, str]] = field(default_factory=list)
    stream_shapes: list[Shape] = field(default_factory=list)
    stream_references: list[Reference] = field(default_factory=list)
    segments: Segments = NONE
    rules: dict[tuple[str, float], Rule] = field(default_factory=dict)

    @property
    def times(self) -> dict[str, int]:
        """What state is made by besides its reference, times in ms: it cannot change under state that exists."""
        return {
            "windows.pane": self.pane,
            "windows.size": self.window,
            "windows.lateness": self.lateness,
            "labels.maturity": self.maturity,
            "labels.horizon": self.horizon,
            "labels.sample (a share of 2^32)": round(self.sample * 2**32),
        }

    def refuse_other_times(self, kept: dict[str, int], where: str) -> None:
        """Raise StateMismatch when state was made with other panes, windows, horizons or samples than the configuration has."""
        for name, now in self.times.items():
            before = kept.get(name, now)
            if before != now:
                what = f"{where}: the state of {self.name!r} was made with {name} {before}, monitor.yaml says {now} (times in ms)"
                raise StateMismatch(what, f"put {name} back, or monitor under a new model name or group")

    @property
    def labelled(self) -> bool:
        """Whether predictions of it are remembered for their labels."""
        return isinstance(self.config, ModelConfig)

    @property
    def outcome_width(self) -> int:
        """The width of one outcome vector."""
        if not isinstance(self.config, ModelConfig):
            return 0
        return layout.width(self.config.task, len(self.classes))

    @property
    def revisions(self) -> int:
        """How often the performance of a window is judged: at maturity, and at the horizon where that is later (R4)."""
        return 2 if self.horizon > self.maturity else 1

    @property
    def outcome_cells(self) -> int:
        """How many tests share the budget of performance and sequential.

        The metrics of a window, once for each of its revisions, the error rate, and the proxies.
        """
        if not isinstance(self.config, ModelConfig):
            return 1
        return max(1, self.revisions * len(self.config.performance) + self.config.sequential + len(self.proxies))

    @property
    def proxies(self) -> tuple[ProxySubject, ...]:
        """What stands in for performance until labels are in, as far as the model's own reference allows it."""
        if not isinstance(self.config, ModelConfig) or self.task_code != BINARY:
            return ()
        known = self.reference.outcomes
        labelled = known is not None and len(known) > layout.SCORES and layout.score_histograms(known).any()
        scored = self.reference.scored is not None
        return tuple(p for p in self.config.proxy if (labelled if p == "calibration" else scored))

    @property
    def block_width(self) -> int:
        """The width of one block of outcomes: the outcome vector and the delays of the labels (`streams.engine.outcomes`)."""
        return block_width(self.outcome_width)

    @property
    def arrival_width(self) -> int:
        """The width of an arrival pane's vector: header and one block."""
        return HEADER + self.block_width

    @property
    def performance_width(self) -> int:
        """The width of a performance pane's vector: header, predictions remembered, the block up to maturity and the rest."""
        return FIRST_BLOCK + 2 * self.block_width

    def add_reference(self, reference: Reference) -> Shape:
        """Lay out a reference of one of the model's versions."""
        if reference.shape_hash not in self.shapes:
            self.shapes[reference.shape_hash] = lay_out(reference, self.columns)
            self.references[reference.shape_hash] = reference
            _know_classes(self)
        return self.shapes[reference.shape_hash]

    def stream(self, version: str, variant: str, references: References | None) -> int:
        """The index of a stream, made when it is new (its reference is looked up then); -1 beyond ``MOST_STREAMS``."""
        at = self.streams.get((version, variant))
        if at is None:
            if len(self.streams) >= MOST_STREAMS:
                return -1
            own = references.reference_for(self.name, version) if references is not None else None
            at = self.streams[version, variant] = len(self.streams)
            self.stream_names.append((version, variant))
            self.stream_shapes.append(self.default if own is None else self.add_reference(own))
            self.stream_references.append(self.reference if own is None else own)
        return at

    def reference_of(self, stream: StreamKey, shape_hash: str, references: References | None) -> Reference:
        """The reference that a stream's closed panes are compared with: its version's own, or the model's; of a segment its part.

        Raises StateMismatch when neither has that shape.
        """
        at = self.stream(stream.version, stream.variant, references)
        own = self.stream_references[at] if at >= 0 else self.reference
        found = own if own.shape_hash == shape_hash else self.references.get(shape_hash)
        if found is None:
            what = f"version {stream.version!r} of {self.name!r} was counted with reference shape {shape_hash}, which is gone"
            raise StateMismatch(
                what, "put that reference back (models.*.references, or publish it), or start a new group"
            )
        return found.of_segment(stream.segment)

    def budget(self, stream: StreamKey | None = None) -> Budget:
        """The false alarms that one stream may spend.

        All traffic has half of the owner's budget where there are segments, and the segments of a version and variant share
        the other half equally: by how many they can be, not by how many have come, so that a window's level does not move.
        """
        whole = Budget.parse(self.config.alerts.false_alarms)
        return replace(whole, false_alarms=whole.false_alarms * self.share(stream))

    def share(self, stream: StreamKey | None = None) -> float:
        """The part of the budget that one stream may spend; None stands for all traffic."""
        if not self.segments.definitions:
            return 1.0
        return _HALF / self.segments.streams if stream is not None and stream.segment else _HALF

    def rule(self, reference: Reference, stream: StreamKey | None = None) -> Rule:
        """The rule that decides about a stream's drift from a reference, compiled once: thresholds, seasons, time scales."""
        key = reference.content_hash, self.share(stream)
        rule = self.rules.get(key)
        if rule is None:
            alerts = self.config.alerts
            budget = self.budget(stream)
            watched = self.watched(reference)
            rule = compile_rule(reference, watched, budget, self.window, alerts.confirmation, alerts.scales)
            self.rules[key] = rule
        return rule

    def watched(self, reference: Reference) -> list[int]:
        """The indices of the reference's subjects whose drift the configuration wants watched."""
        if not isinstance(self.config, ModelConfig):
            return list(range(len(reference.subjects)))
        wanted, features = self.config.drift, len(reference.features)
        return [
            i
            for i, subject in enumerate(reference.subjects)
            if ("features" in wanted if i < features else subject.name in wanted)
        ]

    def class_of_code(self) -> NDArray[np.int64]:
        """The class of every code of the prediction column; a code beyond the end, or unseen, is the last-resort class."""
        at = self.columns.find("prediction", "prediction")
        codes = {} if at is None else self.columns.all[at].categories.codes
        return np.array([self.class_of_text(text) for text in codes], np.int64)

    def class_of_text(self, text: str) -> int:
        """The class index of a label or prediction: binary knows positive (1) and the rest (0), multiclass has "other" last."""
        if isinstance(self.config, ModelConfig) and self.config.task == "binary":
            return int(text == self.classes[1])
        return self.classes.index(text) if text in self.classes else len(self.classes) - 1

    @property
    def other_class(self) -> int:
        """The class of an answer that nobody knows."""
        return 0 if self.task_code == BINARY else max(0, len(self.classes) - 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """All models of one group of topics, in the order of their indices."""

    group: str
    models: tuple[Model, ...]
    future: int
    by_name: dict[str, Model] = field(init=False)

    def __post_init__(self) -> None:
        """Index the models by name."""
        object.__setattr__(self, "by_name", {m.name: m for m in self.models})


def compile_plan(
    group: str,
    configs: Mapping[str, ModelConfig | FeatureSetConfig],
    references: Mapping[str, Sequence[Reference]],
    future: int,
) -> Plan:
    """The plan of a group: ``references[name]`` is the model's own reference and then those of its versions.

    Raises ReferenceMismatch when a reference does not fit the task that the configuration names.
    """
    models = [_model(i, name, configs[name], references[name]) for i, name in enumerate(sorted(configs))]
    return Plan(group, tuple(models), future)


def _model(index: int, name: str, config: ModelConfig | FeatureSetConfig, references: Sequence[Reference]) -> Model:
    reference, *versions = references
    windows = config.windows
    labels = config.labels if isinstance(config, ModelConfig) else None
    classes = _classes(name, config, reference)
    code = _CODES[config.task] if isinstance(config, ModelConfig) else REGRESSION
    columns = Columns()
    shape = lay_out(reference, columns)
    model = Model(
        index=index,
        name=name,
        config=config,
        pane=windows.pane,
        window=windows.size,
        lateness=windows.lateness,
        idle=windows.idle,
        maturity=labels.maturity if labels else 0,
        horizon=labels.horizon if labels else 0,
        sample=labels.sample if labels else 1.0,
        memory=int(labels.memory) if labels else 0,
        columns=columns,
        default=shape,
        reference=reference,
        classes=classes,
        task_code=code,
        decision=decision_hash(config),
        truth=Truths(classes, 0 if code == BINARY else len(classes) - 1),
        segments=segments_of(config, reference),
    )
    model.shapes[shape.hash], model.references[shape.hash] = shape, reference
    _know_classes(model)
    for other in versions:
        if isinstance(config, ModelConfig):
            _refuse_other_task(name, config, other)
        model.add_reference(other)
    return model


def _know_classes(model: Model) -> None:
    """The join needs answers and scores even where the reference has no distribution of them, and every class's name."""
    if not model.labelled:
        return
    kind = "categorical" if model.classes else "numeric"
    if model.columns.find("prediction", "prediction") is None:
        model.columns.add("prediction", "prediction", kind)
    at = model.columns.find("prediction", "prediction")
    if at is not None and model.columns.all[at].kind != "numeric":
        model.columns.categories(at, [c for c in model.classes if c])
    if model.columns.find("score", "score") is None:
        model.columns.add("score", "score", "numeric")


def _classes(name: str, config: ModelConfig | FeatureSetConfig, reference: Reference) -> tuple[str, ...]:
    if not isinstance(config, ModelConfig):
        return ()
    _refuse_other_task(name, config, reference)
    if config.task == "regression":
        return ()
    if config.task == "binary":
        return ("", str(config.positive_class))
    if not reference.classes:
        what = f"model {name!r} is multiclass and its reference knows no classes"
        raise ReferenceMismatch(what, "rebuild the reference from a table with a label or a prediction column")
    return reference.classes


def _refuse_other_task(name: str, config: ModelConfig, reference: Reference) -> None:
    """Raise ReferenceMismatch when a reference, the model's or a version's, was built for another task or positive class."""
    if reference.task is not None and reference.task != config.task:
        what = f"model {name!r} is configured as {config.task}, its reference was built for {reference.task}"
        raise ReferenceMismatch(what, "set models.*.task to the reference's task, or rebuild the reference")
    made_for = reference.positive_class
    if config.task == "binary" and made_for is not None and made_for != config.positive_class:
        what = f"model {name!r} has positive_class {config.positive_class!r}, its reference was built for {made_for!r}"
        raise ReferenceMismatch(what, "set positive_class to the reference's, or rebuild the reference")
