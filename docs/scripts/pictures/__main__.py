"""Draw every picture of the pages anew, into docs/pictures: `python -m docs.scripts.pictures [NAME ...]`."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.scripts.pictures.album import PICTURES
from docs.scripts.pictures.frame import svg

FOLDER = Path(__file__).resolve().parents[2] / "pictures"


def main(names: list[str]) -> int:
    """Draw the pictures of these names, or all; return the exit status."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        (FOLDER / f"{name}.svg").write_text(svg(PICTURES[name]))
    sys.stdout.write(f"{len(names or PICTURES)} pictures drawn\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
