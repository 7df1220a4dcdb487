"""``python -m loadtest``: measurements of driftline, each a subcommand; run from the repository's root."""

from __future__ import annotations

import argparse
import sys

from loadtest import join, segments, throughput
from loadtest.detectors_bench import command as detectors
from loadtest.quality import command as quality
from loadtest.quality import late

COMMANDS = {
    "throughput": (throughput, "events per second through the whole pipeline, beside a bare consume loop"),
    "quality": (quality, "false alarms, delays and power on streams with known truth, beside other tools"),
    "levels": (late, "how often the statistics of late labels reject without drift"),
    "segments": (segments, "what segments cost per event"),
    "join": (join, "time and memory of the delayed-label join, from one to ten million predictions"),
    "detectors": (detectors, "speed and size of the statistics, beside other tools"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description="Measure driftline.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (program, what) in COMMANDS.items():
        program.add_arguments(commands.add_parser(name, help=what, description=what))
    given = parser.parse_args(arguments)
    program, _ = COMMANDS[given.command]
    return int(program.main(given))


if __name__ == "__main__":
    sys.exit(main())
