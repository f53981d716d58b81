"""Apply: make each history table the fold of the deliveries that hold, in their order.

``deliveries.acceptance`` says which deliveries hold and in what order. Where that list differs from
the one a table stands on, its known ranges are taken back to the first date that differs, and the
landed deliveries from there on are applied again. All of a feed's tables in one transaction.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from peel.contracts import Contract, Feed, LookBack
from peel.deliveries import acceptance, decisions, ledger, store, tombstones
from peel.deliveries.loading import gate_view, load_table, typed_values
from peel.deliveries.pseudonyms import Keys, load_keys
from peel.errors import PeelError
from peel.history import erasure
from peel.history.tables import analyze_sql, ensure_tables, indexes
from peel.settings import Settings
from peel.warehouse import connect

UNDISTURBED = " whole"
"""Ends the content of a table none of whose rows is in quarantine."""


@dataclass
class ApplyReport:
    """What applying came to.

    Attributes:
        applied: deliveries newly applied, by (table, delivery).
        opened: versions opened, by table.
        closed: versions closed, by table.
        taken_back: versions that were unmade or reopened first, so that dates could be applied again, by table.
        refused: one line for each delivery newly refused.
        waiting: deliveries that wait for a missing link.
        missing_link: the link they wait for.
        states: number of the feed's deliveries by state.
    """

    applied: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    taken_back: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    waiting: int = 0
    missing_link: str | None = None
    states: dict[str, int] = field(default_factory=dict)


def apply_feed(
    settings: Settings, feed: Feed, decide: Callable[[psycopg.Connection], object] | None = None
) -> ApplyReport:
    """Bring a feed's history in line with what was delivered and decided.

    Args:
        settings: the installation.
        feed: the feed.
        decide: writes a person's decision first, in the same transaction: a decision whose consequences
            history cannot take is not made at all.

    Raises:
        PeelError: a landed file is damaged, the decision cannot be or the database refused; history is as before.
    """
    report = ApplyReport()
    erasure.resume(settings)
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        if decide is not None:
            decide(connection)
        deliveries = _deliveries(connection, feed)
        keys = load_keys(settings, create=False) if deliveries else None
        ensure_tables(connection, feed.contracts)
        if keys is not None:
            apply = _Applying(settings, connection, feed, keys, report)
            resolution = apply.resolve(deliveries)
            for contract in feed.contracts:
                apply.fold(contract, resolution.folds[contract.name])
        else:
            resolution = acceptance.resolve([], feed.tables)
        baseline = ledger.baseline(connection, feed.name)
        settled = {d.delivery_id for d in deliveries if baseline is not None and d.business_date <= baseline}
        _record(connection, feed, resolution, report, settled)
        _record_freshness(connection, feed, deliveries)
        connection.commit()
        drop_delivery_tables(connection, feed)
        connection.commit()
    return report


def _deliveries(connection: psycopg.Connection, feed: Feed) -> list[acceptance.Delivery]:
    """Every gated delivery of the feed, as acceptance looks at it."""
    contracts = {contract.name: contract for contract in feed.contracts}
    tables: dict[str, list[acceptance.Table]] = {}
    for delivery_id, name, rows, refused_by, quarantined, landed_sha256 in connection.execute(
        "select t.delivery_id, t.table_name, t.rows, t.refused_by, t.quarantined, t.landed_sha256"
        " from audit.delivery_table t join audit.delivery d using (delivery_id)"
        " where d.feed = %s and d.state <> 'landed' and t.accepted is not null order by t.table_name",
        (feed.name,),
    ):
        contract = contracts.get(name)
        if contract is not None:
            table = acceptance.Table(
                name,
                rows,
                tuple(refused_by or ()),
                quarantined=quarantined or 0,
                quarantine_limit=contract.quarantine_limit,
                first_load_limit=contract.first_load_limit,
                first_load_leaves_out=contract.first_load_leaves_out,
                content=landed_sha256 if contract.needs_approval else None,
                volume_band=contract.volume_band,
                volume_floor=contract.volume_floor,
                independent=contract.independent,
            )
            tables.setdefault(delivery_id, []).append(table)
    return [
        acceptance.Delivery(
            delivery_id=row[0],
            business_date=row[1],
            seq=row[2],
            extract_ts=row[3],
            source_sha256=row[4],
            mode=feed.mode,
            tables=tuple(tables[row[0]]),
            watermark_from=row[5],
            watermark_to=row[6],
            refused_by=_stale(feed, row[1], row[3]),
        )
        for row in connection.execute(
            "select delivery_id, business_date, seq, extract_ts, source_sha256, watermark_from, watermark_to"
            " from audit.delivery where feed = %s and state <> 'landed'",
            (feed.name,),
        )
        if row[0] in tables
    ]


def _stale(feed: Feed, business_date: dt.date, extract_ts: dt.datetime) -> tuple[str, ...]:
    """Freshness compares the extract with the business date, never with now."""
    from peel.london import LONDON

    hours = min((c.freshness_hours for c in feed.contracts if c.freshness_hours is not None), default=None)
    if hours is None:
        return ()
    end = dt.datetime.combine(business_date + dt.timedelta(days=1), dt.time(0), LONDON)
    return ("freshness",) if end - extract_ts > dt.timedelta(hours=hours) else ()


class _Applying:
    """One feed on its way into history."""

    def __init__(
        self, settings: Settings, connection: psycopg.Connection, feed: Feed, keys: Keys, report: ApplyReport
    ) -> None:
        self.settings, self.connection, self.feed, self.keys, self.report = settings, connection, feed, keys, report
        self.accepted_anyway, self.bridges = decisions.on_deliveries(connection, feed.name)
        self.on_rows = decisions.on_rows(connection, feed.name)
        self.mappings = decisions.mappings(connection, feed.name)
        self.crosswalk = ledger.crosswalk(connection)
        self.baseline = ledger.baseline(connection, feed.name)
        self.loaded: set[tuple[str, str]] = set()
        self.sources: dict[str, str] = {}
        self.inputs: dict[tuple[str, str], tuple[str, int]] = {}
        for delivery_id, source, table, gate_input, quarantined in connection.execute(
            "select d.delivery_id, d.source_sha256, t.table_name, t.gate_input, t.quarantined"
            " from audit.delivery d join audit.delivery_table t using (delivery_id)"
            " where d.feed = %s and t.accepted is not null",
            (feed.name,),
        ):
            self.sources[delivery_id] = source
            self.inputs[delivery_id, table] = (gate_input or "", quarantined)

    def resolve(self, deliveries: list[acceptance.Delivery]) -> acceptance.Resolution:
        """Which deliveries hold, and in what order; what became of one up to the baseline is settled for good."""
        settled = self._settled()
        accepted_anyway = set(self.accepted_anyway)
        for place, delivery in enumerate(deliveries):
            if settled.get(delivery.delivery_id) == "refused":
                accepted_anyway.discard(delivery.source_sha256)
                deliveries[place] = dataclasses.replace(delivery, refused_by=("baseline",))
            elif delivery.delivery_id in settled:
                accepted_anyway.add(delivery.source_sha256)
        return acceptance.resolve(
            deliveries,
            self.feed.tables,
            accepted_anyway=frozenset(accepted_anyway),
            bridges=self.bridges,
            look_back=self,
        )

    def _settled(self) -> dict[str, str]:
        """State of each delivery up to the baseline: a contract that has changed since cannot change it."""
        if self.baseline is None:
            return {}
        rows = self.connection.execute(
            "select delivery_id, state from audit.delivery where feed = %s and business_date <= %s",
            (self.feed.name, self.baseline),
        )
        return dict(rows.fetchall())

    def held_before(self, delivery: acceptance.Delivery, previous: acceptance.Delivery, table: str) -> int:
        """Quarantined rows that the predecessor brought too for the same rules, by key or word for word."""
        contract = next(contract for contract in self.feed.contracts if contract.name == table)
        quarantine = contract.relation("quarantine")
        mine, theirs = (", ".join(f'{each}."{column.name}"' for column in contract.columns) for each in "qp")
        row = self.connection.execute(
            f"select count(*) from {quarantine} q where q.delivery_id = %s and exists (select from {quarantine} p"
            f" where p.delivery_id = %s and p.rules = q.rules and p.row_key is not distinct from q.row_key"
            f" and (q.row_key is not null or row({mine}) is not distinct from row({theirs})))".encode(),
            (delivery.delivery_id, previous.delivery_id),
        ).fetchone()
        return int(row[0]) if row else 0

    def findings(self, delivery: acceptance.Delivery, previous: acceptance.Delivery) -> Sequence[acceptance.Finding]:
        """Hold a delivery's tables against those of its predecessor; what was found before is remembered."""
        found: list[acceptance.Finding] = []
        if self.baseline is not None and delivery.business_date <= self.baseline:
            return found
        for contract in self.feed.contracts:
            mine = self.inputs.get((delivery.delivery_id, contract.name))
            theirs = self.inputs.get((previous.delivery_id, contract.name))
            if mine is None or theirs is None:
                continue
            for rule in contract.look_back:
                number = self._number(contract, rule, delivery.delivery_id, previous.delivery_id, mine[0], theirs[0])
                holds = rule.holds(number)
                found.append(
                    acceptance.Finding(
                        contract.name,
                        rule.name,
                        "not evaluated" if holds is None else "passed" if holds else "failed",
                        rule.on_failure == "refuse",
                        None,
                        0 if holds or holds is None else 1,
                    )
                )
        return found

    def _number(
        self, contract: Contract, rule: LookBack, delivery_id: str, previous: str, mine: str, theirs: str
    ) -> float | None:
        key = (contract.name, rule.name, mine, theirs)
        row = self.connection.execute(
            "select number from audit.look_back where table_name = %s and rule = %s and gate_input = %s"
            " and previous_input = %s",
            key,
        ).fetchone()
        if row is None:
            if not self._can_be_loaded(contract, previous):
                return None
            for each in (delivery_id, previous):
                self.ensure_loaded(contract, each)
            views = [_gate_view_name(contract, each) for each in (delivery_id, previous)]
            row = self.connection.execute(rule.sql(*views).encode()).fetchone()
            number = None if row is None or row[0] is None else float(row[0])
            self.connection.execute(
                "insert into audit.look_back (table_name, rule, gate_input, previous_input, number)"
                " values (%s, %s, %s, %s, %s) on conflict do nothing",
                (*key, number),
            )
            return number
        return None if row[0] is None else float(row[0])

    def _can_be_loaded(self, contract: Contract, delivery_id: str) -> bool:
        """Whether a delivery's table is there still: of one up to the baseline it need not be."""
        if self.baseline is None:
            return True
        date, path = self._landed(contract, delivery_id)
        return date > self.baseline or path.is_file()

    def _landed(self, contract: Contract, delivery_id: str) -> tuple[dt.date, Path]:
        found = self.connection.execute(
            "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
        ).fetchone()
        assert found is not None
        folder = store.folder(self.settings, self.feed.name, found[0], found[1], delivery_id)
        return found[0], folder / f"{contract.name}{store.SUFFIX}"

    def fold(self, contract: Contract, wanted: tuple[tuple[dt.date, str], ...]) -> None:
        """Make a history table the fold of a list: back to the first date that differs, and on from there."""
        wanted = tuple(entry for entry in wanted if (entry[1], contract.name) in self.inputs)
        target = [(date, delivery_id, self.content(contract, delivery_id)) for date, delivery_id in wanted]
        standing = [
            (row[0], row[1], row[2])
            for row in self.connection.execute(
                "select apply_date, delivery_id, content from audit.applied where table_name = %s order by position",
                (contract.name,),
            )
        ]
        target = self._on_the_baseline(contract, standing, target)
        same = 0
        while same < min(len(standing), len(target)) and standing[same] == target[same]:
            same += 1
        if same == len(standing) == len(target):
            return
        # A date is applied whole: go back to the start of the first date that differs.
        back_to = min(entry[0] for entry in (*standing[same : same + 1], *target[same : same + 1]))
        while same and target[same - 1][0] >= back_to:
            same -= 1
        if len(standing) > same:
            taken_back = _take_back(self.connection, contract, back_to)
            self.report.taken_back[contract.name] = self.report.taken_back.get(contract.name, 0) + taken_back
        self.connection.execute(
            "delete from audit.applied where table_name = %s and position > %s", (contract.name, same)
        )
        for position, (date, delivery_id, content) in enumerate(target[same:], start=same + 1):
            before = target[position - 2][2] if position > 1 else None
            opened, closed = 0, 0
            if not (contract.mode == "full" and content == before and content.endswith(UNDISTURBED)):
                self.ensure_loaded(contract, delivery_id)
                self._decide_rows(contract, delivery_id)
                opened, closed = _apply(self.connection, contract, date, delivery_id)
            self.report.applied += 1
            self.report.opened[contract.name] = self.report.opened.get(contract.name, 0) + opened
            self.report.closed[contract.name] = self.report.closed.get(contract.name, 0) + closed
            self.connection.execute(
                "insert into audit.applied (table_name, position, apply_date, delivery_id, content)"
                " values (%s, %s, %s, %s, %s)",
                (contract.name, position, date, delivery_id, content),
            )

    def _on_the_baseline(
        self, contract: Contract, standing: list[tuple[dt.date, str, str]], target: list[tuple[dt.date, str, str]]
    ) -> list[tuple[dt.date, str, str]]:
        """A list that begins as history stands up to the baseline: nothing before it is ever taken back.

        Raises:
            PeelError: the list would bring a delivery into history before the baseline.
        """
        if self.baseline is None:
            return target
        settled = [entry for entry in standing if entry[0] <= self.baseline]
        new = {entry[1] for entry in target if entry[0] <= self.baseline} - {entry[1] for entry in settled}
        if new and contract.mode == "delta":
            raise PeelError(
                f"history to {self.baseline} is the baseline, and this would change what was known before it.",
                feed=self.feed.name,
                file=contract.name,
                rule="baseline",
                count=len(new),
                do="Have the source deliver what is missing under a later business date.",
            )
        return settled + [entry for entry in target if entry[0] > self.baseline]

    def content(self, contract: Contract, delivery_id: str) -> str:
        """What a delivery's table brings: what was gated, and what a person decided about its rows."""
        gate_input, quarantined = self.inputs[delivery_id, contract.name]
        rows = self.on_rows.get((self.sources[delivery_id], contract.name), ())
        if not quarantined:
            return gate_input + UNDISTURBED
        return gate_input + "".join(f" {row.kind} {row.row_number}" for row in rows)

    def _decide_rows(self, contract: Contract, delivery_id: str) -> None:
        rows = self.on_rows.get((self.sources[delivery_id], contract.name), ())
        chosen = {kind: [row.row_number for row in rows if row.kind == kind] for kind in ("readmit", "discard")}
        self.connection.execute(
            f"update {contract.relation('quarantine')} set is_readmitted = _row = any(%s),"
            f" is_discarded = _row = any(%s) where delivery_id = %s".encode(),
            (chosen["readmit"], chosen["discard"], delivery_id),
        )

    def ensure_loaded(self, contract: Contract, delivery_id: str) -> None:
        """Bring a delivery's table back from the landing store where it has been dropped, or lost by a crash."""
        if self._stands(_gate_view_name(contract, delivery_id)):
            if (contract.name, delivery_id) in self.loaded:
                return
            # One that was kept from an earlier night may be of an earlier contract.
            gated = self.connection.execute(
                "select contract_checksum from audit.delivery_table where delivery_id = %s and table_name = %s",
                (delivery_id, contract.name),
            ).fetchone()
            if self._is_whole(contract, delivery_id) and gated == (contract.checksum,):
                return
        self.loaded.add((contract.name, delivery_id))
        folder = self._landed(contract, delivery_id)[1].parent
        contracts = {one.name: one for one in self.feed.contracts}
        relations = self.feed.relations(delivery_id)
        for name in (contract.name, *sorted(contract.referred)):
            mappings = self.mappings.get(name, {})
            path = folder / f"{name}{store.SUFFIX}"
            if name != contract.name and self._stands(relations[name]) and self._is_whole(contracts[name], delivery_id):
                continue
            stones = tombstones.stones(self.connection, self.feed, contracts[name], self.keys)
            person_keys = self.keys.person_keys(self.crosswalk)
            loaded = load_table(self.connection, contracts[name], path, delivery_id, person_keys, stones, mappings)
            if name == contract.name:
                mine = loaded.sure
        gate_view(self.connection, contract, delivery_id, relations, mine)

    def _stands(self, relation: str) -> bool:
        row = self.connection.execute("select to_regclass(%s) is not null", (relation,)).fetchone()
        return row == (True,)

    def _is_whole(self, contract: Contract, delivery_id: str) -> bool:
        """A table without a write-ahead log comes back empty from a crash."""
        table = contract.relation("delivery", delivery_id)
        full = self.connection.execute(f"select exists (select from {table})".encode()).fetchone()
        rows = self.connection.execute(
            "select accepted + quarantined from audit.delivery_table where delivery_id = %s and table_name = %s",
            (delivery_id, contract.name),
        ).fetchone()
        return full == (True,) or rows == (0,)


