"""The one way a function is compiled: numba, without the GIL, cached on disk, keeping its Python type."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F) -> F:
    """The function as machine code. numba caches by source file: a kernel's helpers stand in the kernel's own file."""
    return cast("F", numba.njit(nogil=True, cache=True)(function))
