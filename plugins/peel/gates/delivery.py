"""The delivery gate: load each table as text, run its contract's suite, hold back the rows it names.

A gate's outcome is a function of what it looks at: the landed rows, the contract, the decisions that say how a
code is to be read, and the tables its rules refer to. ``gate_input`` is the hash of all that; a table whose
input was gated before takes over what was found then.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from peel.contracts import Contract, Feed, Rule
from peel.deliveries import decisions, ledger, store, tombstones
from peel.deliveries.inputs import gate_input
from peel.deliveries.loading import Loaded, gate_view, load_table
from peel.deliveries.pseudonyms import Keys, load_keys
from peel.errors import PeelError
from peel.gates.suite import Outcome, rules, run_suite
from peel.history import erasure
from peel.history.tables import ensure_tables
from peel.settings import Settings
from peel.warehouse import connect, dsn


@dataclass
class GateReport:
    """What gating came to: ids gated, and rows quarantined by table."""

    gated: list[str] = field(default_factory=list)
    quarantined: dict[str, int] = field(default_factory=dict)


def gate_feed(settings: Settings, feed: Feed, *, again: frozenset[str] = frozenset()) -> GateReport:
    """Gate every landed delivery of a feed, in delivery order.

    Args:
        settings: the installation.
        feed: the feed.
        again: ids of deliveries whose rules are run whatever was found before.

    Raises:
        PeelError: a rule could not be evaluated, a landed file is damaged or the database refused.
    """
    report = GateReport()
    erasure.resume(settings)
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        waiting = ledger.in_state(connection, feed.name, "landed")
        if waiting:
            keys = load_keys(settings, create=False)
            ensure_tables(connection, feed.contracts)
            connection.commit()
        for delivery_id in waiting:
            _Gating(settings, connection, feed, delivery_id, keys).run(report, delivery_id in again)
    return report


class _Gating:
    """One delivery on its way through the gate."""

    def __init__(
        self, settings: Settings, connection: psycopg.Connection, feed: Feed, delivery_id: str, keys: Keys
    ) -> None:
        self.settings, self.connection, self.feed, self.keys = settings, connection, feed, keys
        self.delivery_id = delivery_id
        row = connection.execute(
            "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
        ).fetchone()
        assert row is not None
        self.business_date: dt.date = row[0]
        self.folder = store.folder(settings, feed.name, row[0], row[1], delivery_id)
        landed = connection.execute(
            "select table_name, landed_sha256 from audit.delivery_table where delivery_id = %s", (delivery_id,)
        )
        self.landed: dict[str, str] = dict(landed.fetchall())
        self.mappings = decisions.mappings(connection, feed.name)
        self.crosswalk = ledger.crosswalk(connection)

    def run(self, report: GateReport, again: bool) -> None:
        """Every table's suite, then one transaction with what was found."""
        contracts = [contract for contract in self.feed.contracts if contract.name in self.landed]
        inputs = {contract.name: self._input(contract) for contract in contracts}
        found = {} if again else {c.name: self._before(c, inputs[c.name]) for c in contracts}
        asked = [contract for contract in contracts if found.get(contract.name) is None]
        needed = {name for contract in asked for name in (contract.name, *contract.referred)}
        self.mapped: dict[str, Counter[str]] = {contract.name: Counter() for contract in contracts}
        loaded = {
            contract.name: load_table(
                self.connection,
                contract,
                self.folder / f"{contract.name}{store.SUFFIX}",
                self.delivery_id,
                self.keys.person_keys(self.crosswalk),
                tombstones.stones(self.connection, self.feed, contract, self.keys),
                self.mappings.get(contract.name, {}),
                self.mapped[contract.name],
            )
            for contract in contracts
            if contract.name in needed
        }
        relations = self.feed.relations(self.delivery_id)
        for name in sorted({name for contract in asked for name in contract.referred}):
            # Rules that look at other tables are hashed, and quick, only where their size is known.
            self.connection.execute(f"analyze {relations[name]}".encode())
        for name, earlier in found.items():
            if earlier not in (None, self.delivery_id) and name not in needed:
                # What may stand here was read under other decisions; applying loads it as it is to be read now.
                self.connection.execute(f"drop table if exists {relations[name]} cascade".encode())
        views = {c.name: gate_view(self.connection, c, self.delivery_id, relations, loaded[c.name].sure) for c in asked}
        self.connection.commit()
        outcomes = {contract.name: _suite(self.settings, contract, views[contract.name]) for contract in asked}
        with connect(self.settings, "gate") as gate:
            self._hold_whole(relations, loaded)
            for contract in contracts:
                earlier = found.get(contract.name)
                if earlier is None:
                    rows = loaded[contract.name].rows
                    count = self._record(gate, contract, views[contract.name], outcomes[contract.name], rows)
                else:
                    count = self._take_over(gate, contract, earlier)
                if count:
                    report.quarantined[contract.name] = report.quarantined.get(contract.name, 0) + count
                gate.execute(
                    "update audit.delivery_table set gate_input = %s, contract_version = %s, contract_checksum = %s"
                    " where delivery_id = %s and table_name = %s",
                    (inputs[contract.name], contract.version, contract.checksum, self.delivery_id, contract.name),
                )
            gate.execute("update audit.delivery set state = 'gated' where delivery_id = %s", (self.delivery_id,))
        report.gated.append(self.delivery_id)

    def _hold_whole(self, relations: Mapping[str, str], loaded: Mapping[str, Loaded]) -> None:
        """A table without a write-ahead log comes back empty from a crash, and an empty one passes almost any suite.

        Asked once the connection that records is open: another crash would end it.

        Raises:
            PeelError: the server crashed since the tables were loaded; nothing is recorded.
        """
        for name, table in loaded.items():
            some = self.connection.execute(f"select exists (select from {relations[name]})".encode()).fetchone()
            if some != (table.rows > 0,):
                raise PeelError(
                    "the delivery table is not what was loaded: the server crashed meanwhile.",
                    feed=self.feed.name,
                    delivery=self.delivery_id,
                    file=name,
                    rule="delivery_table_whole",
                    do="Run the step again.",
                )

    def _input(self, contract: Contract) -> str:
        return gate_input(contract, contract.checksum, self.landed, self.mappings)

    def _before(self, contract: Contract, wanted: str) -> str | None:
        """A delivery whose table of that input was gated before, if any."""
        row = self.connection.execute(
            "select delivery_id from audit.delivery_table where table_name = %s and gate_input = %s"
            " and accepted is not null order by delivery_id = %s desc, delivery_id limit 1",
            (contract.name, wanted, self.delivery_id),
        ).fetchone()
        return row[0] if row else None

    def _take_over(self, gate: psycopg.Connection, contract: Contract, earlier: str) -> int:
        """Take over what was found in the same rows before; the number of rows quarantined."""
        if earlier == self.delivery_id:
            row = gate.execute(
                "select quarantined from audit.delivery_table where delivery_id = %s and table_name = %s",
                (earlier, contract.name),
            ).fetchone()
            return int(row[0]) if row else 0
        self._forget(gate, contract)
        quarantine = contract.relation("quarantine")
        names = ", ".join(f'"{column.name}"' for column in contract.columns)
        count = gate.execute(
            f"insert into {quarantine} (delivery_id, _row, business_date, row_key, rules, {names})"
            f" select %s, _row, %s, row_key, rules, {names} from {quarantine} where delivery_id = %s".encode(),
            (self.delivery_id, self.business_date, earlier),
        ).rowcount
        gate.execute(
            "insert into audit.gate_result (delivery_id, table_name, column_name, rule, severity, on_failure,"
            " outcome, checked, failed) select %s, table_name, column_name, rule, severity, on_failure, outcome,"
            " checked, failed from audit.gate_result where delivery_id = %s and table_name = %s"
            " and rule <> all(%s) on conflict do nothing",
            (self.delivery_id, earlier, contract.name, [*ledger.LANDING_RULES, *ledger.acceptance_rules(contract)]),
        )
        gate.execute(
            "update audit.delivery_table t set accepted = o.accepted, quarantined = o.quarantined,"
            " refused_by = o.refused_by, key_unreadable = o.key_unreadable from audit.delivery_table o"
            " where t.delivery_id = %s and t.table_name = %s and o.delivery_id = %s and o.table_name = t.table_name",
            (self.delivery_id, contract.name, earlier),
        )
        return count

    def _forget(self, gate: psycopg.Connection, contract: Contract) -> None:
        quarantine = contract.relation("quarantine")
        gate.execute(f"delete from {quarantine} where delivery_id = %s".encode(), (self.delivery_id,))
        gate.execute(
            "delete from audit.gate_result where delivery_id = %s and table_name = %s and rule <> all(%s)",
            (self.delivery_id, contract.name, list(ledger.LANDING_RULES)),
        )

    def _record(
        self, gate: psycopg.Connection, contract: Contract, view: str, outcomes: list[Outcome], rows: int
    ) -> int:
        """Write rule outcomes and quarantined rows; the number of rows quarantined."""
        self._forget(gate, contract)
        quarantine = contract.relation("quarantine")
        quarantined = unreadable = 0
        row_rules = [outcome for outcome in outcomes if outcome.rows_query]
        if row_rules:
            gate.execute(b"drop table if exists pg_temp.broken")
            gate.execute(b"create temporary table broken (_row bigint, rule text)")
            # The suite's queries name the view without its schema.
            gate.execute(f"set local search_path = {view.split('.')[0]}".encode())
            for outcome in row_rules:
                query = (outcome.rows_query or "").strip().rstrip(";")
                gate.execute(
                    f"insert into broken (_row, rule) select _row, '{outcome.rule.label}' from ({query}) q".encode()
                )
            gate.execute(b"analyze pg_temp.broken")
            names = ", ".join(f'"{column.name}"' for column in contract.columns)
            values = ", ".join(f'v."{column.name}"' for column in contract.columns)
            quarantined = gate.execute(
                f"insert into {quarantine} (delivery_id, _row, business_date, row_key, rules, {names})"
                f" select %s, v._row, %s, v.row_key, b.rules, {values} from {view} v join ("
                f' select _row, array_agg(distinct rule collate "C" order by rule collate "C") as rules'
                f" from pg_temp.broken group by _row) b using (_row)".encode(),
                (self.delivery_id, self.business_date),
            ).rowcount
            row = gate.execute(
                f"select count(*) from {quarantine} where delivery_id = %s and row_key is null".encode(),
                (self.delivery_id,),
            ).fetchone()
            unreadable = row[0] if row else 0
        refused_by = sorted(
            outcome.rule.label for outcome in outcomes if not outcome.passed and outcome.rule.on_failure == "refuse"
        )
        for outcome in outcomes:
            _result(gate, self.delivery_id, contract.name, outcome)
        for column, count in self.mapped[contract.name].items():
            if count:
                rule = Rule(ledger.MAPPED, "", {}, "warn", column)
                _result(gate, self.delivery_id, contract.name, Outcome(rule, False, rows, count, None))
        gate.execute(
            "update audit.delivery_table set accepted = %s, quarantined = %s, refused_by = %s, key_unreadable = %s"
            " where delivery_id = %s and table_name = %s",
            (rows - quarantined, quarantined, refused_by, unreadable, self.delivery_id, contract.name),
        )
        return quarantined


def _suite(settings: Settings, contract: Contract, view: str) -> list[Outcome]:
    schema, name = view.replace('"', "").split(".")
    url = dsn(settings, "gate", "postgresql+psycopg2")
    typed = frozenset(column.name for column in contract.columns if not column.is_text)
    return run_suite(url, schema, name, rules(contract), typed)


def _result(gate: psycopg.Connection, delivery_id: str, table: str, outcome: Outcome) -> None:
    rule = outcome.rule
    gate.execute(
        "insert into audit.gate_result (delivery_id, table_name, column_name, rule, severity, on_failure,"
        " outcome, checked, failed) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            delivery_id,
            table,
            rule.subject or "",
            rule.name,
            ledger.SEVERITY[rule.on_failure],
            rule.on_failure,
            "passed" if outcome.passed else "failed",
            outcome.checked,
            outcome.failed,
        ),
    )