def _gate_view_name(contract: Contract, delivery_id: str) -> str:
    return f'{contract.relation("delivery", delivery_id)[:-1]}_gate"'


def _take_back(connection: psycopg.Connection, contract: Contract, date: dt.date) -> int:
    """Undo everything known from a date on, in history and quarantine; versions unmade or reopened."""
    history, quarantine = contract.relation("history"), contract.relation("quarantine")
    count = connection.execute(f"delete from {history} where known_from >= %s".encode(), (date,)).rowcount
    count += connection.execute(f"update {history} set known_to = null where known_to >= %s".encode(), (date,)).rowcount
    connection.execute(
        f"update {quarantine} set applied_on = null, resolved_on = null, resolution = null,"
        f" is_readmitted = false, is_discarded = false where applied_on >= %s".encode(),
        (date,),
    )
    connection.execute(
        f"update {quarantine} set resolved_on = null, resolution = null where resolved_on >= %s".encode(),
        (date,),
    )
    return count


def _apply(connection: psycopg.Connection, contract: Contract, date: dt.date, delivery_id: str) -> tuple[int, int]:
    """Apply one delivery's table at a date; versions opened and closed."""
    history, quarantine = contract.relation("history"), contract.relation("quarantine")
    table = contract.relation("delivery", delivery_id)
    view = f'{table[:-1]}_gate"'
    parameters = {"date": date, "delivery": delivery_id}

    def run(query: str) -> int:
        return connection.execute(query.encode(), parameters).rowcount

    def exists(query: str) -> bool:
        return connection.execute(f"select exists ({query})".encode(), parameters).fetchone() == (True,)

    held = f"from {quarantine} q where q.delivery_id = %(delivery)s"
    fit = ""
    if exists(f"select {held}"):
        fit = f"where not exists (select {held} and q._row = v._row and not q.is_readmitted)"
    _settle_quarantine(connection, contract, table, fit, parameters)
    names = ", ".join(f'"{column.name}"' for column in contract.columns)
    typed = ", ".join(f'v."{c.name}"' if c.is_text else f'v."typed_{c.name}"' for c in contract.columns)
    insert = f"insert into {history} (row_key, row_hash, known_from, delivery_id, {names})"
    select = f"select v.row_key, v.row_hash, %(date)s, %(delivery)s, {typed} from {view} v"
    if not exists(f"select from {history}"):
        # Into an empty table: indexes are made once all rows are in.
        for name in indexes(contract):
            run(f"drop index if exists {name}")
        run(f"truncate {history}")  # what is made in the transaction needs no write-ahead log where nothing copies it
        opened = run(f"{insert} {select} {fit}")
        for statement in indexes(contract).values():
            run(statement)
        run(analyze_sql(contract))
        return opened, 0
    # A key that is present but quarantined has not vanished; and a row whose key cannot be read might be
    # anyone's, so that nothing is closed at all.
    closes = contract.mode == "full" and not exists(f"select {held} and q.row_key is null and not q.is_discarded")
    present = f"select ctid as at, row_key, row_hash, true as is_fit from {table}"
    if fit:
        present = (
            f"select v.ctid as at, v.row_key, v.row_hash, q._row is null or q.is_readmitted as is_fit from {table} v"
            f" left join {quarantine} q on q.delivery_id = %(delivery)s and q._row = v._row"
            f" where q.is_discarded is not true"
        )
    run("drop table if exists pg_temp.change")
    run("set local parallel_tuple_cost = 0")  # few rows come out, which the planner cannot know
    run(
        f"create temporary table change as select v.at, h.was from ({present}) v full join"
        f" (select ctid as was, row_key, row_hash from {history} where known_to is null) h on h.row_key = v.row_key"
        f" where case when v.at is null then {closes} else v.is_fit and v.row_hash is distinct from h.row_hash end"
    )
    run("reset parallel_tuple_cost")
    run("analyze pg_temp.change")
    # A version opened and replaced on the same date was never known at the end of a day.
    closed = run(
        f"delete from {history} h using pg_temp.change c where h.ctid = c.was and h.known_from = %(date)s"
    ) + run(f"update {history} h set known_to = %(date)s from pg_temp.change c where h.ctid = c.was")
    values = ", ".join(typed_values(contract, "v").values())
    opened = run(
        f"{insert} select v.row_key, v.row_hash, %(date)s, %(delivery)s, {values}"
        f" from pg_temp.change c join {table} v on v.ctid = c.at"
    )
    return opened, closed


