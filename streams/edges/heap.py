"""Give memory that was freed back to the system.

glibc keeps what was freed below the top of an arena for as long as the process lives, and librdkafka has a thread, hence an arena, for
each broker it talks to: what a backlog needed after a broker was away stays resident, once for each such thread. Measured by
``python -m tests.faults --cells soak --soak 3600``: the memory that it says grew with every broker that came back.
"""

from __future__ import annotations

import ctypes

_C = ctypes.CDLL(None)


def trim() -> None:
    """Return whole free pages of all arenas (malloc_trim(3)): a few milliseconds. Where the C library has no such call, nothing."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
