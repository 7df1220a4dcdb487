"""What the pages print: fenced blocks by name, and the commands in them and in the text.

A block that a test runs has a name behind its language, as in ```` ```python predict ````; renderers show the language only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.docs.tables import REPOSITORY

README: Final = REPOSITORY / "README.md"
PAGES: Final = tuple(
    sorted([README, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")])
)
_FENCE: Final = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ANY_FENCE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`]+)`")


def block(page: Path, name: str) -> str:
    """The one block of that name, as a reader would copy it."""
    (found,) = [text for _, label, text in _FENCE.findall(page.read_text()) if label == name]
    return str(found)


def commands(page: Path) -> list[str]:
    """Every `driftline ...` command of a page, from blocks and from the text."""
    text = page.read_text()
    lines = [
        line for language, _, code in _FENCE.findall(text) if language in {"sh", "bash"} for line in code.splitlines()
    ]
    prose = [" ".join(one.split()) for one in _INLINE.findall(_ANY_FENCE.sub("", text))]
    return [c.strip() for c in [*lines, *prose] if re.match(r"(\.venv/bin/)?driftline [a-z]", c.strip())]
