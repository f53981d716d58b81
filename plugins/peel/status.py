"""What came, what was refused, what readers see: for ``peel status`` and the last lines of a night."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

from psycopg.rows import dict_row

from peel import contracts
from peel.desk.grants import grants
from peel.errors import PeelError
from peel.london import LONDON, due_at, now
from peel.settings import Settings
from peel.sources.configure import kind_of
from peel.warehouse import OWNER, connect

SCHEMAS = ("delivery", "quarantine", "history", "sensitive", "keyless", "next", "core", "undo", "past", "mart", "audit")
DECISION_DAYS = 7


def document(settings: Settings) -> dict[str, Any]:
    """Everything a program may want to know; counts, names and hashes, never a value.

    Returns:
        ``services``; ``night`` (what readers see); ``unknown`` (rows of each fact that are of a dimension's unknown
        member, and the limits) and ``warnings`` of the build gate in it; ``holds`` that keep it; ``analysts`` who may
        read ``core``; ``feeds`` with their source, chain, lateness and staleness; ``deliveries`` with hashes, rows
        accepted and quarantined and gate results; ``builds``; ``unusable_folders``; ``decisions`` of the last days;
        ``sizes`` in bytes.
    """
    found: dict[str, Any] = {"services": _services(settings)}
    try:
        found |= _warehouse(settings)
    except PeelError as error:
        found["warehouse"] = str(error)
    return found


def _services(settings: Settings) -> dict[str, str]:
    from peel.local import airflow, postgres

    scheduler = airflow.status(settings)
    stopped = [name for name, running in scheduler.running.items() if not running]
    if settings.warehouse_dsn:
        database = f"your own server, {_answer(settings)}"
    else:
        server = postgres.status(settings)
        is_up = server.running and server.server is not None
        database = f"running on {server.server.host}:{server.server.port}" if is_up and server.server else "not running"
    return {
        "postgres": database,
        "airflow": f"running at {scheduler.url}" if not stopped else f"not running: {', '.join(stopped)}",
    }


def _answer(settings: Settings) -> str:
    try:
        with connect(settings, OWNER) as connection:
            row = connection.execute("select current_setting('server_version')").fetchone()
            return f"answers (PostgreSQL {row[0].split()[0] if row else '?'})"
    except PeelError as error:
        return f"does not answer: {error}"


def _warehouse(settings: Settings) -> dict[str, Any]:
    with connect(settings, "ingest") as connection:
        cursor = connection.cursor(row_factory=dict_row)

        def rows(query: str) -> list[dict[str, Any]]:
            return cursor.execute(query.encode()).fetchall()

        deliveries = rows(
            "select feed, business_date, seq, delivery_id, state, reason, mode, source_kind, rows,"
            " source_sha256, landed_sha256, watermark_from, watermark_to, extract_ts, landed_at"
            " from audit.delivery order by business_date, feed, seq, source_sha256"
        )
        tables = rows(
            "select delivery_id, table_name, file, rows, accepted, quarantined, source_sha256, landed_sha256,"
            " contract_version from audit.delivery_table order by delivery_id, table_name"
        )
        results = rows(
            "select delivery_id, count(*) filter (where outcome = 'passed') as passed,"
            " count(*) filter (where outcome = 'failed') as failed,"
            " count(*) filter (where outcome = 'not evaluated') as not_evaluated"
            " from audit.gate_result group by delivery_id"
        )
        failures = rows(
            "select delivery_id, table_name, column_name, rule, on_failure, checked, failed from audit.gate_result"
            " where outcome = 'failed' order by delivery_id, table_name, column_name, rule"
        )
        builds = rows(
            "select b.build_id, b.business_date, b.state, b.reason, b.started_at, b.finished_at,"
            " cardinality(b.months) as months, b.deliveries, s.switched_at, s.rows as rows_changed"
            " from audit.build b left join lateral (select switched_at, rows from audit.switch s"
            " where s.build_id = b.build_id order by switch_id desc limit 1) s on true"
            " order by b.started_at desc limit 20"
        )
        switched = rows("select build_id, business_date from audit.switched_build")
        warnings = rows(
            "select table_name, column_name, rule, failed from audit.build_gate_result"
            " join audit.switched_build using (build_id) where outcome = 'failed'"
            " order by table_name, column_name, rule"
        )
        holds = rows("select who, reason, set_at from audit.hold where lifted_at is null order by hold_id")
        decided: dict[str, int] = dict(
            connection.execute(
                "select kind, count(*)::int from audit.decision"
                " where decided_at > clock_timestamp() - make_interval(days => %s) group by kind order by kind",
                (DECISION_DAYS,),
            ).fetchall()
        )
        probes: dict[str, dt.datetime] = dict(connection.execute("select feed, probed_at from audit.probe").fetchall())
        baselines: dict[str, dt.date] = dict(
            connection.execute("select feed, business_date from audit.baseline").fetchall()
        )
        tables_of: dict[str, int] = dict(
            connection.execute(
                "select relnamespace::regnamespace::text, coalesce(sum(pg_total_relation_size(oid)), 0)::bigint"
                " from pg_class where relkind = 'r' and relnamespace::regnamespace::text = any(%s) group by 1",
                (list(SCHEMAS),),
            ).fetchall()
        )
        unusable = rows("select feed, path, reason from audit.unusable_folder order by feed, path")
    by_table: dict[str, list[dict[str, Any]]] = {}
    for table in tables:
        by_table.setdefault(table.pop("delivery_id"), []).append(table)
    failed: dict[str, list[dict[str, Any]]] = {}
    for failure in failures:
        failed.setdefault(failure.pop("delivery_id"), []).append(failure)
    counts = {row.pop("delivery_id"): row for row in results}
    for delivery in deliveries:
        key = delivery["delivery_id"]
        delivery["tables"] = by_table.get(key, [])
        delivery["gate"] = {**counts.get(key, {}), "failures": failed.get(key, [])}
    return {
        "night": switched[0] if switched else None,
        "unknown": _unknown(settings) if switched else [],
        "warnings": warnings,
        "holds": holds,
        "analysts": grants(settings),
        "feeds": _feeds(settings, deliveries, probes, baselines),
        "deliveries": deliveries,
        "builds": builds,
        "unusable_folders": unusable,
        "decisions": {"days": DECISION_DAYS, "by_kind": decided},
        "sizes": {
            "landing": _landing_sizes(settings),
            "tables": {schema: tables_of.get(schema, 0) for schema in SCHEMAS},
        },
    }


def _unknown(settings: Settings) -> list[dict[str, Any]]:
    """How many rows of each fact are of a dimension's unknown member, in what readers see."""
    with connect(settings, "publish") as connection:
        return (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select fact_name, dimension_name, fact_rows, unknown_rows, unknown_share::float8 as unknown_share,"
                " share_limit::float8 as share_limit, verdict_on_unknown from mart.unknown_member_share"
                " order by fact_name, dimension_name"
            )
            .fetchall()
        )


