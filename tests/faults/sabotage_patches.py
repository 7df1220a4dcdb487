"""How the product is patched from outside: a method is wrapped or replaced, by the name of its class."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Final

DYING: Final = "dying by a fault"
"""What a worker says when a fault kills it: proof that the moment came."""


def of(where: str) -> Any:  # noqa: ANN401  # a class
    """The class of a module:name."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def store() -> Any:  # noqa: ANN401  # a class
    """The store on Redis."""
    return of("streams.edges.redis_store:RedisStore")


def wrap(owner: Any, method: str, around: Callable[..., Any]) -> None:  # noqa: ANN401  # a class
    """Put ``around(original, self, ...)`` in a method's place."""
    original = getattr(owner, method)

    @wraps(original)
    def patched(*args: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever the method takes and returns
        return around(original, *args, **named)

    setattr(owner, method, patched)


def replace(owner: Any, name: str, other: Any) -> None:  # noqa: ANN401  # a class, whatever stands in for what it has
    """Put something in the place of what a class has under a name."""
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, other)


def say(what: str) -> None:
    """A line on stderr, which is the worker's log."""
    os.write(2, f"{what}\n".encode())


def die(why: str) -> None:
    """Say why, and SIGKILL."""
    say(f"{DYING}: {why}")
    os.kill(os.getpid(), signal.SIGKILL)


def is_task(commit: Any) -> bool:  # noqa: ANN401  # a Commit
    """Whether a commit is one of a task."""
    return bool(commit.shard.startswith("{task:"))


def _nothing(_: Any) -> None:  # noqa: ANN401  # a Commit
    """What happens between two writes, unless a fault puts itself there."""


between_writes: Callable[[Any], None] = _nothing
"""Called by the removal that makes two writes of one."""
