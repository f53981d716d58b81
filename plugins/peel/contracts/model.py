"""Contracts as typed, immutable objects."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from peel.errors import ConfigurationError

Mode = Literal["full", "delta"]
Cadence = Literal["nightly", "when_published"]
OnFailure = Literal["quarantine", "refuse", "warn"]
Classification = Literal["public", "internal", "pseudonymised", "personal", "special"]


PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
"""Where a rule's SQL names another table: ``${hr_person}``."""


class ContractError(ConfigurationError):
    """A contract that does not say what it must; names the file and the fault."""


@dataclass(frozen=True)
class Rule:
    """One rule of a contract's suite: a Great Expectations expectation and what follows from failing it.

    Attributes:
        name: name of the rule, unique within column or table.
        expectation: the expectation's type, such as ``expect_column_values_to_be_between``.
        kwargs: the expectation's arguments, without the column for a column's own rule.
        on_failure: ``quarantine`` (a row rule), ``refuse`` or ``warn`` (table rules).
        column: the column concerned, ``None`` for a table's rule.
        unfit_when: SQL over the gate's view that is true for a row that breaks the rule; the view
            shows it as the column ``_<name>``, so that an ordinary map expectation tests it. It may
            name tables of the same delivery as ``${table}``: their rows as delivered, all text.
        description: what the rule asks, in words.
    """

    name: str
    expectation: str
    kwargs: Mapping[str, Any]
    on_failure: OnFailure
    column: str | None = None
    unfit_when: str | None = None
    description: str = ""

    @property
    def subject(self) -> str | None:
        """The column the rule speaks of, its own or one a table's rule names; ``None`` for the whole row."""
        named = self.column or self.kwargs.get("column")
        return None if named is None or named.startswith("_") else str(named)

    @property
    def label(self) -> str:
        """The rule as quarantine and refusals name it: ``column:rule``, or the rule alone."""
        return f"{self.subject}:{self.name}" if self.subject else self.name

    @property
    def refers_to(self) -> frozenset[str]:
        """Names of the tables of the same delivery that ``unfit_when`` looks at."""
        return frozenset(PLACEHOLDER.findall(self.unfit_when or ""))

    def unfit_sql(self, relations: Mapping[str, str]) -> str:
        """``unfit_when`` with each ``${table}`` replaced.

        Args:
            relations: schema-qualified name of the delivery's table, by contract.
        """
        return PLACEHOLDER.sub(lambda found: relations[found[1]], self.unfit_when or "")


@dataclass(frozen=True)
class LookBack:
    """A rule that compares a delivery's table with the one before: one number and its limit.

    Attributes:
        name: name of the rule, unique within the contract.
        query: SQL that gives one number; ``${table}`` is this delivery's gate view, ``${previous}`` that of
            the last accepted delivery of an earlier business date. No number means not evaluated.
        limit: the most the number may be.
        on_failure: ``refuse`` or ``warn``.
        description: what the rule asks, in words.
    """

    name: str
    query: str
    limit: float
    on_failure: Literal["refuse", "warn"]
    description: str = ""

    def sql(self, table: str, previous: str) -> str:
        """The query over two gate views, named with their schemas."""
        relations = {"table": table, "previous": previous}
        return PLACEHOLDER.sub(lambda found: relations[found[1]], self.query)

    def holds(self, number: float | None) -> bool | None:
        """Whether a number keeps within the limit; ``None`` where the query gave none."""
        return None if number is None else number <= self.limit


@dataclass(frozen=True)
class Column:
    """One landed column.

    Attributes:
        name: name as landed.
        source: name as the source delivers it.
        type: PostgreSQL type in history, such as ``date`` or ``numeric(6,3)``.
        key_position: 1-based place in the key, ``None`` outside it.
        identifier: kind of direct identifier (``person_id``, ``ni_number`` …) that landing replaces
            by a token, or ``None``.
        postcode_sector: landing shortens a full postcode to its sector.
        open_end: the source's way of writing "no end", landed as empty.
        values: listed codes, or ``None``.
        pattern: the closed form of a text column, or ``None``.
        max_length: characters a text may have, or ``None``; apart from the pattern, because PostgreSQL counts
            repetitions ten times as slowly as it measures a text.
        derived_from: for a column that landing makes: a column of the source, whose values are not landed
            under this one's name, and the regular expression searched for in it; landed as Y or N.
        local_time: the time zone in which the source writes a timestamp that names none.
        is_anothers: the identifier is of another person than the row is about.
    """

    name: str
    source: str
    type: str
    description: str
    classification: Classification
    required: bool = False
    key_position: int | None = None
    identifier: str | None = None
    postcode_sector: bool = False
    open_end: str | None = None
    values: tuple[str, ...] | None = None
    pattern: str | None = None
    max_length: int | None = None
    references: str | None = None
    derived_from: tuple[str, str] | None = None
    local_time: str | None = None
    is_anothers: bool = False

    @property
    def is_text(self) -> bool:
        """Whether every text is a value of the column's type."""
        return self.type == "text"


