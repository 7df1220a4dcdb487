"""A worker that says at its end what its commits cost: ``python -m tests.faults.commit_cost run --config ...``.

CPU of the thread that commits, which other programs on the machine cannot blow up as they do the wall clock, and the wall clock
beside it, in which Redis' own work is too: staging, packing, the script, and reading the answer, of tasks and of evaluators. It
writes one line of JSON with ``MARK`` before it.
"""

from __future__ import annotations

import json
import os
import sys
import time

from streams.cli.main import main
from streams.engine.shard import Shard

MARK = "commits cost"
"""What stands before the figures in the log."""


def measure() -> None:
    """Patch the commit, run the command line, tell."""
    original, spent, wall = Shard.commit, list[float](), list[float]()
    marks: list[tuple[float, float]] = []

    def commit(self: Shard, *args: object) -> None:
        if not marks:
            marks.append((time.process_time(), time.monotonic()))
        begin, at = time.thread_time(), time.monotonic()
        try:
            original(self, *args)  # type: ignore[arg-type]  # whatever it takes
        finally:
            spent.append(time.thread_time() - begin)
            wall.append(time.monotonic() - at)
            marks[1:] = [(time.process_time(), time.monotonic())]

    Shard.commit = commit  # type: ignore[method-assign,assignment]  # the product has no hooks
    try:
        main(sys.argv[1:])
    finally:
        (cpu, at), (last_cpu, last_at) = (marks[0], marks[-1]) if marks else ((0.0, 0.0), (0.0, 0.0))
        told = {"commits": len(spent), "cpu_s": sum(spent), "wall_s": sum(wall)}
        told |= {"whole_cpu_s": last_cpu - cpu, "whole_wall_s": last_at - at}  # nothing is done after the last one
        os.write(2, f"{MARK} {json.dumps(told)}\n".encode())


if __name__ == "__main__":
    measure()
