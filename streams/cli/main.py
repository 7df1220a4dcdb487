"""The console script ``driftline``: every command, and what an error looks like to a person.

Command modules import what they need when they run, so that ``driftline --help`` is quick.

Exit status: 0 fine; 1 the answer is no; 2 the question was wrong (one sentence on stderr, no traceback); 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from schemas.errors import DriftlineError
from streams.cli import approve, check, demo, dump, output, recover, reference, replay, route, run, status, topics

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

app = typer.Typer(
    name="driftline",
    no_args_is_help=True,
    add_completion=False,
    # A bug should show a plain traceback that can be copied; what people cause is caught in `main`.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def driftline() -> None:
    """Watch machine-learning models in production: drift, quality and performance, from Kafka and back to it.

    Exit status: 0 fine, 1 the answer is no, 2 the question was wrong (configuration, connection, permission).
    """
    output.configure_logging()


app.command()(demo.demo)
app.command()(run.run)
app.command()(check.check)
app.command()(status.status)
app.command()(replay.replay)
app.command()(dump.dump)
app.command()(recover.recover)
app.command()(approve.approve)
app.command()(route.route)
app.add_typer(reference.app, name="reference")
app.add_typer(topics.app, name="topics")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (default: the process's own); always ends in SystemExit with the exit status."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="driftline")
    except DriftlineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
