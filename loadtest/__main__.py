"""``python -m loadtest``: measurements of driftline, each a subcommand; run from the repository's root."""

from __future__ import annotations

import argparse
import sys

from loadtest import throughput


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description="Measure driftline.")
    commands = parser.add_subparsers(dest="command", required=True)
    first = "events per second through the whole pipeline, beside a bare consume loop"
    throughput.add_arguments(commands.add_parser("throughput", help=first, description=first))
    return throughput.main(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
