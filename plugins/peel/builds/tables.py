"""What dbt's manifest says about the tables readers see: columns, types, keys, and how they are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TableColumn:
    """One column of a table in ``core``."""

    name: str
    type: str
    description: str
    not_null: bool
    references: tuple[str, str] | None


@dataclass(frozen=True)
class Restated:
    """How a table of figures is held against what it was.

    Attributes:
        period: the column that ends a figure's period.
        cell: the columns that name a figure within it.
        measures: the columns that are summed.
    """

    period: str
    cell: tuple[str, ...]
    measures: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One table of ``core`` and how the switch merges it.

    Attributes:
        name: the model's name, in ``next`` and in ``core``.
        key: its primary key.
        partition_by: columns of its partition, empty for a dimension, which is merged by key.
        affected: the model in ``next`` that lists tonight's partitions.
        internal: no reader is granted it.
        restated: how its figures of closed periods are held against what they were, if they are.
    """

    name: str
    description: str
    columns: tuple[TableColumn, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...]
    affected: str | None
    internal: bool
    restated: Restated | None = None

    @property
    def is_dimension(self) -> bool:
        """Whether the table is merged whole, by key."""
        return not self.partition_by


@dataclass(frozen=True)
class View:
    """One view of ``mart``, as SQL over ``core``."""

    name: str
    description: str
    sql: str
    columns: tuple[tuple[str, str], ...]


def tables(manifest: dict[str, Any]) -> list[Table]:
    """The tables to switch, dimensions first."""
    found = [_table(node) for node in models(manifest) if meta(node).get("switch")]
    return sorted(found, key=lambda table: (not table.is_dimension, table.name))


def views(manifest: dict[str, Any]) -> list[View]:
    """The views of ``mart``, compiled over ``next`` and turned to ``core``, in whatever database they are made."""
    return [
        View(
            name=node["alias"],
            description=_described(node),
            sql=node["compiled_code"].replace(f'"{node["database"]}".', "").replace('"next".', '"core".').strip(),
            columns=tuple((c["name"], c["description"]) for c in node["columns"].values()),
        )
        for node in models(manifest)
        if "mart" in node["fqn"]
    ]


def names_the_gone(manifest: dict[str, Any]) -> list[str]:
    """Models in ``next`` that name who is no longer there, and are emptied once that has been switched."""
    return sorted(node["name"] for node in models(manifest) if meta(node).get("names_the_gone"))


def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifest's models, as dbt gives them."""
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def meta(node: dict[str, Any]) -> dict[str, Any]:
    """What a model's properties say under ``meta``."""
    return dict(node.get("config", {}).get("meta") or {})


def _described(node: dict[str, Any]) -> str:
    return f"Each row is {meta(node)['each_row_is']}"


def _table(node: dict[str, Any]) -> Table:
    switch = meta(node)["switch"]
    key = next(c["columns"] for c in node["constraints"] if c["type"] == "primary_key")
    return Table(
        name=node["name"],
        description=_described(node),
        columns=tuple(_column(column) for column in node["columns"].values()),
        key=tuple(key),
        partition_by=tuple(switch.get("partition_by", ())),
        affected=switch.get("affected"),
        internal=bool(switch.get("internal", False)),
        restated=_restated(switch.get("restates")),
    )


def _restated(said: dict[str, Any] | None) -> Restated | None:
    return Restated(said["period"], tuple(said["cell"]), tuple(said["measures"])) if said else None


def _column(column: dict[str, Any]) -> TableColumn:
    meta = (column.get("config") or {}).get("meta") or column.get("meta") or {}
    reference = meta.get("references")
    parent, _, parent_key = (reference or "").partition(".")
    return TableColumn(
        name=column["name"],
        type=column["data_type"],
        description=column["description"],
        not_null=any(c["type"] == "not_null" for c in column["constraints"]),
        references=(parent, parent_key) if reference else None,
    )
