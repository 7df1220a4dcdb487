"""Asks the other tools, which live in an environment of their own, from driftline's."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = _REPOSITORY / ".cache" / "peers" / "bin" / "python"
"""Made by ``make peers``."""
NOT_RUN = "not run: needs `make peers`"
LONGEST_S = 1800.0
"""The most that all questions of one call may take; they take a few minutes."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: ``what`` is "alarms" (flags by window) or "speed". ``reference`` and ``current`` name sets of columns.

    ``rows`` is the length of a window, ``rounds`` how often a speed is measured.
    """

    tool: str
    what: str
    reference: str
    current: str
    rows: int
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """``alarms`` are the numbers of the flagged columns by window, ``rounds`` the costs by round; ``error`` when it failed."""

    alarms: tuple[tuple[int, ...], ...] = ()
    rounds: tuple[dict[str, float], ...] = ()
    cpu_s: float = 0.0
    error: str = ""


def available() -> bool:
    """Whether the environment of the tools was made."""
    return (PYTHON.parents[1] / ".installed").exists()


def ask(
    questions: Sequence[Question], data: Mapping[str, Mapping[str, NDArray[Any]]], categorical: Sequence[str]
) -> tuple[dict[str, str], list[Answer]]:
    """Return the versions of the tools and an answer to each question; ``data`` are the sets of columns by name.

    Raises:
        RuntimeError: the program of the tools ended badly, or not in time; the text is the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="driftline-peers-") as name:
        folder = Path(name)
        for file, columns in data.items():
            np.savez(folder / f"{file}.npz", allow_pickle=False, **columns)
        asked = [
            asdict(q)
            | {
                "reference": f"{q.reference}.npz",
                "current": f"{q.current}.npz",
                "categorical": [c for c in categorical if c in data[q.reference]],
            }
            for q in questions
        ]
        (folder / "questions.json").write_text(json.dumps(asked))
        _run(folder)
        said = json.loads((folder / "answers.json").read_text())
    answers = [
        Answer(tuple(map(tuple, a.get("alarms", ()))), tuple(a.get("rounds", ())), a["cpu_s"], a.get("error", ""))
        for a in said["answers"]
    ]
    return said["versions"], answers


def _run(folder: Path) -> None:
    log = folder / "log"
    try:
        with log.open("wb") as out:
            done = subprocess.run(  # noqa: S603  # our own program, our own arguments
                [PYTHON, "-m", "loadtest.peers.run", folder],
                cwd=_REPOSITORY,
                stdout=out,
                stderr=out,
                check=False,
                timeout=LONGEST_S,
                env=os.environ | {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": ""},
            )
    except subprocess.TimeoutExpired as error:
        message = f"the tools did not answer in {LONGEST_S:.0f} s"
        raise RuntimeError(message) from error
    if done.returncode:
        message = (
            f"the program of the tools ended with status {done.returncode}:\n{log.read_text(errors='replace')[-2000:]}"
        )
        raise RuntimeError(message)