def _settle_quarantine(
    connection: psycopg.Connection, contract: Contract, table: str, fit: str, parameters: dict[str, object]
) -> None:
    """Earlier quarantined rows are settled by a later delivery of their key, or of the whole table.

    Of the delivery's own rows, those a person readmitted or discarded are settled at once.
    """
    quarantine = contract.relation("quarantine")
    whole = "true" if contract.mode == "full" else "false"
    accepted = f"exists (select from {table} v {fit or 'where true'} and v.row_key = q.row_key)"
    repeated = f"exists (select from {quarantine} n where n.delivery_id = %(delivery)s and n.row_key = q.row_key)"
    connection.execute(
        f"""
        update {quarantine} q set
            resolved_on = %(date)s,
            resolution = case when {accepted} then 'superseded' when {repeated} then 'repeated' else 'vanished' end
        where q.applied_on is not null and q.resolved_on is null and q.delivery_id <> %(delivery)s
            and ({whole} or {accepted} or {repeated})""".encode(),
        parameters,
    )
    connection.execute(
        f"""
        update {quarantine} set
            applied_on = %(date)s,
            resolved_on = case when is_readmitted or is_discarded then %(date)s::date end,
            resolution = case when is_readmitted then 'readmitted' when is_discarded then 'discarded' end
        where delivery_id = %(delivery)s""".encode(),
        parameters,
    )


