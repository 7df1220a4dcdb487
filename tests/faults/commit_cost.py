"""A worker that says at its end what its commits cost: ``python -m tests.faults.commit_cost run --config ...``.

CPU of the thread that commits, which other programs on the machine cannot blow up as they do the wall clock: staging, packing,
the client's side of the script, and reading the answer. It writes one line of JSON with ``MARK`` before it.
"""

from __future__ import annotations

import json
import os
import sys
import time

from streams.cli.main import main
from streams.hosting.commits import Commits

MARK = "commits cost"
"""What stands before the figures in the log."""


def measure() -> None:
    """Patch the commit, run the command line, tell."""
    original, spent, wall, first = Commits.commit, [], [], list[float]()

    def commit(self: Commits, *args: object) -> None:
        first.append(time.process_time())
        begin, at = time.thread_time(), time.monotonic()
        try:
            original(self, *args)  # type: ignore[arg-type]  # whatever it takes
        finally:
            spent.append(time.thread_time() - begin)
            wall.append(time.monotonic() - at)

    Commits.commit = commit  # type: ignore[method-assign,assignment]  # the product has no hooks
    try:
        main(sys.argv[1:])
    finally:
        whole = time.process_time() - (first[0] if first else 0.0)
        told = {"commits": len(spent), "cpu_s": sum(spent), "wall_s": sum(wall), "whole_cpu_s": whole}
        os.write(2, f"{MARK} {json.dumps(told)}\n".encode())


if __name__ == "__main__":
    measure()
