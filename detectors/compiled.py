"""The one way a function is compiled: numba, without the GIL, cached on disk, keeping its Python type."""

from __future__ import annotations

import fcntl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F) -> F:
    """The function as machine code. numba caches by source file: a kernel's helpers stand in the kernel's own file."""
    dispatcher: Any = numba.njit(nogil=True, cache=True)(function)
    _one_at_a_time(dispatcher._cache)  # noqa: SLF001  # numba has no other way in
    return cast("F", dispatcher)


def _one_at_a_time(cache: Any) -> None:  # noqa: ANN401  # numba's, untyped
    """Let one process at a time change a function's cache, and nobody read it meanwhile.

    numba reads the index, chooses the next free file and writes both. Two processes that start with an empty cache and compile the
    function for different types would choose the same file, and one of them, or a third, would later run code made for other types.
    """
    save, load = cache.save_overload, cache.load_overload

    def locked(how: int, call: Callable[..., object], *given: object) -> object:
        folder = Path(cache.cache_path)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "driftline.lock").open("w") as lock:
            fcntl.flock(lock, how)  # given back when the file is closed
            return call(*given)

    cache.save_overload = partial(locked, fcntl.LOCK_EX, save)
    cache.load_overload = partial(locked, fcntl.LOCK_SH, load)
