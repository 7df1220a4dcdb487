"""Names that several parts must agree on: streams, event ids, hash tags of Redis Cluster, default topics.

Ids are deterministic (P3): a 128-bit BLAKE2b hash of what makes an event this event. By the birthday bound, two of
10^12 ids coincide with a probability below 2e-15.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_BYTES: Final = 16
"""128 bits: the width of a UUID, and short enough to read out to a colleague."""

PREDICTIONS: Final = "predictions"
FEATURES: Final = "features"
LABELS: Final = "labels"
CONTROL: Final = "driftline.control"
ALERTS: Final = "driftline.alerts"
RETRAIN: Final = "driftline.retrain"
DEAD_LETTERS: Final = "driftline.dead-letters"
JOURNAL: Final = "driftline.journal"

Transition = Literal["opened", "escalated", "resolved"]
"""What happens to an alert."""


class StreamKey(NamedTuple):
    """What statistics are kept apart by: one version of one model in one part (DESIGN §3), all of its traffic or a segment."""

    model: str
    version: str
    variant: str
    segment: str = ""
    """Canonical text (`segment_text`); empty for all traffic."""


def segment_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Return the canonical text of a segment: "country=de", or "country=de,channel=web" for a combination.

    A backslash stands before each backslash, comma and equals sign of a name or value, so that no two segments share a text.
    """
    return ",".join(f"{_escaped(n)}={_escaped(v)}" for n, v in zip(names, values, strict=True))


def segment_values(text: str) -> dict[str, str]:
    """Return what `segment_text` was made of, by name; empty for all traffic."""
    parts = [""]
    found: list[str] = []
    characters = iter(text)
    for c in characters:
        if c == "\\":
            parts[-1] += next(characters, "")
        elif c == "=":
            parts.append("")
        elif c == ",":
            found += parts
            parts = [""]
        else:
            parts[-1] += c
    found += parts
    return dict(zip(found[::2], found[1::2], strict=False))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def event_id(*parts: str | int) -> str:
    """Return the id of the event that `parts` describe: 32 hexadecimal digits.

    Every part is preceded by its type and its length in bytes, so no two lists of parts give the same bytes:
    ("ab", "c") and ("a", "bc") differ, and so do 1 and "1".
    """
    digest = blake2b(digest_size=ID_BYTES)
    for part in parts:
        # Lone surrogates cannot come out of JSON, but an id must exist for whatever string there is.
        kind, data = ("s", part.encode("utf-8", "surrogatepass")) if isinstance(part, str) else ("i", b"%d" % part)
        digest.update(f"{kind}{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()


def alert_id(
    stream: StreamKey,
    *,
    kind: str,
    subject: str,
    window_end_ms: int,
    epoch: str | int,
    revision: int = 1,
) -> str:
    """Return the id that an alert keeps over its life: made of the window that opened it.

    Args:
        stream: the model, version, variant and segment that it is about.
        kind: the family of the monitor.
        subject: the feature or metric.
        window_end_ms: end of the window that opened it, event time.
        epoch: the decision epoch (R8), so that other thresholds make other alerts.
        revision: which evaluation of that window (R4).
    """
    return event_id("alert", *stream, kind, subject, window_end_ms, revision, epoch)


def transition_id(alert: str, transition: Transition, *, window_end_ms: int, revision: int = 1) -> str:
    """Return the CloudEvents id of one event in the life of `alert`, caused by the window that ends there."""
    return event_id("transition", alert, transition, window_end_ms, revision)


def task_tag(group: str, partition: int) -> str:
    """Return the hash tag, braces included, that all Redis keys of task `partition` of `group` share.

    `group` is whatever tells two sets of tasks in one Redis apart, for example "driftline.predictions".

    Raises:
        ValueError: `group` contains a brace, which would end the tag early and spread the keys over slots.
    """
    return _tag(f"task:{group}:{partition}")


def model_tag(group: str, model: str) -> str:
    """Return the hash tag, braces included, that all Redis keys of the evaluator of `model` share in a deployment.

    Raises:
        ValueError: `group` or `model` contains a brace.
    """
    return _tag(f"model:{group}:{model}")


def _tag(text: str) -> str:
    if "{" in text or "}" in text:
        message = f"a hash tag cannot contain braces: {text!r}"
        raise ValueError(message)
    return f"{{{text}}}"
