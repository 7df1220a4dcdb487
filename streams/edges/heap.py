"""Give memory that was freed back to the system.

glibc keeps what was freed below the top of an arena for as long as the process lives, and librdkafka has a thread, hence an arena,
for each broker it talks to: what a backlog needed after a broker was away stays resident, once for each such thread. What it comes
to is the memory figure of the soak (``python -m tests.faults --cells soak --soak 3600``).
"""

from __future__ import annotations

import contextlib
import ctypes

_C = None
with contextlib.suppress(OSError):  # an interpreter that cannot load libraries works without this
    _C = ctypes.CDLL(None)


def trim() -> None:
    """Return whole free pages of all arenas (malloc_trim(3)), in some milliseconds for 100 MB; nothing where the C library cannot."""
    if _C is not None and hasattr(_C, "malloc_trim"):
        _C.malloc_trim(ctypes.c_size_t(0))
