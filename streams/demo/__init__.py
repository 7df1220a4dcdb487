"""``driftline demo``: the whole loop at work on an embedded Kafka and Redis, with a real model and a happy end.

`world` makes applications and decisions, `traffic` turns them into records, `service` answers them, `stage` runs the
services and the worker, `trainer` acts on retrain requests, `pace` waits for progress, `story` plays it all, `checks` and
`report` say whether it came out right.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_demo"]


def run_demo(*, verbose: bool = False) -> int:
    """Play the story and print how it went; ``verbose`` shows the worker's log lines too.

    Returns the exit status: 0 when every check is right, 1 when one is wrong or the story could not be played to its end.
    Everything that was started has ended when it returns or raises, also on Ctrl-C (KeyboardInterrupt), SIGTERM and SIGHUP.
    """
    from schemas.errors import DriftlineError  # noqa: PLC0415  # heavy imports wait until the demo is wanted
    from streams.demo.report import report  # noqa: PLC0415  # as above
    from streams.demo.screen import Screen, new_console  # noqa: PLC0415  # as above
    from streams.demo.story import play  # noqa: PLC0415  # as above

    console = new_console()
    try:
        with _interruptible(), _logging(verbose=verbose), Screen(console) as screen:
            told = play(screen)
    except DriftlineError as error:
        console.print(f"WRONG  the story was not played to its end: {error}", markup=False, soft_wrap=True)
        return 1
    return report(told, console)


@contextlib.contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """Keep the worker's log lines out of the story unless they are wanted."""
    before = structlog.get_config()["wrapper_class"]
    if not verbose:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the other polite ways of ending a process clean up as Ctrl-C does; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, signal.default_int_handler) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
