"""``docs/dictionary.md`` and ``docs/star.md``, written from dbt's manifest: what readers find in ``mart`` and ``core``.

Nothing is asked of a warehouse: the manifest of ``dbt parse`` is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from peel.builds import past
from peel.builds.switch import MADE_BY_THE_SWITCH
from peel.builds.tables import TableColumn, columns_of, meta_of, models, tables

_SUBJECTS = {
    "workforce": "The workforce",
    "recruitment": "Recruitment",
    "population": "The population",
    "indicators": "Indicators",
    "shared": "What every subject shares",
}
_SCHEMAS = {
    "mart": (
        "Views for BI tools: sums and indicators, no row of a person.",
        "`peel_bi`, `peel_publish`, `peel_analyst`",
    ),
    "core": (
        "Tables for analysts: the star, with rows of people under keys that name nobody.",
        "`peel_analyst`",
    ),
}
_BY = "Written from dbt's manifest by `make docs`; a test holds it against the models."


@dataclass(frozen=True)
class Field:
    """One column: its name, type and description, and the table and column it refers to."""

    name: str
    type: str
    description: str
    references: tuple[str, str] | None = None


@dataclass(frozen=True)
class Relation:
    """One table or view that readers find: whose it is, what a row is, what a row is told by, who may read it."""

    schema: str
    name: str
    group: str
    each_row_is: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    internal: bool = False


def relations(manifest: dict[str, Any]) -> list[Relation]:
    """What stands in ``mart`` and ``core`` after a switch: by schema, subject and name.

    Args:
        manifest: as ``dbt parse`` or ``dbt build`` writes it.
    """
    core, mart = list(_core(manifest)), list(_mart(manifest))
    kept = {table.name for table in tables(manifest) if table.as_of}
    seen = [_as_seen(one) for one in mart if one.name in kept]
    found = [*core, *mart, *seen, *_made_by_the_switch()]
    schemas, groups = list(_SCHEMAS), list(_SUBJECTS)
    return sorted(found, key=lambda one: (schemas.index(one.schema), groups.index(one.group), one.name))


def dictionary(manifest: dict[str, Any]) -> str:
    """The data dictionary, as Markdown."""
    found = relations(manifest)
    lines = ["# Data dictionary", "", f"<!-- {_BY} -->", ""]
    lines += [
        "Every table and column that readers find. How to connect is in [bi.md](bi.md), how the tables hang together",
        "in [star.md](star.md). A field means the same wherever its name appears.",
        "",
    ]
    for schema in _SCHEMAS:
        lines += [f"- `{schema}`: {_listed(one.name for one in found if one.schema == schema)}", ""]
    for schema, (what, who) in _SCHEMAS.items():
        lines += [f"## {schema}", "", f"{what} Read by {who}.", ""]
        for one in found:
            if one.schema == schema:
                lines += _section(one)
    return "\n".join(lines).rstrip() + "\n"


def star(manifest: dict[str, Any]) -> str:
    """The entity diagrams, as Markdown with Mermaid: one for each table that refers to others.

    What stands in ``mart`` under the same name is drawn once, there.
    """
    found = relations(manifest)
    views = {one.name for one in found if one.schema == "mart"}
    drawn = [one for one in found if _referred(one) and (one.schema == "mart" or one.name not in views)]
    lines = ["# The star", "", f"<!-- {_BY} -->", ""]
    lines += [
        "How the tables hang together: first the views of `mart`, for BI tools, then what `core` has besides, for",
        "analysts. What each column holds is in [dictionary.md](dictionary.md).",
        "",
        "In the diagrams a line is a foreign key, named after its column; a table that is referred to shows the",
        "columns to join by and to label with.",
        "",
    ]
    for schema in _SCHEMAS:
        members = [one for one in drawn if one.schema == schema]
        lines += [f"## {schema}", "", *_matrix(members), ""]
        for group, title in _SUBJECTS.items():
            if any(one.group == group for one in members):
                lines += [f"### {title} in {schema}", ""]
            for one in members:
                if one.group == group:
                    lines += [f"**{one.name}**: each row is {one.each_row_is}.", ""]
                    lines += ["```mermaid", *_diagram(one, found), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _core(manifest: dict[str, Any]) -> Iterator[Relation]:
    groups = {node["name"]: node["group"] for node in models(manifest)}
    rows = {node["name"]: meta_of(node)["each_row_is"] for node in models(manifest)}
    for table in tables(manifest):
        fields = tuple(_field_of(column) for column in table.columns)
        yield Relation("core", table.name, groups[table.name], rows[table.name], table.key, fields, table.internal)


def _mart(manifest: dict[str, Any]) -> Iterator[Relation]:
    for node in models(manifest):
        if "mart" in node["fqn"]:
            fields = tuple(_field_of(column) for column in columns_of(node))
            key, rows = tuple(meta_of(node)["key"]), meta_of(node)["each_row_is"]
            yield Relation("mart", node["alias"], node["group"], rows, key, fields)


def _field_of(column: TableColumn) -> Field:
    return Field(column.name, column.type, _line(column.description), column.references)


def _as_seen(one: Relation) -> Relation:
    """The view that shows what readers saw of another at earlier switches; it refers to what that one does."""
    fields = (*map(_field_of, past.SEEN_COLUMNS), *(replace(field, references=None) for field in one.fields))
    rows, key = f"{one.each_row_is}, {past.SEEN_EACH_ROW_IS}", (*one.key, "seen_from")
    return Relation(one.schema, f"{one.name}_as_seen", one.group, rows, key, fields)


def _made_by_the_switch() -> Iterator[Relation]:
    for name, each_row_is, columns in MADE_BY_THE_SWITCH:
        yield Relation("mart", name, "shared", each_row_is, (), tuple(map(_field_of, columns)))
    fields = tuple(map(_field_of, past.SWITCH_COLUMNS))
    yield Relation("mart", "switch", "shared", past.SWITCH_EACH_ROW_IS, ("switch_id",), fields)


def _section(one: Relation) -> list[str]:
    told = f" Key: {_listed(one.key)}." if one.key else ""
    kept = " No role that reads may read it: the build compares itself with it." if one.internal else ""
    lines = [f"### {one.schema}.{one.name}", "", f"Each row is {one.each_row_is}.{told}{kept}", ""]
    lines += ["| column | type | what it holds | refers to |", "|---|---|---|---|"]
    for field in one.fields:
        to = f"`{'.'.join(field.references)}`" if field.references else ""
        lines.append(f"| `{field.name}` | {field.type} | {field.description} | {to} |")
    return [*lines, ""]


def _referred(one: Relation) -> dict[str, dict[str, list[str]]]:
    """The tables it refers to, by which of their columns, with its own columns that do."""
    referred: dict[str, dict[str, list[str]]] = {}
    for field in one.fields:
        if field.references and field.references[0] != one.name:
            table, key = field.references
            referred.setdefault(table, {}).setdefault(key, []).append(field.name)
    return referred


def _matrix(members: list[Relation]) -> list[str]:
    """Which table can be cut by what: a row for each, a column for each table referred to."""
    dimensions = sorted({table for one in members for table in _referred(one)})
    lines = [f"| | {' | '.join(name.removeprefix('dim_').replace('_', ' ') for name in dimensions)} |"]
    lines.append("|---" * (len(dimensions) + 1) + "|")
    for one in members:
        cells = ("x" if name in _referred(one) else "" for name in dimensions)
        lines.append(f"| `{one.name}` | {' | '.join(cells)} |")
    return lines


def _diagram(one: Relation, found: list[Relation]) -> Iterator[str]:
    referred = _referred(one)
    by_name = {other.name: other for other in found if other.schema == one.schema}
    yield '%%{init: {"er": {"nodeSpacing": 40, "rankSpacing": 60}}}%%'
    yield "erDiagram"
    yield "    direction LR"
    for table, keys in referred.items():
        names = ", ".join(name for by in keys.values() for name in by)
        yield f'    {table} ||--o{{ {one.name} : "{names}"'
    for table, keys in referred.items():
        other = by_name[table]
        yield from _entity(other, [f for f in other.fields if f.name in keys or f.name.endswith(("_label", "_name"))])
    yield from _entity(one, one.fields)


def _entity(one: Relation, fields: Iterable[Field]) -> Iterator[str]:
    yield f"    {one.name} {{"
    for field in fields:
        marks = [mark for mark, is_so in (("PK", field.name in one.key), ("FK", field.references)) if is_so]
        # A type's measures hold a comma, which a diagram cannot.
        yield f"        {field.type.partition('(')[0].replace(' ', '_')} {field.name} {', '.join(marks)}".rstrip()
    yield "    }"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
