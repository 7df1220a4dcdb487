"""``driftline check``: would a worker work?"""

from __future__ import annotations

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table


def check(config: ConfigPath = MONITOR, *, as_json: AsJson = False) -> None:
    """Look at the configuration, its references, Redis, and Kafka's topics, and say what to mend.

    Exit status: 0 everything is as it must be, 1 something is missing or does not fit, 2 the configuration or a reference
    is wrong, or Kafka or Redis cannot be reached.

    For example:

        driftline check --config monitor.yaml
    """
    from schemas.config import load
    from streams.checks import check as look
    from streams.findings import exit_status

    findings = look(load(config))
    if as_json:
        say_json(findings)
    else:
        rows = [(f.subject, f.state, f"{f.detail}. {f.remedy}" if f.remedy else f.detail) for f in findings]
        say_table("driftline check", ("what", "state", "detail"), rows)
    raise typer.Exit(exit_status(findings))
