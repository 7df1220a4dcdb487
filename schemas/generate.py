"""Write the JSON Schemas in `schemas/json` from the types: `python -m schemas.generate`.

Producers validate with them, editors complete `monitor.yaml` with them. A test fails when they differ from the types.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from schemas.alerts import AlertEvent, RetrainEvent
from schemas.config import Config
from schemas.control import Command
from schemas.events import FeatureEvent, Label, Prediction

FOLDER: Final = Path(__file__).parent / "json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

WIRE_TYPES: Final[Mapping[str, Any]] = {
    "predictions": Prediction,
    "features": FeatureEvent,
    "labels": Label,
    "control": Command,
    "alerts": AlertEvent,
    "retrain": RetrainEvent,
}
"""What stands on each topic, by the topic's role."""


def documents() -> dict[str, bytes]:
    """Return the schema files as they should be: file name to bytes."""
    schemas = {"monitor": Config.model_json_schema()}
    for name, wire_type in WIRE_TYPES.items():
        (schema,), components = msgspec.json.schema_components([wire_type], ref_template="#/$defs/{name}")
        schemas[name] = {**schema, "$defs": components}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return {
        f"{name}.json": orjson.dumps({"$schema": DIALECT, **schema}, option=options) for name, schema in schemas.items()
    }


def main() -> int:
    """Write every file; return the exit status."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
    sys.stdout.write(f"{len(documents())} schemas written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
