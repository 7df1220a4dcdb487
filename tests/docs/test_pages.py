"""What the pages say exists: links, commands, options, metrics, keys, outcomes. And what exists is on the pages."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml

from schemas.errors import DeadLetterReason, Outcome
from schemas.journal import Entry, Record
from streams.cli.main import app
from tests.docs import tables
from tests.docs.blocks import PAGES, README, block, commands
from tests.docs.tables import REPOSITORY

REFERENCE = REPOSITORY / "docs" / "reference"
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@EACH_PAGE
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_page_of_docs_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [REPOSITORY / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+)", page.read_text())
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert [p for p in (REPOSITORY / "docs").rglob("*.md") if p not in seen] == []


@EACH_PAGE
def test_every_command_and_option_on_a_page_exists(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command.partition(" | ")[0].partition(" && ")[0])[1:]
        node, context = typer.main.get_command(app), typer.Context(typer.main.get_command(app))
        while words and hasattr(node, "get_command"):
            found = node.get_command(context, words[0])
            assert found is not None, command
            node, words = found, words[1:]
        options = {name for p in node.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        unknown = {word for word in words if word.startswith("-")} - options
        assert unknown == set(), command


def exported() -> set[str]:
    """The names of the metrics in the source, as a scrape shows them."""
    suffix = {"CounterMetricFamily": "_total", "GaugeMetricFamily": "", "InfoMetricFamily": "_info", "Histogram": ""}
    source = ast.parse((REPOSITORY / "streams" / "metrics.py").read_text())
    calls = [node for node in ast.walk(source) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    made = [(c.func.id, c.args[0]) for c in calls if isinstance(c.func, ast.Name) and c.func.id in suffix]
    return {
        f"{name.value}{suffix[kind]}"
        for kind, name in made
        if isinstance(name, ast.Constant) and isinstance(name.value, str)
    }


def test_the_page_of_metrics_names_what_the_worker_exports_and_nothing_else() -> None:
    listed = re.findall(r"^\| `(driftline_\w+)`", (REFERENCE / "metrics.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(exported())


@EACH_PAGE
def test_every_metric_that_a_page_mentions_is_exported(page: Path) -> None:
    mentioned = set(re.findall(r"`(driftline_[a-z_]+)`", page.read_text()))
    assert mentioned - exported() == set()


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda p: p.stem)
def test_the_tables_made_from_the_code_are_up_to_date(page: Path) -> None:
    assert page.read_text() == tables.rendered(page.read_text()), "run: python -m tests.docs.tables"


@EACH_PAGE
def test_every_configuration_key_that_a_page_mentions_exists(page: Path) -> None:
    schema = tables.schema("monitor")
    known = {path for path, _, _ in tables.keys(schema, schema)}
    sections = "windows|labels|alerts|retrain|dead_letters|http|redis|route|topics|monitors"
    text = re.sub("<!-- faults -->.*<!-- end -->", "", page.read_text(), flags=re.DOTALL)  # cells have such names, too
    mentioned = re.findall(rf"`((?:{sections})\.[a-z_.]+)`", text)
    ends = {path.removeprefix("models.<name>.") for path in known}
    assert [key for key in mentioned if key not in ends] == []


def test_every_outcome_and_every_reason_is_explained() -> None:
    concepts, events = (REPOSITORY / "docs" / "concepts.md").read_text(), (REFERENCE / "events.md").read_text()
    assert [o for o in Outcome if f"`{o}`" not in concepts] == []
    assert [r for r in DeadLetterReason if f"| `{r}` |" not in events] == []


def rows(page: Path, kinds: set[str]) -> dict[str, str]:
    """The rows of a page's tables that begin with one of these words."""
    found = re.findall(r"^\| `(\w+)` (\|.*)$", page.read_text(), re.MULTILINE)
    return {word: rest for word, rest in found if word in kinds}


def tagged(union: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401  # a union of types is no type
    """The tag of each struct of a union, and its fields."""
    return {str(kind.__struct_config__.tag): kind.__struct_fields__ for kind in get_args(union)}


@pytest.mark.parametrize(
    ("union", "said_once"), [(Record, {"shard"}), (Entry, {"offsets"})], ids=["records", "entries"]
)
def test_every_kind_of_record_in_the_journal_is_on_the_page_with_all_of_its_fields(
    union: Any,  # noqa: ANN401  # as above
    said_once: set[str],
) -> None:
    kinds, page = tagged(union), REFERENCE / "events.md"
    explained = rows(page, set(kinds))
    missing = [
        f"{kind}.{field}"
        for kind, fields in kinds.items()
        for field in fields
        if f"`{field}`" not in explained.get(kind, "") and field not in said_once
    ]
    assert missing == []
    assert all(f"`{field}`" in page.read_text() for field in said_once)


def test_the_fields_of_a_shard_s_head_are_those_that_the_scripts_read_and_write() -> None:
    edges = REPOSITORY / "streams" / "edges"
    scripts = "".join((edges / f"{name}.lua").read_text() for name in ("claim", "commit"))
    calls = re.findall(r"'H(?:M?GET|SET)', KEYS\[1\]((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", scripts)
    written = {word for call in calls for word in re.findall(r"'([a-z]+)'", call)}
    page = (REFERENCE / "redis-keys.md").read_text()
    section = page[page.index("## The head of a shard") : page.index("## What Redis must be")]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == written


def test_the_readme_prints_the_configuration_of_the_example() -> None:
    assert block(README, "monitor") == (REPOSITORY / "examples" / "fraud" / "monitor.yaml").read_text()


def test_the_configuration_of_compose_watches_the_example_model() -> None:
    text = (REPOSITORY / "deploy" / "compose" / "monitor.yaml").read_text()
    model = yaml.safe_load(text)["models"]["fraud"]
    example = yaml.safe_load(block(README, "monitor"))["models"]["fraud"]
    assert {k: model[k] for k in ("task", "positive_class")} == {k: example[k] for k in ("task", "positive_class")}
    assert model["reference"] == "references/fraud.json"
