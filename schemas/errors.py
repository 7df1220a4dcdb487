"""Everything that can go wrong, as one tree, and the two closed vocabularies of what became of a record.

An exception here means that a decision about a task or about the process is due. What is wrong with a *record* is a
value (`DeadLetterReason`, `Outcome`): a bad record is counted and passed, it never raises past the decoder.

::

    DriftlineError                 base: one sentence of what happened, one of what to do; exit status 2
    ├── ConfigError                monitor.yaml, a reference file or a command-line value is not usable
    ├── ConnectionProblem          Kafka or Redis cannot be reached
    ├── TopicMissing               a topic that driftline reads or writes does not exist
    ├── PermissionMissing          the broker or Redis refuses what driftline has to do
    ├── ReferenceMismatch          a reference does not belong to this model, or is not the one that was published
    │   └── ReferenceNewer         written by a newer driftline
    ├── PartitionCountChanged      a topic has another number of partitions than the state was made for (R10)
    ├── NotCoPartitioned           predictions and labels do not put one id on one partition number
    └── TaskError                  one task cannot go on as it is; the worker can
        ├── OwnershipLost          somebody else owns the task now: drop everything unsaved and rejoin (P4)
        ├── CommitConflict         the commit sequence moved underneath us: load the state again
        ├── StoreRestarted         Redis was restarted and may have gone back: claim every task again
        ├── RetryLater             an answer did not come in time: nothing is known to be wrong, try again
        └── StateError             the saved state cannot be used; never a silent fresh start (P5)
            ├── StateMissing       it was there and is gone
            ├── StateCorrupt       magic, length or checksum is wrong
            ├── StateNewer         written by a newer driftline
            ├── StateMismatch      written for another shape (panes, bins, segments)
            ├── BehindLogStart     its offset lies before the first record that the topic still has
            └── AheadOfLogEnd      its offset lies behind the last record: the topic was recreated
"""

# ruff: noqa: N818  # the names say what is the case; "Error" stands in the base, which is what users catch

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

RESTORE: Final = (
    "restore Redis from its backup, or count everything again that the topics still hold: `driftline recover --rebuild`"
)
"""The remedy for state that cannot be used."""
PUBLISH_AGAIN: Final = (
    "publish the same file again (`driftline reference publish FILE --model M --version V`), "
    "or restore Redis from its backup"
)
"""The remedy for a published reference that cannot be used."""
OTHER_COUNT: Final = (
    "put the number of partitions back, or start a new group (`group` in monitor.yaml) that reads from the start"
)
"""The remedy for topics with another number of partitions."""
ANEW: Final = "restore the topic, or go on with what it holds now: `driftline recover --skip-to earliest`"
"""The remedy for a topic that is not the one it was."""
START_OVER: Final = "restore the topic, or start over with `driftline recover --rebuild`"
"""The remedy where state and journal cannot be lived through to the end any more."""


