"""One thing that ``driftline check`` looked at, and the exit status of all of them."""

from __future__ import annotations

from typing import Literal

import msgspec

NO, WRONG = 1, 2
"""Exit status of a finding: the answer is no; the question was wrong (configuration, connection, permission)."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``exit_status`` is 0 unless it failed."""

    subject: str
    state: Literal["ok", "failed", "not checked"]
    detail: str = ""
    remedy: str = ""
    exit_status: int = 0


def exit_status(findings: list[Finding]) -> int:
    """The exit status of all findings together: a question that was wrong outweighs an answer that is no."""
    return max((f.exit_status for f in findings), default=0)
