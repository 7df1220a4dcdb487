"""Commands on `driftline.control` (DESIGN §3, R9): key = model, JSON, told apart by the field `command`.

They answer a retrain request: a person approves it, a pipeline says what became of it.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

_Text = Annotated[str, Meta(min_length=1)]


class _Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command"):
    """What every command carries."""

    model: Annotated[_Text, Meta(description="The model that the request was about. Record key.")]
    request: Annotated[_Text, Meta(description="The idempotency key of the retrain request.")]
    by: Annotated[str | None, Meta(description="Who gave the command.")] = None
    note: Annotated[str | None, Meta(description="Free text for the audit trail.")] = None


class Approve(_Command, frozen=True, kw_only=True, tag="approve"):
    """A person allows the proposed retraining."""


class RetrainStarted(_Command, frozen=True, kw_only=True, tag="retrain_started"):
    """A pipeline has taken up the request."""


class RetrainSucceeded(_Command, frozen=True, kw_only=True, tag="retrain_succeeded"):
    """A pipeline has made a new version."""

    model_version: Annotated[_Text, Meta(description="The version that was trained.")]


class RetrainFailed(_Command, frozen=True, kw_only=True, tag="retrain_failed"):
    """A pipeline could not make a new version."""

    reason: Annotated[str, Meta(description="What went wrong, in one sentence.")]


Command = Approve | RetrainStarted | RetrainSucceeded | RetrainFailed
"""Every command of this version; `msgspec.json.Decoder(Command)` decodes them, unknown ones raise."""
