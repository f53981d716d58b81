"""The data dictionary: every table of the warehouse, from dbt's own manifest."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peel.errors import PeelError

LAYERS = {
    "mart": "Marts: what BI tools read",
    "indicators": "Indicators",
    "core": "The star",
    "intermediate": "Steps in between",
    "staging": "Staging: accepted rows, renamed and typed",
}
COLUMNS = (
    "release_status",
    "layer",
    "table_name",
    "each_row_is",
    "table_description",
    "column_name",
    "data_type",
    "column_description",
    "statement",
    "build_id",
)


@dataclass(frozen=True)
class Column:
    """A column with its type and what it means."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the warehouse: each of its rows is a(n) ``each_row_is``."""

    name: str
    layer: str
    each_row_is: str
    description: str
    columns: tuple[Column, ...]

    @property
    def says_it_twice(self) -> bool:
        """Whether the description is no more than ``each_row_is``."""
        return self.description.rstrip(".").casefold() == self.each_row_is.rstrip(".").casefold()


def read_manifest(path: Path) -> list[Table]:
    """Read the models of dbt's manifest.

    Args:
        path: ``manifest.json`` as dbt writes it into its target folder.

    Returns:
        Tables, those that readers use first, then by name.

    Raises:
        PeelError: the manifest is missing, is no JSON, or holds no model.
    """
    do = "Build the warehouse first (`peel night DATE`): dbt writes it."
    if not path.exists():
        raise PeelError("dbt's manifest is missing.", file=str(path), do=do)
    try:
        nodes = json.loads(path.read_text("utf-8"))["nodes"].values()
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise PeelError("this is no manifest of dbt.", file=str(path), do=do) from None
    tables = [_table(node) for node in nodes if node.get("resource_type") == "model"]
    if not tables:
        raise PeelError("dbt's manifest holds no model.", file=str(path), do=do)
    order = list(LAYERS)
    return sorted(
        tables,
        key=lambda t: (order.index(t.layer) if t.layer in order else len(order), t.layer, t.name),
    )


def to_csv(tables: list[Table], *, build_id: str, statement: str) -> str:
    """The dictionary as CSV: a row for each column, marked DRAFT, with the statement of what is simulated."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        about = ("DRAFT", table.layer, table.name, table.each_row_is, table.description)
        for column in table.columns or (Column("", "", ""),):
            writer.writerow((*about, column.name, column.type, column.description, statement, build_id))
    return out.getvalue()


def _table(node: dict[str, Any]) -> Table:
    meta = {**node.get("config", {}).get("meta", {}), **node.get("meta", {})}
    # models/<layer>/…, in whatever project
    layer = next(iter(node.get("fqn", [])[1:-1]), "")
    return Table(
        name=node.get("alias") or node["name"],
        layer=layer,
        each_row_is=_one_line(meta.get("each_row_is") or meta.get("each_row_is_a") or ""),
        description=_one_line(node.get("description", "")),
        columns=tuple(
            Column(column["name"], column.get("data_type") or "", _one_line(column.get("description", "")))
            for column in node.get("columns", {}).values()
        ),
    )


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
