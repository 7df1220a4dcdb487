"""`driftline route`: deliver alerts and retrain requests to a webhook."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer


def route(
    config: Annotated[Path, typer.Option(help="The configuration; its section `route` says where events go.")] = Path(
        "monitor.yaml"
    ),
) -> None:
    """Deliver every alert and retrain request to a webhook, at least once and in order per model.

    Runs until SIGTERM or Ctrl-C. Each event is one POST of a CloudEvent (application/cloudevents+json) whose
    Idempotency-Key is the event's id. What the endpoint refuses, or does not take within `give_up_after`, goes to the
    dead letters. Several copies share the work.

    Example, with this in monitor.yaml:

        route: {webhook: {url: "https://hooks.example.org/driftline", headers: {Authorization: "Bearer ${TOKEN}"}}}

    run:

        driftline route --config monitor.yaml
    """
    # Here, so that no other command waits for Faust to be imported.
    import stamina

    from schemas.config import load
    from streams.router import run_route

    # What Faust and its Kafka client have to say; our own lines go through structlog.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # stamina's line about a retry names neither the endpoint nor the answer; ours does.
    stamina.instrumentation.set_on_retry_hooks([])
    run_route(load(config))
