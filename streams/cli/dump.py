"""``driftline dump``: topics into a file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads it at run time
from typing import Annotated

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table, watched


def dump(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.jsonl[.gz]", help="Where the records go.")],
    config: ConfigPath = MONITOR,
    *,
    topics: Annotated[
        list[str] | None,
        typer.Option(help="A topic, by its name or its role (predictions, labels, control, ...). Repeat for more."),
    ] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="First offset of every partition.")] = None,
    until: Annotated[int | None, typer.Option(min=0, help="Offset of every partition to stop before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write topics to a file, one record a line, from their beginning to their end as of now.

    Without --topics: everything that a replay reads (inputs and journal).

    For example:

        driftline dump --out monday.jsonl.gz && driftline replay monday.jsonl.gz
    """
    from schemas.config import load
    from streams.dump import dump as write

    counts = write(
        load(config),
        out,
        topics or (),
        first=from_offset,
        until=until,
        watch=lambda r, total: watched(r, total, "dumping"),
    )
    if as_json:
        say_json(counts)
    else:
        say_table(f"written to {out}", ("topic", "records"), list(counts.items()), right=("records",))
