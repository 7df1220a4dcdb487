"""Functions are compiled once for all processes, and each finds the code for its own types."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
from detectors.compiled import compiled

@compiled
def twice(x):
    return x + x
"""
# Between the choice of a file and its being written lie two seconds, and both processes are in it at once.
SLOW = """
import sys, time
from numba.core.caching import IndexDataCacheFile
from twice import twice
save = IndexDataCacheFile._save_index
def save_late(self, overloads):
    time.sleep(2.0)
    save(self, overloads)
IndexDataCacheFile._save_index = save_late
print(twice(eval(sys.argv[1])))
"""
BOTH = "from twice import twice; print(twice(3), twice(1.5), len(twice.stats.cache_hits))"


def test_two_processes_that_compile_for_different_types_at_once_leave_the_right_code_for_both(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(MODULE)

    def started(code: str, *given: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}", *given]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    together = [(started(SLOW, "3"), "6"), (started(SLOW, "1.5"), "3.0")]
    for process, said in together:
        with process:
            assert process.stdout is not None
            assert process.stdout.read().strip() == said
    with started(BOTH) as process:
        assert process.stdout is not None
        assert process.stdout.read().split() == ["6", "3.0", "2"]
    assert len(list(tmp_path.rglob("*.nbc"))) == 2
