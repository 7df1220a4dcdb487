"""Running the command line inside the test's process, where its exit status and both outputs can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson
import pytest
import structlog

from streams.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> object:
        """What it printed, as JSON."""
        return orjson.loads(self.out)


Driftline = Callable[..., Ran]


@pytest.fixture
def driftline(capfd: pytest.CaptureFixture[str]) -> Iterator[Driftline]:
    """Run one command line: ``driftline("check", "--config", path)``."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        captured = capfd.readouterr()
        code = end.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    yield run
    structlog.reset_defaults()
