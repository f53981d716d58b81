"""The function that counts the workforce at any day as known at the end of any delivery date.

Its SQL is what dbt compiled for the model, with the models it stands on as common table expressions: the same
text that makes the star, so that both cannot differ. Where the macros say the business date they leave a mark, and
there the function has its parameters. A model that stands on no delivery is read from ``core``. One that lists who a
build looks at tonight says which model has everyone (``everyone_is_in`` in its meta), and that is read instead.
"""

from __future__ import annotations

import re
from typing import Any

from peel.builds.tables import Function, columns_of, described, meta_of
from peel.errors import PeelError

_MARKED = re.compile(r"date '[^']*' /\* (\w+) \*/")

_BODY = """#variable_conflict use_column
declare
    first_day date;
    first_known date;
    last_known date;
begin
    select date_trunc('month', min(month_end))::date into first_day from core.fct_workforce_snapshot;
    select min(apply_date) into first_known from audit.applied where table_name = any ('{{{tables}}}');
    select business_date into last_known from audit.switched_build;
    if $1 is null or $2 is null then
        raise invalid_parameter_value using message = 'as_at and known_on are both needed';
    elsif $1 < first_day then
        raise invalid_parameter_value using message = format('as_at: nobody is counted before %s', first_day);
    elsif $2 < first_known then
        raise invalid_parameter_value
            using message = format('known_on: nothing was delivered before %s', first_known);
    elsif $2 > last_known then
        raise invalid_parameter_value
            using message = format('known_on: readers see the night of %s, nothing after it', last_known);
    elsif $1 > $2 then
        raise invalid_parameter_value using message = 'as_at: nobody is counted at a day after known_on';
    end if;
    perform core.read_is_logged('core.{name}(date, date)'::regprocedure);
    return query
{query};
end
"""


def functions(manifest: dict[str, Any]) -> list[Function]:
    """The functions that models declare (``function`` in their meta: by argument, the mark it takes the place of).

    Raises:
        PeelError: a model among their ancestors reads what is not there between builds.
    """
    return [
        _function(manifest, node)
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and meta_of(node).get("function")
    ]


def _function(manifest: dict[str, Any], node: dict[str, Any]) -> Function:
    marks: dict[str, str] = meta_of(node)["function"]
    positions = {mark: f"${number}" for number, mark in enumerate(marks.values(), 1)}
    expressions, tables = _ancestors(manifest, node)
    columns = columns_of(node)
    listed = ", ".join(f'whole."{column.name}"' for column in columns)
    named = ",\n".join(f'"{name}" as (\n{text}\n)' for name, text in expressions)
    query = f"with\n{named}\nselect {listed} from (\n{_pointed(manifest, node)}\n) as whole"
    query = _MARKED.sub(lambda found: positions.get(found[1], found[0]), query)
    if '"next".' in query or _MARKED.search(query):
        raise PeelError(f"the function {node['name']} would read what only stands during a build.", rule="function")
    return Function(
        schema="core",
        name=node["name"],
        arguments=tuple((argument, "date") for argument in marks),
        columns=columns,
        language="plpgsql",
        options="stable security definer set search_path = pg_catalog, pg_temp"
        " set datestyle = 'ISO, YMD' set timezone = 'UTC'",
        body=_BODY.format(name=node["name"], tables=",".join(sorted(tables)), query=query),
        description=described(node),
        readers=("peel_analyst",),
    )


def _ancestors(manifest: dict[str, Any], node: dict[str, Any]) -> tuple[list[tuple[str, str]], set[str]]:
    """The models a model stands on as (name, SQL), each after those it stands on itself, and the contracts read."""
    expressions: dict[str, str] = {}
    tables: set[str] = set()

    def visit(one: dict[str, Any]) -> None:
        for unique_id in one["depends_on"]["nodes"]:
            if unique_id in manifest["sources"]:
                source = manifest["sources"][unique_id]
                contract = meta_of(source).get("contract")
                tables.update([contract.split()[0]] if contract else [])
                continue
            parent = manifest["nodes"][unique_id]
            if parent["name"] in expressions or _is_in_core(manifest, parent):
                continue
            if parent["resource_type"] != "model":
                raise PeelError(f"{one['name']} reads the seed {parent['name']}, not its table.", rule="function")
            everyone = meta_of(parent).get("everyone_is_in")
            if everyone:
                (whole,) = (each for each in parent["depends_on"]["nodes"] if each.endswith(f".{everyone}"))
                visit({"name": parent["name"], "depends_on": {"nodes": [whole]}})
                listed = ", ".join(f'"{column}"' for column in parent["columns"])
                expressions[parent["name"]] = f'select {listed} from "{everyone}"'
                continue
            visit(parent)
            expressions[parent["name"]] = _pointed(manifest, parent)

    visit(node)
    return list(expressions.items()), tables


def _is_in_core(manifest: dict[str, Any], node: dict[str, Any]) -> bool:
    """Whether a model is a table of ``core`` that is the same whatever was delivered, and at whatever date."""

    def stands_on_deliveries(one: dict[str, Any]) -> bool:
        if _MARKED.search(one.get("compiled_code") or ""):
            return True
        above = one["depends_on"]["nodes"] if one["resource_type"] == "model" else []
        return any(name in manifest["sources"] or stands_on_deliveries(manifest["nodes"][name]) for name in above)

    return bool(meta_of(node).get("switch")) and not stands_on_deliveries(node)


def _pointed(manifest: dict[str, Any], node: dict[str, Any]) -> str:
    """A model's compiled SQL, its parents in ``core`` or as common table expressions, in whatever database."""
    text = str(node["compiled_code"]).replace(f'"{node["database"]}".', "").strip()
    for unique_id in node["depends_on"]["nodes"]:
        parent = manifest["nodes"].get(unique_id)
        if parent is not None:
            here = f'"core"."{parent["name"]}"' if _is_in_core(manifest, parent) else f'"{parent["name"]}"'
            text = text.replace(f'"next"."{parent["name"]}"', here)
    return text