def _record(
    connection: psycopg.Connection,
    feed: Feed,
    resolution: acceptance.Resolution,
    report: ApplyReport,
    settled: set[str],
) -> None:
    """Write the verdicts to the ledger, but for those the baseline has settled."""
    before: dict[str, str] = dict(
        connection.execute("select delivery_id, state from audit.delivery where feed = %s", (feed.name,)).fetchall()
    )
    for delivery_id, verdict in resolution.verdicts.items():
        if delivery_id in settled:
            continue
        reason = verdict.reason
        if verdict.state == "refused":
            reason = _refusal_line(connection, feed, delivery_id, verdict)
            if before.get(delivery_id) != "refused":
                report.refused.append(reason)
        connection.execute(
            "update audit.delivery set state = %s, reason = %s"
            " where delivery_id = %s and (state, reason) is distinct from (%s, %s)",
            (verdict.state, reason, delivery_id, verdict.state, reason),
        )
        findings = [
            *(
                acceptance.Finding(v.table, "volume", v.outcome, True, v.rows, v.rows if v.outcome == "failed" else 0)
                for v in verdict.volumes
            ),
            *verdict.findings,
        ]
        for finding in findings:
            on_failure = "refuse" if finding.refuses else "warn"
            connection.execute(
                "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome,"
                " checked, failed) values (%s, %s, %s, %s, %s, %s, %s, %s)"
                " on conflict (delivery_id, table_name, column_name, rule) do update"
                " set outcome = excluded.outcome, checked = excluded.checked, failed = excluded.failed"
                " where (gate_result.outcome, gate_result.checked, gate_result.failed)"
                " is distinct from (excluded.outcome, excluded.checked, excluded.failed)",
                (
                    delivery_id,
                    finding.table,
                    finding.rule,
                    ledger.SEVERITY[on_failure],
                    on_failure,
                    finding.outcome,
                    finding.checked,
                    finding.failed,
                ),
            )
    report.waiting = sum(verdict.state == "waiting" for verdict in resolution.verdicts.values())
    report.missing_link = resolution.missing_link
    report.states = dict(
        connection.execute(
            "select state, count(*)::int from audit.delivery where feed = %s group by state order by state",
            (feed.name,),
        ).fetchall()
    )


