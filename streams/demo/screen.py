"""What the demo shows while it plays: a progress bar on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from streams.demo.world import END_MINUTE

if TYPE_CHECKING:
    from streams.demo.told import Event

_COLOURS = {
    "alert.opened": "bold red",
    "alert.escalated": "red",
    "alert.resolved": "green",
    "retrain.requested": "bold yellow",
}
_PIPE_COLUMNS = 200
"""Width of lines that go into a file or a pipe, where rich would wrap at 80."""


def new_console() -> Console:
    """Standard output; as wide as the terminal, or wide enough for a log."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PIPE_COLUMNS)


class Screen:
    """Use it as a context manager. Times are minutes of the story, shown as hours and minutes of its event time."""

    def __init__(self, console: Console) -> None:
        """Show on ``console``."""
        self.console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        # Elsewhere than on a terminal rich shows nothing of a live display; `line` then is all there is.
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=END_MINUTE)

    def line(self, minute: float, text: str, style: str = "") -> None:
        """One line of the story."""
        self.console.print(Text(f"{clock(minute)}  ").append(text, style=style), soft_wrap=True)

    def event(self, event: Event) -> None:
        """One line for a published event."""
        self.line(event.minute, f"{event.kind:<18} {event.summary}", _COLOURS.get(event.kind, ""))

    def progress(self, minute: float, text: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=minute, description=f"{clock(minute)} {text}")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._bar.stop()


def clock(minute: float) -> str:
    """Minutes of the story as hours and minutes."""
    whole = int(minute)
    return f"{whole // 60:02d}:{whole % 60:02d}"