class DriftlineError(Exception):
    """Base of every error that driftline raises on purpose.

    `what` says what happened and where, `remedy` says what to do about it; `str(error)` is both, as
    ``"what. remedy"`` on one line unless `what` itself lists several problems. Programs exit with `exit_status`
    (2: the question was wrong, not the answer) and print `str(error)`, never a traceback.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, what: str, remedy: str) -> None:
        """Keep both halves; a full stop at the end of either is added or left out as needed."""
        self.what = what.strip().rstrip(".")
        self.remedy = remedy.strip().rstrip(".")
        # Both go to Exception, so that pickling between processes rebuilds the same error.
        super().__init__(self.what, self.remedy)

    def __str__(self) -> str:
        """Return the text for people: what happened, then what to do."""
        if not self.remedy:
            return self.what
        # A configuration with several problems lists one a line; the remedy for all of them stands on its own.
        return f"{self.what}\n{self.remedy}" if "\n" in self.what else f"{self.what}. {self.remedy}"


class ConfigError(DriftlineError):
    """The configuration, a reference file or a command-line value is not usable."""


class ConnectionProblem(DriftlineError):
    """Kafka or Redis cannot be reached with the addresses and credentials given."""


class TopicMissing(DriftlineError):
    """A topic that driftline reads or writes does not exist."""


class PermissionMissing(DriftlineError):
    """The broker or Redis refuses an operation that driftline cannot do without."""


class ReferenceMismatch(DriftlineError):
    """A reference does not belong to the model that names it, or differs from the one published for it."""


class ReferenceNewer(ReferenceMismatch):
    """A newer driftline wrote the reference."""


class PartitionCountChanged(DriftlineError):
    """A topic has a different number of partitions than the state was made for (R10)."""


class NotCoPartitioned(DriftlineError):
    """`predictions` and `labels` do not put the same key on the same partition number."""


class TaskError(DriftlineError):
    """One task cannot go on as it is; the worker around it can."""


class OwnershipLost(TaskError):
    """Another worker has claimed the task: drop everything that is not committed, change nothing, rejoin (P4)."""


class CommitConflict(TaskError):
    """The commit sequence in Redis is not the one that this task read: load the state again."""


class StoreRestarted(TaskError):
    """Redis was restarted and may have lost its last second: claim every task again, and live through what the journal says."""


class RetryLater(TaskError):
    """An answer did not come in time; whether it took effect is unknown, so try the same step again."""


class StateError(TaskError):
    """The saved state of a task cannot be used. It is never replaced by a fresh one in silence (P5)."""


class StateMissing(StateError):
    """State that this group has written before is gone."""


class StateCorrupt(StateError):
    """Saved bytes have a wrong magic, length or checksum."""


class StateNewer(StateError):
    """Saved bytes carry a format version of a newer driftline."""


class StateMismatch(StateError):
    """Saved bytes were written for another shape (panes, bins or segments)."""


class BehindLogStart(StateError):
    """The committed offset lies before the first record that the topic still holds."""


class AheadOfLogEnd(StateError):
    """The committed offset lies behind the topic's last record: the topic was recreated or truncated."""


class DeadLetterReason(StrEnum):
    """Why a record went to the dead letters: a closed set, because it is a metric label and a header value."""

    INVALID_JSON = "invalid_json"
    """Not UTF-8 JSON (RFC 8259, so NaN and Infinity are not), or not one object."""
    MISSING_FIELD = "missing_field"
    """A required field is absent."""
    WRONG_TYPE = "wrong_type"
    """A field has a type that it cannot have, or a number that no 64-bit float holds (NaN is not JSON at all)."""
    BAD_EVENT_TIME = "bad_event_time"
    """`event_time` is no time: unreadable, without an offset, or outside the years 1970 to 2200."""
    EMPTY_ID = "empty_id"
    """`prediction_id`, `entity_id`, `model` or `model_version` is the empty string."""
    TOMBSTONE = "tombstone"
    """The record has no value (null)."""
    TOO_LARGE = "too_large"
    """The value is larger than a record may be to be decoded."""
    TOO_MANY_STREAMS = "too_many_streams"
    """It would open one more (model, version, variant) than the bound allows (P6)."""


class Outcome(StrEnum):
    """What finally became of a record: exactly one each, so `received` is the sum of these (P1, R6).

    The gauge `waiting` (labels whose prediction has not come yet) is no outcome and not in here.
    """

    APPLIED = "applied"
    """Counted in every statistic it belongs to."""
    LATE = "late"
    """Behind its model's watermark by more than `lateness`: its pane was closed (R1)."""
    DUPLICATE = "duplicate"
    """A repeat of something already counted (R5)."""
    CONFLICT = "conflict"
    """A second label that differs from the one that counted (R5)."""
    ORPHAN = "orphan"
    """A label whose prediction never came within the horizon."""
    EXPIRED = "expired"
    """A label whose prediction lies further back than the horizon."""
    FILTERED = "filtered"
    """The configuration says that it is not watched."""
    SAMPLED_OUT = "sampled_out"
    """Outside the share given by `labels.sample`."""
    UNKNOWN_MODEL = "unknown_model"
    """No model or feature set of this name is configured."""
    FUTURE = "future"
    """Further ahead of its record's time stamp than `future` allows (R13)."""
    DEAD_LETTER = "dead_letter"
    """Published to the dead letters with a `DeadLetterReason`."""
