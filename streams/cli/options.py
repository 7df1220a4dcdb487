"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Option("--config", "-c", metavar="PATH", help="The configuration file.")]
"""``--config``: monitor.yaml."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table for a person.")]
"""``--json``: machine-readable output."""
MONITOR = Path("monitor.yaml")
"""The default of ``--config``."""
