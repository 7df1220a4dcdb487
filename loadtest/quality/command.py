"""``python -m loadtest quality``: how well driftline decides, on seeded streams with known truth, beside other tools.

Five questions: how often does a window without drift raise an alarm; does the budget hold over whole months; how soon is a
shift seen, and how often does a single window show it to the other tools; how do the sequential detectors compare; are the
p-values behind all of it right.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from loadtest import machine
from loadtest.peers import client
from loadtest.quality import alarms, budget, levels, report, sequential
from loadtest.quality.checks import checks
from loadtest.quality.interval import mean_interval

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

SEED = 1
HOLDS, SHORT, NO_RUN = 0, 1, 2


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full number of repetitions (default: 1)")
    parser.add_argument("--without-peers", action="store_true", help="leave out evidently, nannyml and whylogs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing, print what --json wrote to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 unless the promised figures hold")


def main(args: Namespace) -> int:
    """Run, print, and return the exit status: 0 fine, 1 a figure falls short (``--check``), 2 it could not run."""
    if not 0 < args.scale <= 100:  # noqa: PLR2004  # beyond that it runs for a day
        sys.stderr.write("scale must be above 0 and at most 100\n")
        return NO_RUN
    if args.json is not None and not args.json.absolute().parent.is_dir():
        sys.stderr.write(f"there is no folder for {args.json}: make it, or name another file\n")
        return NO_RUN
    try:
        found = (
            orjson.loads(args.show.read_bytes())
            if args.show is not None
            else measure(args.scale, peers=not args.without_peers)
        )
    except (RuntimeError, OSError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return NO_RUN
    if args.json is not None:
        args.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    sys.stdout.write(report.text(found))
    return SHORT if args.check and not all(check["holds"] for check in found["checks"]) else HOLDS


def measure(scale: float, *, peers: bool) -> dict[str, Any]:
    """Measure everything and return it, ready for JSON (None stands for a figure that there is not).

    Raises:
        RuntimeError: the program of the other tools ended badly.
    """
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    played = budget.results(scale)
    episodes = [_widened(row) for row in played["episodes"]]
    clock.lap("budget")
    rates = [*alarms.driftline(SEED, scale)]
    clock.lap("alarms")
    rates += alarms.river(SEED, scale)
    clock.lap("river")
    bits = sequential.measure(SEED, scale)
    clock.lap("sequential")
    sizes = levels.measure(SEED, scale)
    clock.lap("levels")
    versions: dict[str, str] = {}
    delays = [row for name, rows in played.items() if name.startswith("delays") for row in rows]
    power = [*alarms.own_power(delays), alarms.missing_power(SEED, scale)]
    why = "" if peers and client.available() else (client.NOT_RUN if peers else "evidently, nannyml, whylogs: left out")
    if not why:
        versions, more, seen = alarms.peers(SEED, scale)
        rates += more
        power += seen
        clock.lap("peers")
    held = checks(episodes, delays, bits)
    return {
        "command": "quality",
        "machine": machine.fingerprint(),
        "seed": SEED,
        "scale": scale,
        "versions": versions,
        "without_peers": why,
        "alarms": _plain(rates),
        "episodes": _plain(episodes),
        "delays": _plain(delays),
        "power": _plain(power),
        "sequential": _plain(bits),
        "levels": _plain(sizes),
        "checks": [c | {"holds": check.holds} for check, c in zip(held, _plain(held), strict=True)],
        "seconds": seconds,
    }


def _widened(row: budget.Months) -> budget.Months:
    """Episodes with an interval that is never narrower than that of independent events, which a few equal months would suggest."""
    low, high = mean_interval(round(row.episodes * row.months), row.months)
    return replace(
        row, low=float(np.fmin(low, row.low)), high=float(np.fmax(high, row.high))
    )  # NaN of a single reference


class _Clock:
    """Wall time of the parts."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._begin = seconds, time.perf_counter()

    def lap(self, part: str) -> None:
        """Book the time since the last lap under a part, and say so."""
        now = time.perf_counter()
        self._seconds[part], self._begin = now - self._begin, now
        sys.stderr.write(f"{part}: {self._seconds[part]:.0f} s\n")
        sys.stderr.flush()


def _plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return frozen dataclasses as dictionaries, NaN as None."""
    return [{k: None if isinstance(v, float) and isnan(v) else v for k, v in asdict(row).items()} for row in rows]
