"""What was freed goes back to the system."""

from __future__ import annotations

import os
import platform
import threading
from pathlib import Path

import pytest

from streams.edges import heap

MANY, SIZE = 20_000, 2_000
"""40 MB in blocks that Python asks the C library for, and that are too small to be mapped one by one."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not run: needs glibc's malloc_trim")
def test_what_a_thread_has_freed_below_something_that_lives_is_given_back() -> None:
    kept: list[bytes] = []

    def work() -> None:  # a thread, as librdkafka's: with an arena of its own
        blocks = [os.urandom(SIZE) for _ in range(MANY)]
        kept.append(os.urandom(SIZE))

        del blocks

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = _resident()
    heap.trim()
    assert before - _resident() > MANY * SIZE / 2, "is what lives no longer above what was freed?"
    assert len(kept) == 1


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