@dataclass(frozen=True)
class Contract:
    """One delivered table's contract.

    Attributes:
        look_back: rules that compare with the last accepted delivery of an earlier business date.
        first_load_limit: the quarantine limit of a feed's first delivery, which holds its whole past.
        first_load_leaves_out: names of rules that a first delivery is not held to.
        needs_approval: a changed content is taken in only once a person accepts it.
    """

    name: str
    feed: str
    version: str
    description: str
    each_row_is: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    mode: Mode
    cadence: Cadence
    source_kind: Literal["simulated", "real"]
    reader: str
    quarantine_limit: float
    volume_band: float | None
    volume_floor: int
    due_time: dt.time | None
    freshness_hours: int | None
    retention_days: int
    never_landed: tuple[str, ...]
    independent: bool
    checksum: str
    look_back: tuple[LookBack, ...] = ()
    first_load_limit: float = 0.0
    first_load_leaves_out: tuple[str, ...] = ()
    needs_approval: bool = False
    path: str = field(compare=False, default="")
    reader_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[Column, ...]:
        """The key's columns in key order."""
        keyed = [column for column in self.columns if column.key_position is not None]
        return tuple(sorted(keyed, key=lambda column: column.key_position or 0))

    @property
    def is_special(self) -> bool:
        """Whether the table holds special category data and so lives whole in schema ``sensitive``."""
        return any(column.classification == "special" for column in self.columns)

    @property
    def referred(self) -> frozenset[str]:
        """Names of the tables of the same delivery that row rules look at."""
        return frozenset(name for rule in self.rules for name in rule.refers_to)

    @property
    def read_from(self) -> tuple[str, ...]:
        """The source's column that each column is read from."""
        return tuple(column.derived_from[0] if column.derived_from else column.source for column in self.columns)

    @property
    def source_columns(self) -> frozenset[str]:
        """Every column name the source may deliver under this contract."""
        delivered = frozenset(column.source for column in self.columns if column.derived_from is None)
        return delivered | frozenset(self.never_landed)

    def relation(self, step: Literal["delivery", "quarantine", "history"], delivery_id: str = "") -> str:
        """The schema-qualified name of this contract's table at a step, safe to put into SQL.

        Args:
            step: the step.
            delivery_id: 12 hex digits, for ``delivery`` only.
        """
        table = f"{self.name}__{delivery_id}" if delivery_id else self.name
        return f'sensitive."{step}_{table}"' if self.is_special else f'{step}."{table}"'


@dataclass(frozen=True)
class Feed:
    """A source system that delivers, with its tables."""

    name: str
    cadence: Cadence
    mode: Mode
    due_time: dt.time | None
    contracts: tuple[Contract, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the feed's tables."""
        return tuple(contract.name for contract in self.contracts)

    def relations(self, delivery_id: str) -> dict[str, str]:
        """Schema-qualified names of a delivery's tables, by contract: what rules may name each other by."""
        return {contract.name: contract.relation("delivery", delivery_id) for contract in self.contracts}

    @property
    def source_kind(self) -> str:
        """``simulated`` as soon as one of the feed's tables is."""
        kinds = {contract.source_kind for contract in self.contracts}
        return "simulated" if "simulated" in kinds else "real"

    @property
    def summary(self) -> str:
        """The feed in Markdown, for the DAG's documentation."""
        due = f", due {self.due_time:%H:%M} London on the day after" if self.due_time else ""
        rows = "\n".join(f"| `{c.name}` | {c.each_row_is} | {c.description} |" for c in self.contracts)
        return (
            f"Feed **{self.name}**: {self.cadence.replace('_', ' ')}, {self.mode}, "
            f"{self.source_kind}{due}.\n\n| table | each row is | why |\n|---|---|---|\n{rows}\n"
        )
