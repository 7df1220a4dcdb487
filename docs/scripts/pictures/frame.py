"""The common frame of the pictures: size, colours, and an SVG that is the same every time it is drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE: Final = "#9aa0a6"
WINDOW: Final = "#2b6cb0"
MARK: Final = "#c2410c"
GOOD: Final = "#2f855a"
FAINT: Final = "#d7dade"
STYLE: Final[Any] = {  # matplotlib types its keys as one literal of three hundred
    # Text stays text: it can be read aloud and searched, and the file does not depend on installed fonts.
    "svg.fonttype": "none",
    "svg.hashsalt": "driftline",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5f6368",
    "axes.labelcolor": "#3c4043",
    "text.color": "#202124",
    "xtick.color": "#5f6368",
    "ytick.color": "#5f6368",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    # A card of its own colour, so that a picture is as legible on a dark page as on a light one.
    "figure.facecolor": "#fbfbfc",
    "axes.facecolor": "#fbfbfc",
    "savefig.facecolor": "#fbfbfc",
}
WIDTH_IN: Final = 7.4
"""Width of a picture in inches: 533 points, what a page shows without scaling."""


def panels(columns: int = 1, rows: int = 1, height_in: float = 2.6, **options: Any) -> tuple[Figure, list[Axes]]:  # noqa: ANN401  # matplotlib's
    """Return a figure and its axes, row by row. Call it inside `mpl.rc_context(STYLE)`, as `svg` does."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [one for row in axes for one in row]


def svg(draw: Any) -> str:  # noqa: ANN401  # a function of this package that returns a figure
    """Return the picture that `draw()` makes, as SVG without date, version or random ids."""
    with mpl.rc_context(STYLE):
        figure: Figure = draw()
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"
