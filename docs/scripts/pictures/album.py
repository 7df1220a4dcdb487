"""All pictures by name; a picture of a detector has the detector's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from docs.scripts.pictures import (
    clocks,
    commit,
    distances,
    join,
    maturity,
    proxies,
    rules,
    streams,
    summaries,
    views,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

PICTURES: Final[dict[str, Callable[[], Figure]]] = {
    **distances.PICTURES,
    **streams.PICTURES,
    **summaries.PICTURES,
    **windows.PICTURES,
    **rules.PICTURES,
    **proxies.PICTURES,
    **clocks.PICTURES,
    **maturity.PICTURES,
    **views.PICTURES,
    **join.PICTURES,
    **commit.PICTURES,
}