def _record_freshness(connection: psycopg.Connection, feed: Feed, deliveries: list[acceptance.Delivery]) -> None:
    if all(contract.freshness_hours is None for contract in feed.contracts):
        return
    for delivery in deliveries:
        outcome = "failed" if "freshness" in delivery.refused_by else "passed"
        connection.execute(
            "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome)"
            " values (%s, '', 'freshness', 'critical', 'refuse', %s)"
            " on conflict (delivery_id, table_name, column_name, rule) do nothing",
            (delivery.delivery_id, outcome),
        )


def _refusal_line(connection: psycopg.Connection, feed: Feed, delivery_id: str, verdict: acceptance.Verdict) -> str:
    """The first rule that refused the delivery, with file, column and count; how many more there are."""
    date, seq = connection.execute(
        "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
    ).fetchone() or (None, None)
    files: dict[str, str] = dict(
        connection.execute(
            "select table_name, file from audit.delivery_table where delivery_id = %s", (delivery_id,)
        ).fetchall()
    )
    failed = connection.execute(
        "select table_name, column_name, rule, failed from audit.gate_result where delivery_id = %s"
        " and on_failure = 'refuse' and outcome = 'failed' order by table_name, column_name, rule",
        (delivery_id,),
    ).fetchall()
    failed += [(volume.table, "", "volume", volume.rows) for volume in verdict.volumes if volume.outcome == "failed"]
    failed += [(f.table, "", f.rule, f.failed) for f in verdict.findings if f.refuses and f.outcome == "failed"]
    unique = {(row[0], row[1], row[2]): row for row in failed}
    rows = list(unique.values()) or [("", "", "freshness", None)]
    table, column, rule, count = rows[0]
    more = f" and {len(rows) - 1} more rules" if len(rows) > 1 else ""
    volume = next((v for v in verdict.volumes if v.table == table and rule == "volume"), None)
    what = {
        "freshness": "the extract is older than its business date allows.",
        "quarantine_limit": "more rows broke row rules than the contract allows.",
        "approval": "its content differs from what was accepted last, and a change needs a person's approval.",
    }.get(rule, "the gate refused it.")
    if volume is not None:
        what = f"rows are outside {volume.low} to {volume.high}, the band around the last dates."
    return str(
        PeelError(
            f"{what.removesuffix('.')}{more}; last night stands.",
            feed=feed.name,
            delivery=f"{date}/{seq}",
            file=files.get(table),
            column=column or None,
            rule=rule,
            count=count,
            do="Have the source deliver it again, or have a person accept it.",
        )
    )


def drop_delivery_tables(connection: psycopg.Connection, feed: Feed, also: Iterable[str] = ()) -> int:
    """Drop working copies: once applied or replaced, the landing store has them; how many.

    Of the newest applied delivery, tables that the next one is compared with are kept.

    Args:
        connection: as ``peel_ingest``.
        feed: the feed.
        also: ids of other deliveries whose tables go, such as those refused long ago.
    """
    applied = ledger.in_state(connection, feed.name, "applied")
    done = {*applied, *ledger.in_state(connection, feed.name, "replaced"), *also}
    tables = {
        contract.relation("delivery", name): name
        for name in done
        for contract in feed.contracts
        if not (contract.look_back and name in applied[-1:])
    }
    dropped = 0
    standing = connection.execute(
        "select format('%s.%I', relnamespace::regnamespace, relname) from pg_class where relkind = 'r'"
        " and relnamespace in ('delivery'::regnamespace, 'sensitive'::regnamespace)"
    ).fetchall()
    names = {relation.replace('"', ""): relation for relation in tables}
    for (name,) in standing:
        relation = names.get(name.replace('"', ""))
        if relation is not None:
            connection.execute(f"drop table {relation} cascade".encode())
            dropped += 1
    return dropped