def _landing_sizes(settings: Settings) -> dict[str, dict[str, int]]:
    """Bytes and deliveries of each feed in the landing store; a file that several deliveries share counts once."""
    found = {}
    for root in sorted(settings.landing.iterdir()) if settings.landing.is_dir() else []:
        if root.is_dir() and not root.name.startswith("."):
            files = {}
            for path in root.glob("*/*/*/*"):
                with suppress(OSError):  # on its way in, or out
                    about = path.stat()
                    files[about.st_dev, about.st_ino] = about.st_size
            deliveries = sum(not path.name.startswith(".") for path in root.glob("*/*/*"))
            found[root.name] = {"bytes": sum(files.values()), "deliveries": deliveries}
    return found


def _feeds(
    settings: Settings,
    deliveries: list[dict[str, Any]],
    probes: dict[str, dt.datetime],
    baselines: dict[str, dt.date],
) -> list[dict[str, Any]]:
    found = []
    for feed in contracts.feeds(settings.contracts, validate=False):
        mine = [delivery for delivery in deliveries if delivery["feed"] == feed.name]
        applied = [delivery["business_date"] for delivery in mine if delivery["state"] == "applied"]
        waiting = [delivery for delivery in mine if delivery["state"] == "waiting"]
        latest = max(applied, default=None)
        late = lateness(feed, latest, now())
        found.append(
            {
                "feed": feed.name,
                "cadence": feed.cadence,
                "source_kind": feed.source_kind,
                "source": kind_of(feed),
                "latest_applied": latest,
                "due": f"{feed.due_time:%H:%M}" if feed.due_time else None,
                "late_seconds": None if late is None else int(late.total_seconds()),
                "is_stale": bool(waiting) or late is not None,
                "waiting": len(waiting),
                "missing_link": waiting[0]["reason"] if waiting else None,
                "asked_at": probes.get(feed.name),
                "baseline": baselines.get(feed.name),
            }
        )
    return found


