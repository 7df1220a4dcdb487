"""What was freed goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streams.edges import heap

MANY, SIZE = 20_000, 2_000
"""40 MB in blocks that Python asks the C library for, and that are too small to be mapped one by one."""


GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not run: needs glibc's malloc")
BACKLOG = """
from pathlib import Path
from streams.edges import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8

if {little}:
    heap.keep_little()
bytearray(30 << 20)  # freed at once: from now on glibc maps nothing smaller by itself
blocks, kept = [], []
for _ in range(40):
    blocks.append(bytearray(2 << 20))
    kept.append(bytearray(2_000))  # lives on, behind it
full = resident()
blocks.clear()
print(full - resident())
"""


@GLIBC
@pytest.mark.parametrize("little", [True, False])
def test_large_blocks_go_back_as_soon_as_they_are_freed_and_only_then(little: bool) -> None:  # noqa: FBT001
    program = [sys.executable, "-c", BACKLOG.format(little=little)]
    given_back = int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    assert (given_back > 60) is little, f"{given_back} of 80 MB went back"


ARENAS = """
import re, threading
from pathlib import Path
from streams.edges import heap

if {little}:
    heap.keep_little()
everybody, kept = threading.Barrier(8), []

def work():
    everybody.wait()
    for _ in range(1000):
        kept.append(bytearray(10_000))
    everybody.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
begins = [int(begin, 16) for begin in re.findall(r"^([0-9a-f]+)-[0-9a-f]+ rw", Path("/proc/self/maps").read_text(), re.M)]
print(sum(begin % (64 << 20) == 0 for begin in begins))  # where glibc begins an arena
"""


@GLIBC
@pytest.mark.parametrize("little", [True, False])
def test_threads_share_two_arenas(little: bool) -> None:  # noqa: FBT001
    program = [sys.executable, "-c", ARENAS.format(little=little)]
    arenas = 1 + int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    assert (arenas <= 2) is little, f"{arenas} arenas"


@GLIBC
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
