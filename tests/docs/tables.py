"""The tables of docs/reference that are made from the code: `python -m tests.docs.tables` writes them anew.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. The JSON Schemas are the source, so a table says what is
really accepted; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.durations import UNITS_MS

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (REPOSITORY / "docs" / "reference" / "configuration.md", REPOSITORY / "docs" / "reference" / "events.md")
_TABLE: Final = re.compile(r"(<!-- table ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
Json = dict[str, Any]


def schema(name: str) -> Json:
    """One committed JSON Schema."""
    loaded: Json = json.loads((REPOSITORY / "schemas" / "json" / f"{name}.json").read_text())
    return loaded


def _resolve(part: Json, whole: Json) -> Json:
    """Follow a reference, also the one of an optional part; what stands beside it (a description) wins."""
    options = [p for p in part.get("anyOf", ()) if p != {"type": "null"}]
    if "$ref" not in part and len(options) == 1:
        part = {**options[0], **{k: v for k, v in part.items() if k != "anyOf"}}
    if "$ref" in part:
        target: Json = whole["$defs"][part["$ref"].rpartition("/")[2]]
        return {**target, **{k: v for k, v in part.items() if k != "$ref"}}
    return part


def keys(part: Json, whole: Json, path: str = "") -> Iterator[tuple[str, Json, bool]]:
    """Every key below `part`: dotted path (`<name>` for any name, `[]` for items), schema, whether it is required."""
    for name, found in sorted(part.get("properties", {}).items(), key=lambda p: p[0] not in part.get("required", ())):
        value = _resolve(found, whole)
        at = f"{path}{name}"
        yield at, value, name in part.get("required", ())
        inner = [v for v in value.get("patternProperties", {}).values() if "$ref" in v]
        if "properties" in value:
            yield from keys(value, whole, f"{at}.")
        elif inner:
            yield from keys(_resolve(inner[0], whole), whole, f"{at}.<name>.")
        elif "$ref" in value.get("items", {}):
            yield from keys(_resolve(value["items"], whole), whole, f"{at}[].")


def _is_duration(value: Json) -> bool:
    return any(str(p.get("pattern", "")).endswith("(ms|s|m|h|d)$") for p in value.get("anyOf", ()))


def _duration(milliseconds: int) -> str:
    unit = next(u for u in ("d", "h", "m", "s", "ms") if milliseconds % UNITS_MS[u] == 0)
    return f"{milliseconds // UNITS_MS[unit]}{unit}"


def _kind(value: Json) -> str:
    if _is_duration(value):
        return "duration"
    if "enum" in value or "const" in value:
        return " \\| ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        return " or ".join(_kind(p) for p in value["anyOf"] if p != {"type": "null"})
    if value.get("type") == "array":
        inner = value.get("items", {})
        return "list" if "$ref" in inner or not inner else f"list of {_kind(inner)}"
    return str(value.get("type", "object")).replace("object", "mapping")


def _default(value: Json, required: bool) -> str:  # noqa: FBT001  # one row's three facts
    if required:
        return "required"
    default = value.get("default")
    if default in (None, "", {}, []) or "properties" in value:
        return ""
    text = _duration(default) if _is_duration(value) else default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`"


def table(name: str) -> str:
    """The table NAME (`monitor`, `labels`) or NAME.TYPE (`control.Approve`), as Markdown."""
    file, _, kind = name.partition(".")
    whole = schema(file)
    part = whole["$defs"][kind] if kind else _resolve(whole, whole)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, value, required in keys(part, whole):
        meaning = str(value.get("description", "")).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
        meaning = meaning.replace(", in milliseconds", "")
        rows.append(f"| `{path}` | {_kind(value)} | {_default(value, required)} | {meaning} |")
    return "\n".join(rows) + "\n"


def rendered(page: str) -> str:
    """A page's text with its tables as they should be."""
    return _TABLE.sub(lambda m: m[1] + table(m[2]) + m[3], page)


def main() -> int:
    """Write every table anew; return the exit status."""
    for page in PAGES:
        page.write_text(rendered(page.read_text()))
    sys.stdout.write(f"{len(PAGES)} pages written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
