"""What a person sees and what a program reads: results on stdout, everything about them on stderr."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

T = TypeVar("T")
_PIPE_COLUMNS = 200
"""Width of tables that go into a file or a pipe, where rich would cut at 80."""
_LOG_EVERY_S = 10.0
"""How often long work says how far it is when nobody watches a terminal."""


def configure_logging() -> None:
    """Send structlog to stderr: for people on a terminal, as JSON lines elsewhere. Called once, before a command runs."""
    import structlog

    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if people else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(),
        ],
        # A new file object each time: tests and services may replace stderr.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def console() -> Console:
    """Return where results are printed for people."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


def say_json(value: Any) -> None:  # noqa: ANN401  # whatever msgspec can encode
    """Print a value as one JSON document."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def say_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print a table; the columns named in ``right`` are numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text: what came from events must not be read as markup.
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console().print(table)


def watched(records: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass the records on, with a progress bar on a terminal and a log line now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(records, description=what, total=total or None, console=Console(stderr=True), transient=True)
        return
    import structlog

    log, said = structlog.get_logger(), monotonic()
    for number, record in enumerate(records):
        if monotonic() - said > _LOG_EVERY_S:
            said = monotonic()
            log.info(what, records=number, of=total or None)
        yield record
