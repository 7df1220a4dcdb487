"""A worker that dies (SIGKILL) at a named point inside the commit: ``python -m tests.faults.crash POINT NTH run --config ...``.

The product has no hooks: a class is patched from outside, and then the command line runs as it is. ``POINTS`` are in the
order in which a worker passes them. It dies when it passes the point the ``NTH`` time, and says so first (``DYING``).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Literal

DYING = "dying at"
"""What stands in the log before the name of the point: proof that it was reached."""

_STORE, _PUBLISHER = "streams.edges.redis_store:RedisStore", "streams.edges.kafka_publisher:KafkaPublisher"
_SHARD, _JOURNAL = "streams.engine.shard:Shard", "streams.edges.kafka_journal:KafkaJournal"

POINTS: dict[str, tuple[str, str, Literal["before", "after", "acknowledged"]]] = {
    "claim due": (_STORE, "claim", "before"),
    "claimed, journal not told": (_STORE, "claim", "after"),
    "claim in the journal": (_JOURNAL, "claim", "after"),
    "dead letter sent": (_PUBLISHER, "dead_letter", "after"),
    "journal due": (_JOURNAL, "write", "before"),
    "journal sent": (_JOURNAL, "write", "after"),
    "journal stands, not committed": (_JOURNAL, "write", "acknowledged"),
    "commit due": (_SHARD, "commit", "before"),
    "script to be sent": (_STORE, "commit", "before"),
    "script ran, reply unseen": (_STORE, "commit", "after"),
    "committed, not published": (_SHARD, "commit", "after"),
    "about to publish": (_PUBLISHER, "publish", "before"),
    "published, not acknowledged": (_PUBLISHER, "publish", "after"),
    "acknowledged, not committed": (_PUBLISHER, "publish", "acknowledged"),
}
"""Where: a class and its method, and whether before it, after it, or when the call back that it was given is called."""


def arm(point: str, nth: int) -> None:
    """Patch the class of a point."""
    where, method, when = POINTS[point]
    module, _, name = where.partition(":")
    owner = getattr(import_module(module), name)
    original: Callable[..., Any] = getattr(owner, method)
    passed = 0

    def pass_by() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            os.write(2, f"{DYING} {point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    @wraps(original)
    def patched(*args: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever the method takes and returns
        if when == "before":
            pass_by()
        if when == "acknowledged":
            *first, done = args

            def told(*where: Any) -> None:  # noqa: ANN401  # whatever the method tells
                done(*where)
                pass_by()

            return original(*first, told, **named)
        result = original(*args, **named)
        if when == "after":
            pass_by()
        return result

    setattr(owner, method, patched)


def main() -> None:
    """Arm, then run the product's command line."""
    point, nth, *arguments = sys.argv[1:]
    arm(point, int(nth))
    from streams.cli.main import main as product  # noqa: PLC0415  # what it imports may just have been patched

    product(arguments)


if __name__ == "__main__":
    main()
