"""What dbt's manifest says about the tables readers see: columns, types, keys, and how they are merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TableColumn:
    """One column of a table in ``core``."""

    name: str
    type: str
    description: str
    not_null: bool = False
    references: tuple[str, str] | None = None


@dataclass(frozen=True)
class Restated:
    """How a table of figures is held against what it was.

    Attributes:
        period: the column that ends a figure's period.
        cell: the columns that name a figure within it.
        measures: the columns that are summed.
        called: what readers know a column of the cell as, where that differs.
    """

    period: str
    cell: tuple[str, ...]
    measures: tuple[str, ...]
    called: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One table of ``core`` and how the switch merges it.

    Attributes:
        name: the model's name, in ``next`` and in ``core``.
        key: its primary key.
        partition_by: columns of its partition, empty for a dimension, which is merged by key.
        affected: the model in ``next`` that lists tonight's partitions.
        internal: no reader is granted it.
        find_by: columns, each some together, that rows are found by besides key and partition.
        restated: how its figures of closed periods are held against what they were, if they are.
        as_of: whether what readers saw of it is kept for good, to be asked as of any build.
    """

    name: str
    description: str
    columns: tuple[TableColumn, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...]
    affected: str | None
    internal: bool
    find_by: tuple[tuple[str, ...], ...] = ()
    restated: Restated | None = None
    as_of: bool = False

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
    columns: tuple[TableColumn, ...]
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """One function for readers.

    Attributes:
        schema: ``core`` or ``mart``.
        name: its name.
        arguments: names and types.
        columns: of the rows it returns; empty where it returns a single value.
        language: ``sql`` or ``plpgsql``.
        options: volatility, rights and settings.
        body: its text.
        description: what it tells.
        readers: the roles that may call it.
        returns: the type of the value, where it returns no rows.
    """

    schema: str
    name: str
    arguments: tuple[tuple[str, str], ...]
    columns: tuple[TableColumn, ...]
    language: str
    options: str
    body: str
    description: str
    readers: tuple[str, ...]
    returns: str = ""

    @property
    def signature(self) -> str:
        """Name and argument types, as PostgreSQL tells functions apart."""
        return f'{self.schema}."{self.name}"({", ".join(kind for _, kind in self.arguments)})'

    @property
    def result(self) -> str:
        """What it returns, as a definition says it."""
        columns = ", ".join(f'"{column.name}" {column.type}' for column in self.columns)
        return self.returns or f"table ({columns})"


def tables(manifest: dict[str, Any]) -> list[Table]:
    """The tables to switch, dimensions first."""
    found = [_table(node) for node in models(manifest) if meta_of(node).get("switch")]
    return sorted(found, key=lambda table: (not table.is_dimension, table.name))


def views(manifest: dict[str, Any]) -> list[View]:
    """The views of ``mart``, compiled over ``next`` and turned to ``core``, in whatever database they are made."""
    return [
        View(
            name=node["alias"],
            description=described(node),
            sql=node["compiled_code"].replace(f'"{node["database"]}".', "").replace('"next".', '"core".').strip(),
            columns=columns_of(node),
            reads=tuple(name.rsplit(".", 1)[1] for name in node["depends_on"]["nodes"]),
        )
        for node in models(manifest)
        if "mart" in node["fqn"]
    ]


def names_the_gone(manifest: dict[str, Any]) -> list[str]:
    """Models in ``next`` that name who is no longer there, and are emptied once that has been switched."""
    return sorted(node["name"] for node in models(manifest) if meta_of(node).get("names_the_gone"))


def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifest's models, as dbt gives them."""
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def meta_of(node: dict[str, Any]) -> dict[str, Any]:
    """What a node of the manifest says about itself to Peel."""
    return dict(node.get("config", {}).get("meta") or {})


def described(node: dict[str, Any]) -> str:
    """What a row is, as a comment."""
    return f"Each row is {meta_of(node)['each_row_is']}"


def _table(node: dict[str, Any]) -> Table:
    switch = meta_of(node)["switch"]
    key = next(c["columns"] for c in node["constraints"] if c["type"] == "primary_key")
    return Table(
        name=node["name"],
        description=described(node),
        columns=columns_of(node),
        key=tuple(key),
        partition_by=tuple(switch.get("partition_by", ())),
        affected=switch.get("affected"),
        internal=bool(switch.get("internal", False)),
        find_by=tuple(tuple(names) for names in switch.get("find_by", ())),
        restated=_restated(switch.get("restates")),
        as_of=bool(switch.get("as_of", False)),
    )


def columns_of(node: dict[str, Any]) -> tuple[TableColumn, ...]:
    """The columns a model declares, in order."""
    return tuple(_column(column) for column in node["columns"].values())


def _restated(said: dict[str, Any] | None) -> Restated | None:
    if not said:
        return None
    return Restated(said["period"], tuple(said["cell"]), tuple(said["measures"]), dict(said.get("called", {})))


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
