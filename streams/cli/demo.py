"""``driftline demo``: the whole loop at work."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the workers' log lines too.")] = False,
) -> None:
    """Play a story on an embedded Kafka and Redis: drift is found, a new version is trained, accuracy recovers.

    Needs nothing but this installation, and takes less than two minutes. Exit status 0 only if the story came out right.

    For example:

        driftline demo
    """
    from streams.demo import run_demo

    raise typer.Exit(run_demo(verbose=verbose))
