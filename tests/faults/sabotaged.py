"""The product with protections taken away and faults put in: ``python -m tests.faults.sabotaged NAME[,NAME...] run --config ...``.

The names are those of ``sabotage.REMOVALS`` and ``sabotage_faults.FAULTS``, laid one over the other in the order given.
"""

from __future__ import annotations

import sys

from tests.faults.sabotage import REMOVALS
from tests.faults.sabotage_faults import FAULTS


def main() -> None:
    """Patch, then run the product's command line."""
    names, *arguments = sys.argv[1:]
    for name in names.split(","):
        (REMOVALS | FAULTS)[name]()
    from streams.cli.main import main as product  # noqa: PLC0415  # what it imports may just have been patched

    product(arguments)


if __name__ == "__main__":
    main()
