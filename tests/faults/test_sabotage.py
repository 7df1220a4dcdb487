"""The sabotage is what it says: every removal still finds what it removes, and every one has a cell that must see it.

That it is seen is what the cells ``sabotage.*`` prove; the cheapest are in the short tier (``test_short.py``).
"""

import subprocess
import sys

from tests.faults.cells_sabotage import CELLS, TWINS
from tests.faults.sabotage import REMOVALS
from tests.faults.sabotage_faults import FAULTS


def test_every_protection_that_can_be_taken_away_has_a_twin_and_a_control() -> None:
    assert sorted(twin.name for twin in TWINS) == sorted(REMOVALS)
    names = [cell.name for cell in CELLS if not cell.name.startswith("verifier.")]
    assert sorted(names) == sorted(f"{kind}.{name}" for kind in ("protected", "sabotage") for name in REMOVALS)


def test_every_fault_calls_for_some_protection() -> None:
    of_the_other = {"sleeps-after-claims"}
    assert {twin.fault for twin in TWINS} - {""} | of_the_other == FAULTS.keys()


def test_only_the_twins_must_fail_and_the_short_tier_has_some() -> None:
    assert all(bool(cell.caught) == cell.name.startswith("sabotage.") for cell in CELLS)
    assert sum(cell.short for cell in CELLS) >= 2


EACH = """
import os, sys
import streams.worker
from tests.faults.sabotage import REMOVALS
from tests.faults.sabotage_faults import FAULTS
missing = []
for name, patch in (REMOVALS | FAULTS).items():
    if (child := os.fork()) == 0:
        try:
            patch()
        except BaseException as error:
            sys.stderr.write(f"{name}: {error!r}\\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    missing += [name] if os.waitpid(child, 0)[1] else []
sys.exit(", ".join(missing) or 0)
"""
"""Each patch in a process of its own, all of them children of one that has imported the product."""


def test_every_patch_still_finds_what_it_patches() -> None:
    done = subprocess.run([sys.executable, "-c", EACH], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
