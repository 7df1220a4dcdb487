"""``python -m tests.sim.find [NAME...]``: seeds that fail without a protection, as lines for ``kept_seeds.txt``.

Whenever the machines or the world change, the histories of the seeds do, too: those that are kept must be found again.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from schemas.errors import StateError
from tests.sim import engine, protocol, sabotage
from tests.sim.world import RestlessError

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN = 3_000
"""Seeds that are tried."""
WANTED = 2
"""Seeds of each protection that are kept."""
OF_THE_ENGINE = (
    sabotage.claim_epochs_ignored,
    sabotage.journal_not_awaited,
    sabotage.journal_not_read,
    sabotage.memory_kept_blindly,
    sabotage.assign_not_repeated,
)
"""The protections without which the whole engine is played, too."""


def goes_wrong(run: Callable[[int], object], seed: int) -> bool:
    """Whether a wrong outcome comes of it, or state that is refused. Any other error is a broken sabotage, and raised."""
    try:
        run(seed)
    except (AssertionError, StateError):
        return True
    except RestlessError:  # time that was not enough has seen nothing
        return False
    return False


def main(names: list[str]) -> None:
    """Find them."""
    for taken_out, hazards in sabotage.ALL.items():
        name = taken_out.__name__
        if names and name not in names:
            continue
        runs: dict[str, Callable[[int], object]] = {"protocol": lambda s, h=hazards: protocol.run(s, **h)}  # type: ignore[misc]
        if taken_out in OF_THE_ENGINE:
            runs["engine"] = engine.run
        for kind, run in runs.items():
            with taken_out():
                for seed in islice((s for s in range(WITHIN) if goes_wrong(run, s)), WANTED):
                    sys.stdout.write(f"{kind}, {seed}, {name}\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
