"""The delivery gate: load each table as text, run its contract's suite, hold back the rows it names."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from peel.contracts import Contract, Feed
from peel.deliveries import ledger
from peel.deliveries.landing import landing_folder
from peel.deliveries.loading import gate_view, load_table
from peel.deliveries.pseudonyms import Keys, load_keys
from peel.gates.suite import SEVERITY, Outcome, rules, run_suite
from peel.history.tables import ensure_tables, row_key
from peel.settings import Settings
from peel.warehouse import connect, dsn


@dataclass
class GateReport:
    """What gating came to: ids gated, and rows quarantined by table."""

    gated: list[str] = field(default_factory=list)
    quarantined: dict[str, int] = field(default_factory=dict)


def gate_feed(settings: Settings, feed: Feed) -> GateReport:
    """Gate every landed delivery of a feed, in delivery order.

    Raises:
        PeelError: a rule could not be evaluated, a landed file is damaged or the database refused.
    """
    report = GateReport()
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        waiting = ledger.in_state(connection, feed.name, "landed")
        if waiting:
            keys = load_keys(settings, create=False)
            ensure_tables(connection, feed.contracts)
            connection.commit()
        for delivery_id in waiting:
            gate_delivery(settings, connection, feed, delivery_id, keys, report)
    return report


def gate_delivery(
    settings: Settings,
    connection: psycopg.Connection,
    feed: Feed,
    delivery_id: str,
    keys: Keys,
    report: GateReport,
) -> None:
    """Gate one landed delivery: every table's suite, then one transaction with what was found."""
    row = connection.execute(
        "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
    ).fetchone()
    assert row is not None
    folder = landing_folder(settings, feed.name, row[0], row[1], delivery_id)
    for contract in feed.contracts:
        load_table(connection, contract, folder / f"{contract.name}.csv.gz", delivery_id, keys)
    # Rules may look at other tables of the delivery: all are loaded before the first view.
    relations = feed.relations(delivery_id)
    views = {c.name: gate_view(connection, c, delivery_id, relations) for c in feed.contracts}
    connection.commit()
    outcomes = {contract.name: _run(settings, contract, views[contract.name]) for contract in feed.contracts}
    with connect(settings, "gate") as gate:
        for contract in feed.contracts:
            count = _record(gate, contract, delivery_id, row[0], views[contract.name], outcomes[contract.name])
            if count:
                report.quarantined[contract.name] = report.quarantined.get(contract.name, 0) + count
        gate.execute("update audit.delivery set state = 'gated' where delivery_id = %s", (delivery_id,))
    report.gated.append(delivery_id)


def _run(settings: Settings, contract: Contract, view: str) -> list[Outcome]:
    schema, name = view.replace('"', "").split(".")
    url = dsn(settings, "gate", "postgresql+psycopg2")
    typed = frozenset(column.name for column in contract.columns if not column.is_text)
    return run_suite(url, schema, name, rules(contract), typed)


def _record(
    gate: psycopg.Connection,
    contract: Contract,
    delivery_id: str,
    business_date: object,
    view: str,
    outcomes: list[Outcome],
) -> int:
    """Write rule outcomes and quarantined rows; the number of rows quarantined."""
    quarantine = contract.relation("quarantine")
    gate.execute(f"delete from {quarantine} where delivery_id = %s".encode(), (delivery_id,))
    gate.execute(
        "delete from audit.gate_result where delivery_id = %s and table_name = %s"
        " and rule not in ('identifier_form', 'undeclared_column')",
        (delivery_id, contract.name),
    )
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
            f" select %s, v._row, %s, {row_key(contract, 'v.')}, b.rules, {values} from {view} v join ("
            f' select _row, array_agg(distinct rule collate "C" order by rule collate "C") as rules'
            f" from pg_temp.broken group by _row) b using (_row)".encode(),
            (delivery_id, business_date),
        ).rowcount
        row = gate.execute(
            f"select count(*) from {quarantine} where delivery_id = %s and row_key is null".encode(),
            (delivery_id,),
        ).fetchone()
        unreadable = row[0] if row else 0
    total = gate.execute(f"select count(*) from {contract.relation('delivery', delivery_id)}".encode()).fetchone()
    rows = total[0] if total else 0
    refused_by = sorted(
        outcome.rule.label for outcome in outcomes if not outcome.passed and outcome.rule.on_failure == "refuse"
    )
    for outcome in outcomes:
        _result(gate, delivery_id, contract.name, outcome)
    over = quarantined > rows * contract.quarantine_limit
    gate.execute(
        "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome, checked,"
        " failed) values (%s, %s, 'quarantine_limit', 'critical', 'refuse', %s, %s, %s)",
        (delivery_id, contract.name, "failed" if over else "passed", rows, quarantined),
    )
    if over:
        refused_by.append("quarantine_limit")
    gate.execute(
        "update audit.delivery_table set accepted = %s, quarantined = %s, refused_by = %s, key_unreadable = %s"
        " where delivery_id = %s and table_name = %s",
        (rows - quarantined, quarantined, refused_by, unreadable, delivery_id, contract.name),
    )
    return quarantined


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
            SEVERITY[rule.on_failure],
            rule.on_failure,
            "passed" if outcome.passed else "failed",
            outcome.checked,
            outcome.failed,
        ),
    )
