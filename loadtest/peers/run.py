"""Answers the questions in a folder. Run with the Python of ``make peers``: ``python -m loadtest.peers.run FOLDER``.

``FOLDER/questions.json`` is a list of questions: tool, what ("alarms" or "speed"), names of two files of columns (.npz,
``reference`` and ``current``), rows of a window, categorical columns, rounds. ``FOLDER/answers.json`` gets one answer to each: the
alarms as lists of column numbers by window, or the costs of each round; or an ``error``. Also the versions of the tools.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.peers import tools

NAMES = ("evidently", "nannyml", "whylogs")


def main(folder: Path) -> int:
    """Answer every question; returns the exit status."""
    warnings.simplefilter("ignore")  # of the tools about their own libraries

    @lru_cache(maxsize=4)  # a gigabyte otherwise
    def frame(file: str, categorical: tuple[str, ...]) -> Any:  # noqa: ANN401  # pandas has no types here
        with np.load(folder / file, allow_pickle=False) as found:
            return tools.frame({name: found[name] for name in found.files}, list(categorical))

    answers = []
    for question in json.loads((folder / "questions.json").read_text()):
        categorical = tuple(question["categorical"])
        begin = time.process_time()
        try:
            answer = _answer(
                question, frame(question["reference"], categorical), frame(question["current"], categorical)
            )
        except Exception as error:  # noqa: BLE001  # whatever a tool does, the others are asked
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.append(answer | {"cpu_s": time.process_time() - begin})
        sys.stderr.write(f"{question['tool']}: {answers[-1]['cpu_s']:.1f} s\n")
    (folder / "answers.json").write_text(json.dumps({"versions": versions(), "answers": answers}))
    return 0


def _answer(question: dict[str, Any], reference: Any, current: Any) -> dict[str, Any]:  # noqa: ANN401  # as frame
    tool, rows, categorical = question["tool"], question["rows"], question["categorical"]
    if question["what"] == "speed":
        tools.speeds(tool, reference, current, rows, categorical)  # imports and caches are not the work
        return {
            "rounds": [tools.speeds(tool, reference, current, rows, categorical) for _ in range(question["rounds"])]
        }
    found = tools.ALARMS[tool](reference, current, rows, categorical)
    return {"alarms": [np.flatnonzero(row).tolist() for row in found]}


def versions() -> dict[str, str]:
    """Return the versions of the tools that are installed."""
    found = {}
    for name in NAMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
