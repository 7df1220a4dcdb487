"""``driftline approve``: a person allows a proposed retraining."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import MONITOR, ConfigPath


def approve(
    request: Annotated[str, typer.Argument(help="The request's idempotency key; `driftline status` shows it.")],
    model: Annotated[str, typer.Option(help="The model that it is about.")],
    config: ConfigPath = MONITOR,
    *,
    by: Annotated[str | None, typer.Option(help="Who approves, for the audit trail.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, for the audit trail.")] = None,
) -> None:
    """Approve a proposed retrain request; the worker then publishes it.

    Exit status 1 when no such proposal is waiting.

    For example:

        driftline approve 5f0c9b2e7d1a4c3b8e6f9a0b1c2d3e4f --model fraud --by ada
    """
    from schemas.config import load
    from schemas.control import Approve
    from schemas.errors import ConfigError
    from streams.commands import send
    from streams.edges.redis_store import RedisStore
    from streams.status import flight_of

    loaded = load(config)
    if model not in loaded.models:
        raise ConfigError(f"there is no model {model!r} in {config}", f"use one of {', '.join(sorted(loaded.models))}")
    waiting = flight_of(loaded, RedisStore(loaded.redis.url), model)
    if waiting is None or waiting.request != request or waiting.state != "proposed":
        found = "none is in flight" if waiting is None else f"{waiting.request} is {waiting.state}"
        typer.echo(f"no proposal {request} of model {model} waits for approval: {found}", err=True)
        raise typer.Exit(1)
    send(loaded, Approve(model=model, request=request, by=by, note=note))
    typer.echo(f"approved {request}")
