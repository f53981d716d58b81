"""The dictionary and the diagrams in ``docs/`` are those of the models, and of what stands in a warehouse."""

from __future__ import annotations

import re

import pytest

from peel.builds import dbt, describe
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import HOME

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest() -> dict[str, object]:
    """Read without a warehouse; dbt's warnings are errors there."""
    settings = Settings(HOME, HOME / "var", HOME / "var" / "sources", HOME / "var" / "landing")
    return dbt.parse(settings)


def test_the_dictionary_and_the_diagrams_are_those_of_the_models(manifest: dict[str, object]) -> None:
    docs = HOME / "docs"
    assert (docs / "dictionary.md").read_text("utf-8") == describe.dictionary(manifest), "run `make docs`"
    assert (docs / "star.md").read_text("utf-8") == describe.star(manifest), "run `make docs`"


def test_the_dictionary_holds_what_stands_in_the_warehouse_with_its_types(
    manifest: dict[str, object], london_night: Settings
) -> None:
    told = {
        (one.schema, one.name, field.name): (field.type, field.description)
        for one in describe.relations(manifest)
        for field in one.fields
    }
    with connect(london_night, "owner") as connection:
        found = connection.execute(
            "select c.relnamespace::regnamespace::text, c.relname, a.attname::text,"
            " a.atttypid, a.atttypmod, col_description(c.oid, a.attnum)"
            " from pg_class as c join pg_attribute as a on a.attrelid = c.oid where a.attnum > 0 and not a.attisdropped"
            " and c.relnamespace in ('core'::regnamespace, 'mart'::regnamespace) and c.relkind in ('r', 'v')"
        ).fetchall()
        assert {row[:3] for row in found} == set(told)
        for schema, name, column, kind, modifier, description in found:
            type_told, description_told = told[schema, name, column]
            same = connection.execute("select to_regtype(%s) = %s::regtype", (type_told, kind)).fetchone()
            assert same == (True,), (schema, name, column)
            if schema == "core":
                exact = connection.execute("select coalesce(to_regtypemod(%s), -1) = %s", (type_told, modifier))
                assert exact.fetchone() == (True,), (schema, name, column)
            assert " ".join(description.split()).replace("|", "\\|") == description_told


def test_who_may_read_a_table_is_told_as_it_is(manifest: dict[str, object], london_night: Settings) -> None:
    with connect(london_night, "owner") as connection:
        for one in describe.relations(manifest):
            readers = connection.execute(
                "select array_agg(r order by r) from unnest(array['peel_analyst', 'peel_bi', 'peel_publish']) as r"
                " where has_table_privilege(r, %s, 'select')",
                (f"{one.schema}.{one.name}",),
            ).fetchone()
            expected = {"mart": ["peel_analyst", "peel_bi", "peel_publish"], "core": ["peel_analyst"]}[one.schema]
            assert readers == (None if one.internal else expected,), one.name


def test_every_diagram_draws_its_table_and_all_that_it_refers_to(manifest: dict[str, object]) -> None:
    text = describe.star(manifest)
    diagrams = re.findall(r"\*\*(\w+)\*\*.*?```mermaid\n(.*?)```", text, re.DOTALL)
    assert {name for name, _ in diagrams} >= {"workforce_month", "fct_application", "fct_workforce_snapshot"}
    for name, drawn in diagrams:
        lines = re.findall(r"^ {4}(\w+) \|\|--o\{ (\w+) : \"[\w, ]+\"$", drawn, re.MULTILINE)
        entities = re.findall(r"^ {4}(\w+) \{$", drawn, re.MULTILINE)
        assert {child for _, child in lines} == {name}
        assert sorted(entities) == sorted({parent for parent, _ in lines} | {name})
        # An attribute is a type and a name, with keys: what a diagram cannot parse it does not draw.
        for line in drawn.splitlines():
            assert re.fullmatch(r"%%\{.*\}%%|erDiagram| {4}.*[{}\"]| {4}direction LR| {8}\w+ \w+( [PFK, ]+)?", line), (
                line
            )
