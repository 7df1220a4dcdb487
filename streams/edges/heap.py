"""Give memory that was freed back to the system.

glibc keeps what was freed below the top of an arena for as long as the process lives, and librdkafka has a thread, hence an arena,
for each broker it talks to: what a backlog needed after a broker was away stays resident, once for each such thread. What it comes
to is the memory figure of the soak (``python -m tests.faults --cells soak --soak 3600``).
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""As malloc.h numbers them."""
_LARGE: Final = 256 << 10
"""Bytes: below what a fetch of librdkafka may bring (1 MB) and the values of a full batch (10,000 records of 8 bytes a feature)."""
_C = None
with contextlib.suppress(OSError):  # an interpreter that cannot load libraries works without this
    _C = ctypes.CDLL(None)


def keep_little() -> None:
    """Have the C library keep little of what is freed (mallopt(3)); nothing without glibc. To be called before there are threads.

    Two arenas: Python's threads take turns anyway, and those of librdkafka share the second. Large blocks are mapped one by one, and
    go back as soon as they are freed. Left alone, glibc raises that limit to the largest block that was ever freed (32 MB at
    most): what a backlog needs then lies between the small blocks that live on, and leaves holes there. With the limit fixed glibc
    does not adjust the one for the top of the heap either, which would be given back and asked for again with every 128 KiB.
    """
    if _C is not None and hasattr(_C, "mallopt"):
        _C.mallopt(_M_ARENA_MAX, 2)
        _C.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        _C.mallopt(_M_TRIM_THRESHOLD, 16 * _LARGE)


def trim() -> None:
    """Return whole free pages of all arenas (malloc_trim(3)), in some milliseconds for 100 MB; nothing where the C library cannot."""
    if _C is not None and hasattr(_C, "malloc_trim"):
        _C.malloc_trim(ctypes.c_size_t(0))
