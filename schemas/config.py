"""The configuration `monitor.yaml` (DESIGN §4) as types: what may be said, the defaults, and what contradicts itself.

Only what is implemented can be said; an unknown key is an error that lists the known ones. Durations are integers of
milliseconds once read, however they were written (`schemas.durations`). `load` reads a file.

A validator's message completes the sentence "... is X; allowed: ", and never repeats the value, which may be secret.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.config_file import Document, read
from schemas.config_problems import sentences
from schemas.durations import UNITS_MS, Duration, PositiveDuration
from schemas.errors import ConfigError
from schemas.events import category_text
from schemas.monitors import (
    DriftSubject,
    LabelSubject,
    Monitor,
    PerformanceMetric,
    ProxySubject,
    ServiceSubject,
    Task,
    check_monitors,
    default_monitors,
)
from schemas.route import RouteConfig
from schemas.settings import DeadLetters, HttpConfig, KafkaSettings, RedisConfig, Strict, Topics, not_empty

_SECOND, _MINUTE, _HOUR, _DAY = UNITS_MS["s"], UNITS_MS["m"], UNITS_MS["h"], UNITS_MS["d"]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
"""A model, feature set or group: it becomes part of Redis keys, record keys and metric labels."""

_SEGMENT_NAME: Final = r'^[^"\\\x00-\x1f]{1,100}$'
SegmentName = Annotated[str, StringConstraints(pattern=_SEGMENT_NAME)]
"""A name in the `segments` or `features` of events."""


def _segment(value: object) -> object:
    # Checked here and not by the union, so that a wrong name is one problem and not one for each type.
    for name in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(name, str) or re.fullmatch(_SEGMENT_NAME, name) is None:
            message = "a name or a list of names, each of 1 to 100 characters without quotes, backslashes and control characters"
            raise ValueError(message)
    return value


Segment = Annotated[SegmentName | tuple[SegmentName, ...], BeforeValidator(_segment)]
"""One entry of `segments`: a name, or names that are combined."""
MAX_SEGMENTS: Final = 16
"""Definitions of segments: each event is counted once more for each of them."""
MAX_COMBINED: Final = 5
"""Names in one of them."""

MAX_PANES: Final = 10_000
"""Panes in a window: an evaluator merges all of them at once, for every partition."""


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path


FilePath = Annotated[Path, AfterValidator(_resolved)]
"""A path, relative to the folder of the configuration file."""


def _class_text(value: object) -> object:
    return category_text(value) if isinstance(value, str | bool | int | float) else value


class Windows(Strict):
    """How event time is cut, in milliseconds."""

    pane: PositiveDuration = _MINUTE
    """The smallest slice of event time that is counted on its own."""
    size: PositiveDuration = 10 * _MINUTE
    """A window that decides: a multiple of `pane`."""
    lateness: Duration = 30 * _SECOND
    """How far behind the watermark an event is still counted."""
    idle: Duration = _MINUTE
    """How long a model may be silent on a partition before its clock goes on without it."""

    @field_validator("size")
    @classmethod
    def _whole_panes(cls, size: int, info: ValidationInfo) -> int:
        pane = info.data.get("pane", size)
        if size % pane or size // pane > MAX_PANES:
            message = f"a multiple of pane ({pane} ms), up to {MAX_PANES} of them"
            raise ValueError(message)
        return size


class Labels(Strict):
    """When the truth is waited for, in milliseconds."""

    maturity: Duration = _DAY
    """So long after its end a window's performance is evaluated, with the labels that came until then."""
    horizon: PositiveDuration = 7 * _DAY
    """So long after its prediction a label still counts, and so long both are remembered."""
    sample: float = Field(default=1.0, gt=0, le=1)
    """The share of predictions, by the hash of their id, that wait for a label. Fixed as long as there is state."""
    memory: ByteSize = Field(default=ByteSize(2_000_000_000), ge=1_000_000)
    """What the remembered predictions may take in all partitions together; beyond it new ones are not remembered, and counted."""

    @field_validator("horizon")
    @classmethod
    def _after_maturity(cls, horizon: int, info: ValidationInfo) -> int:
        maturity = info.data.get("maturity", 0)
        if horizon < maturity:
            message = f"at least maturity ({maturity} ms)"
            raise ValueError(message)
        return horizon


