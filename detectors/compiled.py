"""The one way a function is compiled: numba, without the GIL, cached on disk, keeping its Python type."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F) -> F:
    """The function as machine code. numba caches by source file: a kernel's helpers stand in the kernel's own file."""
    dispatcher: Any = numba.njit(nogil=True, cache=True)(function)
    _save_alone(dispatcher._cache)  # noqa: SLF001  # numba has no other way in
    return cast("F", dispatcher)


def _save_alone(cache: Any) -> None:  # noqa: ANN401  # numba's, untyped
    """Let one process at a time add to a function's cache.

    numba reads the index, chooses the next free file and writes both. Two processes that start with an empty cache and compile the
    function for different types would choose the same file, and one of them, or a third, would later run code made for other types.
    """
    save = cache.save_overload

    def save_alone(signature: object, data: object) -> None:
        folder = Path(cache.cache_path)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "driftline.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
            save(signature, data)

    cache.save_overload = save_alone