def lateness(feed: contracts.Feed, latest: dt.date | None, at: dt.datetime) -> dt.timedelta | None:
    """How long a feed is late: since the delivery after its latest applied one was due; ``None`` if it is not.

    A feed that delivers when something is published is never late, nor is one that has not begun.
    """
    if feed.cadence != "nightly" or feed.due_time is None or latest is None:
        return None
    due = due_at(latest + dt.timedelta(days=1), feed.due_time)
    # Moments, not wall clocks: an hour is left out or comes twice on two nights of the year.
    late = at.astimezone(dt.UTC) - due.astimezone(dt.UTC)
    return late if late >= dt.timedelta(0) else None


def _long(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"


def _big(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


def lines(settings: Settings) -> list[str]:
    """The same for a person: what readers see, each feed, and whatever needs someone."""
    found = document(settings)
    told = [f"{name:<11} {state}" for name, state in found["services"].items()]
    if "warehouse" in found:
        return [*told, f"warehouse   {found['warehouse']}"]
    night = found["night"]
    told.append(
        f"readers     see the night of {night['business_date']}, build {night['build_id']}"
        if night
        else "readers    see nothing yet"
    )
    told += doubts(found)
    told += [
        f"HELD        by {hold['who']}: {hold['reason']}; nothing is built until lifted" for hold in found["holds"]
    ]
    for feed in found["feeds"]:
        told.append(_feed_line(feed))
        if feed["missing_link"]:
            told.append(f"{'':<11} {feed['missing_link']} ({feed['waiting']} waiting)")
    for delivery in found["deliveries"][-12:]:
        held = sum(table["quarantined"] or 0 for table in delivery["tables"])
        told.append(
            f"  {delivery['business_date']} {delivery['feed']:<12} seq {delivery['seq']}  {delivery['delivery_id']}"
            f"  {delivery['state']:<9} {delivery['rows']:>9,} rows, {held:,} quarantined"
        )
    told += [f"REFUSED     {d['reason']}" for d in found["deliveries"] if d["state"] == "refused"]
    told += [f"UNUSABLE    {folder['reason']}" for folder in found["unusable_folders"]]
    told += _totals(found)
    for build in found["builds"][:1]:
        if build["state"] == "failed":
            told.append(f"FAILED      build {build['build_id']}: {build['reason']}")
    return told


def doubts(found: dict[str, Any]) -> list[str]:
    """What is not known of the rows readers see, and what the build gate warned of."""
    above = [pair for pair in found["unknown"] if pair["verdict_on_unknown"] != "within"]
    told = []
    if found["unknown"]:
        told.append(f"unknown     {len(above)} of {len(found['unknown'])} shares of unknown members above their limits")
    told += [
        f"{'':<11} {pair['fact_name']}, {pair['dimension_name']}: {pair['unknown_rows']:,} of {pair['fact_rows']:,},"
        f" {pair['unknown_share']:.1%} (limit {pair['share_limit']:.1%})"
        for pair in above
    ]
    for one in found["warnings"]:
        where = ".".join(filter(None, (one["table_name"], one["column_name"])))
        told.append(f"WARNED      of {where}: {one['rule']}, {one['failed']}")
    return told


def _feed_line(feed: dict[str, Any]) -> str:
    said = f"{feed['feed']:<11} {feed['cadence'].replace('_', ' ')} from {feed['source']}"
    if feed["latest_applied"] is None:
        said += ", nothing applied yet"
    else:
        said += f", applied to {feed['latest_applied']}"
    if feed["asked_at"] is not None:
        said += f", asked at {feed['asked_at'].astimezone(LONDON):%Y-%m-%d %H:%M}, unchanged"
    if feed["baseline"] is not None:
        said += f", baseline {feed['baseline']}"
    if feed["late_seconds"] is not None:
        said += f"  LATE by {_long(feed['late_seconds'])}"
    return f"{said}  STALE" if feed["is_stale"] else said


def _totals(found: dict[str, Any]) -> list[str]:
    """What was decided lately, and what room everything takes."""
    decided, sizes = found["decisions"], found["sizes"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in decided["by_kind"].items())
    landing = "; ".join(f"{feed} {_big(of['bytes'])} in {of['deliveries']}" for feed, of in sizes["landing"].items())
    tables = ", ".join(f"{schema} {_big(size)}" for schema, size in sizes["tables"].items())
    analysts = ", ".join(
        f"{one['login']} {'until' if one['stands'] else 'EXPIRED'} {one['valid_until']}" for one in found["analysts"]
    )
    return [
        f"analysts    {analysts or 'none has a login to read core'}",
        f"decisions   in the last {decided['days']} days: {kinds or 'none'}",
        f"landing     {landing or 'empty'}",
        f"tables      {tables}",
    ]


def headlines(settings: Settings) -> list[str]:
    """The headline indicators and where to look, marked with what is simulated."""
    with connect(settings, "publish") as connection:
        exists = connection.execute("select to_regclass('mart.as_of')").fetchone()
        if exists is None or exists[0] is None:
            return ["No night is complete yet: see `peel status`."]
        night = connection.execute("select business_date, statement from mart.as_of").fetchone()
        shown = connection.execute(
            """
            select distinct on (indicator_id, ethnic_group)
                indicator_id, ethnic_group, value, denominator, comparator_value, period_end
            from mart.indicator_observation
            where
                area_code = 'E23000001' and rank_group = 'all' and value is not null
                and (
                    (indicator_id = 'K01' and basis = 'HO_HEADCOUNT, stated')
                    or (indicator_id = 'K02' and ethnic_group = 'Black')
                    or (indicator_id = 'K03' and ethnic_group = 'Ethnic minority')
                    or indicator_id = 'K05'
                    or (indicator_id = 'K07' and dimension = 'financial_year; route all')
                    or (indicator_id = 'K08' and dimension = 'rolling_12_months; excluding transfers')
                )
            order by indicator_id, ethnic_group, period_end desc
            """
        ).fetchall()
        residents = connection.execute(
            """
            select p.census_year, sum(p.residents) filter (where e.is_ethnic_minority)::numeric / sum(p.residents)
            from mart.population p join mart.dim_ethnicity e using (ethnicity_code)
            group by p.census_year order by p.census_year
            """
        ).fetchall()
    names = {
        "K01": "Officers from an ethnic minority (excluding White minorities), of those who stated",
        "K02": "Black officers, of those who stated",
        "K05": "Women among officers",
        "K07": "Candidates from an ethnic minority, this financial year",
        "K08": "Joiners from an ethnic minority, last 12 months, without transfers",
    }
    told = ["", f"London, the night of {night[0] if night else '?'}"]
    if residents:
        years = ", ".join(f"{share * 100:.1f}% ({year})" for year, share in residents)
        told.append(f"  {'Londoners from an ethnic minority, all 33 areas':<84}{years}")
    for indicator, _, value, denominator, _, _ in shown:
        if indicator in names and denominator >= 30:
            told.append(f"  {names[indicator]:<84}{value * 100:.1f}%")
    if night:
        told.append(f"  {night[1]}")
    return told


def places(settings: Settings) -> list[str]:
    """Where to look: page, Airflow, psql and BI; no password is shown, only where it is kept."""
    from peel.local import airflow

    told = ["", "Where to look"]
    page = settings.drafts / "latest" / "index.html"
    if page.exists():
        told.append(f"  the page      {page}")
    scheduler = airflow.status(settings)
    if scheduler.url:
        told.append(f"  Airflow       {scheduler.url}  (user admin, password in {settings.secrets / 'airflow_admin'})")
    told.append("  psql          .venv/bin/peel sql --role bi")
    told.append("  a BI tool     the URL that .venv/bin/peel dsn --role bi prints")
    told.append("  the nights    .venv/bin/peel status")
    told.append("Back up the HMAC keys: .venv/bin/peel backup FOLDER. Losing them loses every join to come.")
    return told