class Confirmation(NamedTuple):
    """`needed` of the last `among` disjoint windows must agree before an alert opens."""

    needed: int
    among: int


class Alerts(Strict):
    """How sure an alert has to be, and how often it may come."""

    false_alarms: str = "1 per 30d"
    """The false alarms that the owner puts up with, for everything watched together."""
    confirm: str = "2 of 3"
    """How many of the last disjoint windows must agree."""
    scales: Literal["auto", "off"] = "auto"
    """Whether drift is also tested over the last 2, 4, ..., 32 windows, where the reference shows that the budget then holds."""
    cooldown: Duration = _HOUR
    """How long a resolved alert does not open again, in milliseconds."""

    @field_validator("false_alarms")
    @classmethod
    def _budget(cls, text: str) -> str:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) per ([0-9]{1,9})(?:s|m|h|d)", text)
        if match is None or float(match[1]) <= 0 or int(match[2]) == 0:
            message = 'a rate above zero like "1 per 30d" or "0.5 per 12h"'
            raise ValueError(message)
        return text

    @field_validator("confirm")
    @classmethod
    def _some_of_several(cls, text: str) -> str:
        match = re.fullmatch(r"([0-9]{1,2}) of ([0-9]{1,2})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 10:  # noqa: PLR2004  # in the message
            message = '"K of M" with 1 <= K <= M <= 10, like "2 of 3"'
            raise ValueError(message)
        return text

    @property
    def confirmation(self) -> Confirmation:
        """`confirm` as numbers."""
        needed, among = self.confirm.split(" of ")
        return Confirmation(int(needed), int(among))


class Retrain(Strict):
    """When a new version is asked for."""

    on: Annotated[tuple[Literal["drift", "performance", "sequential"], ...], AfterValidator(not_empty)] = (
        "drift",
        "performance",
        "sequential",
    )
    """Alerts of these families cause a request."""
    min_labels: int = Field(default=5000, ge=0)
    """Labelled predictions that the training range must hold."""
    cooldown: Duration = _DAY
    """The least time between two requests, in milliseconds."""
    max_per_day: int = Field(default=2, ge=1, le=1000)
    """Requests in 24 hours of event time, at most."""
    approval: Literal["required", "none"] = "required"
    """Whether a person has to approve a proposal before it becomes a request."""
    expires: PositiveDuration = 6 * _HOUR
    """After this nobody should act on the request any more, in milliseconds."""


class ModelConfig(Strict):
    """One model: only `task` and `reference` (and the positive class of a binary one) are needed."""

    task: Task
    """What kind of answer it gives."""
    positive_class: Annotated[str | None, BeforeValidator(_class_text)] = None
    """The class that counts as positive; needed for a binary task, and only there."""
    reference: FilePath
    """Made by `driftline reference build`."""
    references: dict[Annotated[str, StringConstraints(min_length=1)], FilePath] = Field(default_factory=dict)
    """References of versions that have one of their own, by version."""
    tier: Literal["low", "normal", "high"] = "normal"
    """Business impact: shifts the severity of alerts."""
    windows: Windows = Windows()
    """How event time is cut."""
    labels: Labels = Labels()
    """When the truth is waited for."""
    segments: tuple[Segment, ...] = ()
    """Groups watched beside all traffic, like `[country, [country, channel]]`: names in `segments` or `features` of events."""
    segment_values: int = Field(default=50, ge=1, le=1000)
    """So many values of each are followed; all others count as `other`."""
    follow: dict[SegmentName, tuple[Annotated[str, BeforeValidator(_class_text)], ...]] = Field(default_factory=dict)
    """The values of a name that are followed, where neither the reference nor the order of their coming should decide."""
    monitors: tuple[Monitor, ...] | None = None
    """What is watched; if absent, everything that the reference and the labels allow."""
    alerts: Alerts = Alerts()
    """How sure an alert has to be."""
    retrain: Retrain | None = None
    """When a new version is asked for; if absent, never."""

    @field_validator("positive_class")
    @classmethod
    def _binary_only(cls, name: str | None, info: ValidationInfo) -> str | None:
        task = info.data.get("task")
        if task == "binary" and not name:
            message = "the name of the class that counts as positive, since task is binary"
            raise ValueError(message)
        if task in {"multiclass", "regression"} and name is not None:
            message = f"nothing, since task is {task}"
            raise ValueError(message)
        return name

    @field_validator("monitors")
    @classmethod
    def _fit_the_task(cls, monitors: tuple[Monitor, ...] | None, info: ValidationInfo) -> tuple[Monitor, ...] | None:
        if monitors is not None and "task" in info.data:
            check_monitors(monitors, info.data["task"])
        return monitors

    @field_validator("segments")
    @classmethod
    def _different_names(cls, segments: tuple[str | tuple[str, ...], ...]) -> tuple[str | tuple[str, ...], ...]:
        named = [(one,) if isinstance(one, str) else one for one in segments]
        odd = any(not 1 <= len(one) <= MAX_COMBINED or len(set(one)) < len(one) for one in named)
        if odd or len(set(map(frozenset, named))) < len(named) or len(named) > MAX_SEGMENTS:
            message = f"up to {MAX_SEGMENTS} different names or lists of 1 to {MAX_COMBINED} different names"
            raise ValueError(message)
        return segments

    @field_validator("follow")
    @classmethod
    def _of_segments(cls, follow: dict[str, tuple[str, ...]], info: ValidationInfo) -> dict[str, tuple[str, ...]]:
        segments = info.data.get("segments")
        if segments is None:
            return follow  # refused already
        known = {name for one in segments for name in ((one,) if isinstance(one, str) else one)}
        if not follow.keys() <= known or any(not values for values in follow.values()):
            message = f"lists of values for names in segments ({', '.join(sorted(known)) or 'there are none'})"
            raise ValueError(message)
        return follow

    @property
    def segment_definitions(self) -> tuple[tuple[str, ...], ...]:
        """`segments`, each as the names that it combines."""
        return tuple((one,) if isinstance(one, str) else one for one in self.segments)

    @property
    def watched(self) -> tuple[Monitor, ...]:
        """`monitors`, or what is watched by default."""
        return default_monitors(self.task) if self.monitors is None else self.monitors

    @property
    def drift(self) -> frozenset[DriftSubject]:
        """What is compared with the reference: features, prediction, score."""
        return frozenset(subject for monitor in self.watched for subject in monitor.drift or ())

    @property
    def quality(self) -> bool:
        """Whether the features' values are checked."""
        return any(monitor.quality for monitor in self.watched)

    @property
    def performance(self) -> tuple[PerformanceMetric, ...]:
        """The metrics of labelled predictions, each once, in the order given."""
        return tuple(dict.fromkeys(metric for monitor in self.watched for metric in monitor.performance or ()))

    @property
    def sequential(self) -> bool:
        """Whether the error rate is watched from outcome to outcome."""
        return any(monitor.sequential for monitor in self.watched)

    @property
    def proxy(self) -> tuple[ProxySubject, ...]:
        """What is watched until the labels are in, each once, in the order given."""
        return tuple(dict.fromkeys(subject for monitor in self.watched for subject in monitor.proxy or ()))

    @property
    def service(self) -> tuple[ServiceSubject, ...]:
        """What is watched of the stream of predictions, each once, in the order given."""
        return tuple(dict.fromkeys(subject for monitor in self.watched for subject in monitor.service or ()))

    @property
    def label_monitors(self) -> tuple[LabelSubject, ...]:
        """What is watched of the stream of labels, each once, in the order given."""
        return tuple(dict.fromkeys(subject for monitor in self.watched for subject in monitor.labels or ()))

    def reference_for(self, version: str) -> Path:
        """Return the reference of `version`: its own, or else the model's (R8)."""
        return self.references.get(version, self.reference)


class FeatureSetConfig(Strict):
    """One feature set: like a model without predictions."""

    reference: FilePath
    """Made by `driftline reference build`."""
    windows: Windows = Windows()
    """How event time is cut."""
    alerts: Alerts = Alerts()
    """How sure an alert has to be."""


class Config(Strict):
    """All of `monitor.yaml`."""

    group: Name = "driftline"
    """Kafka's consumer group, and the name of this deployment in Redis and in events."""
    kafka: KafkaSettings = Field(default={"bootstrap.servers": "localhost:9092"}, repr=False)
    """Settings for librdkafka, passed through; needs bootstrap.servers."""
    redis: RedisConfig = RedisConfig()
    """Where the state is."""
    topics: Topics = Topics()
    """Names of the topics."""
    http: HttpConfig = HttpConfig()
    """Where the worker serves its metrics and its health."""
    future: PositiveDuration = 5 * _MINUTE
    """An event further than this ahead of its record's time stamp is not counted (R13), in milliseconds."""
    commit_interval: PositiveDuration = _SECOND
    """How often state is committed, in milliseconds."""
    dead_letters: DeadLetters = DeadLetters()
    """What is kept of records that cannot be read."""
    route: RouteConfig | None = None
    """Where `driftline route` delivers alerts and retrain requests."""
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    """The models that are watched, by name."""
    feature_sets: dict[Name, FeatureSetConfig] = Field(default_factory=dict)
    """The feature sets that are watched, by name."""

    @model_validator(mode="after")
    def _something_to_watch(self) -> Self:
        if not self.models and not self.feature_sets:
            message = "at least one model under `models` or one feature set under `feature_sets`"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        # Their evaluators' state, events and metrics go by the name alone.
        if shared := sorted(self.models.keys() & self.feature_sets.keys()):
            message = f"names under `feature_sets` that no model has; both have {', '.join(shared)}"
            raise ValueError(message)
        return self


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check `path`; `environment` (default: the process's own) fills in ${NAME}.

    Paths in it are resolved against the file's folder. That a reference exists is not checked here.

    Raises:
        ConfigError: the file cannot be read, or says something that is not allowed; the text has one sentence, on a
            line of its own, for each problem: file, line, dotted path, what was found, what is allowed. Values of
            secrets, and of all that came from the environment, are masked.
    """
    path = Path(path)
    document: Document = read(path, os.environ if environment is None else environment)
    try:
        return Config.model_validate(document.data, context={"folder": path.parent})
    except ValidationError as error:
        problems = sentences(error, Config, document)
    # Raised outside of the handler: a chained pydantic error would be printed with values that are masked here.
    raise ConfigError("\n".join(problems), f"Correct {path} and try again")


def decision_hash(config: ModelConfig | FeatureSetConfig) -> str:
    """Return the hash of all that decides about alerts and requests (R8): 32 hexadecimal digits.

    Defaults count as if they were written out. Not in it: the paths of references (what is in them has hashes of its
    own), and the pane (it is part of the shape).
    """
    said = config.model_dump(mode="json", exclude={"reference": True, "references": True, "windows": {"pane"}})
    if isinstance(config, ModelConfig):
        said["monitors"] = [
            sorted(config.drift),
            config.quality,
            sorted(config.performance),
            config.sequential,
            sorted(config.proxy),
            sorted(config.service),
            sorted(config.label_monitors),
        ]
    return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
