"""The demo as a person meets it: a process that tells a story, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 300
"""Several times what it takes: kernels may have to be compiled first, and other tests may keep the machine busy."""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "streams.cli.main", "demo"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)


def strays(folder: Path) -> list[str]:
    """The processes that were told to keep their files in the folder."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:  # it ended just now, or is none of ours
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


def test_the_story_comes_out_right_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(tmp_path)
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out + errors
    assert errors == ""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["other people apply (hyears, loan)"][0] == "00:40"
    assert {n.strip() for n in by_name["other people apply (hyears, loan)"][3].split(",")} <= {"hyears", "loan"}
    assert by_name["the rule itself changes"][0] == "01:20"
    kinds = [row[1] for row in rows if len(row) == 4]
    assert {"alert.opened", "alert.resolved", "retrain.requested"} <= set(kinds)
    assert [row[2] for row in rows if row[1:2] == ["= received"]] == [
        "33,175 of 33,175 sent",
        "32,047 of 32,047 sent",
    ]
    assert "\nWRONG" not in out
    assert out.rstrip().endswith("The story came out right.")
    assert list(tmp_path.iterdir()) == []
    assert strays(tmp_path) == []


def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(tmp_path)
        assert process.stdout is not None
        # Everything runs by then: Kafka, Redis and the worker.
        assert any("business as usual" in line for line in process.stdout)
        assert strays(tmp_path) != []
        process.send_signal(number)
        out, errors = process.communicate(timeout=PATIENCE_S)
        # A shell sees 130 for both: when the interrupt arrives inside river's `eval`, Python ends itself by SIGINT at the end.
        assert process.returncode in {130, -signal.SIGINT}, out + errors
        assert errors == ""
        assert list(tmp_path.iterdir()) == []
        assert strays(tmp_path) == []
