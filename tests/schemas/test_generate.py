"""The committed JSON Schemas and the types say the same."""

from pathlib import Path

import orjson
import pytest

from schemas.generate import FOLDER, documents


def test_the_committed_schemas_are_those_of_the_types() -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert documents() == committed, "run `python -m schemas.generate` and commit what it wrote"


@pytest.mark.parametrize("name", sorted(documents()))
def test_every_reference_inside_a_schema_leads_somewhere(name: str) -> None:
    schema = orjson.loads((FOLDER / name).read_bytes())
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                assert reference.removeprefix("#/$defs/") in schema["$defs"]
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def test_no_schema_names_a_path_of_the_machine_that_made_it() -> None:
    home = str(Path(__file__).parents[2])
    assert all(home.encode() not in content for content in documents().values())
