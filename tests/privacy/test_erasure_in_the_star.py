"""Readers lose an erased person with the next build, and no total of a closed month moves."""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from typing import Any

import pytest

from peel import night
from peel.builds import erasing, keyless
from peel.deliveries.decisions import Signed
from peel.deliveries.pseudonyms import load_keys
from peel.errors import PeelError
from peel.history import erasure
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import NIGHT, dump
from tests.deliveries import landed_text

pytestmark = pytest.mark.slow

FIRST = dt.date.fromisoformat(NIGHT)
OPEN = "2026-03-31"
SIGNED = Signed("A. Founder", "request 17")
MONTHS = {
    "workforce_month": "month_end",
    "movement_month": "month_end",
    "roll_forward": "month_end",
    "applicant_month": "month_end",
    "applicant_route_month": "month_end",
    "applicant_year": "year_end",
    "application_month": "month_end",
    "stage_month": "month_end",
    "indicator_observation": "period_end",
}
FACTS = {
    "fct_workforce_snapshot": "month_end",
    "fct_workforce_movement": "month_end",
    "fct_application": "applied_month_end",
}


def rows(settings: Settings, query: str, role: str = "owner") -> list[tuple[Any, ...]]:
    with connect(settings, role) as connection:
        return connection.execute(query.encode()).fetchall()


def run() -> list[str]:
    told: list[str] = []
    night.run_direct(FIRST, told.append, simulated=False, drafts=False)
    return told


def source_rows(settings: Settings, feed: str, table: str) -> list[dict[str, str]]:
    (path,) = (settings.sources / feed / NIGHT).glob(f"1/{table}_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def officer(settings: Settings) -> str:
    """The number of a constable who joined before 2020 and serves now."""
    return next(
        row["person_id"]
        for row in source_rows(settings, "hr", "hr_assignment")
        if row["workforce_group"] == "OFF"
        and row["effective_end_date"] == "4712-12-31"
        and row["assignment_status"] == "ACTIVE"
        and row["effective_start_date"] < "2020-01-01"
        and row["rank_code"] == "CON"
    )


def applicant(settings: Settings) -> str:
    """The number of a candidate who was not hired and applied twice for the same in one financial year, long ago."""
    applied = Counter(
        (
            row["candidate_id"],
            row["workforce_group"],
            (dt.date.fromisoformat(row["applied_ts"][:10]) - dt.timedelta(90)).year,
        )
        for row in source_rows(settings, "recruitment", "ats_application")
        if not row["person_id"] and row["applied_ts"] < "2025-03"
    )
    (candidate, _, _), times = applied.most_common(1)[0]
    assert times > 1
    return candidate


def closed(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """What readers see of closed months and periods."""
    return {
        view: rows(
            settings, f"select t::text collate \"C\" from mart.{view} t where {day} < '2026-03-01' order by 1", "bi"
        )
        for view, day in MONTHS.items()
    }


def strength(settings: Settings) -> int:
    ((heads,),) = rows(settings, f"select sum(headcount) from mart.workforce_month where month_end = '{OPEN}'")
    return int(heads)


def traces(settings: Settings, sought: list[str]) -> list[str]:
    """Where keys are still to be found: landing, warehouse, everything Peel wrote but the invented source."""
    found = [str(path) for path in settings.landing.rglob("*.zst") if any(one in landed_text(path) for one in sought)]
    schemas = [row[0] for row in rows(settings, "select nspname from pg_namespace where nspname !~ '^pg_'")]
    for name, lines in dump(settings, *schemas).items():
        text = "\n".join(lines)
        found += [name for one in sought if one in text]
    for path in settings.var.rglob("*"):
        if path.is_file() and path.suffix != ".zst" and "sources" not in path.parts:
            data = path.read_bytes()
            found += [str(path) for one in sought if one.encode() in data]
    return sorted(set(found))


def keys_of(settings: Settings, kind: str, raw: str) -> list[str]:
    """Landing token and person key of a raw identifier, the latter also as the star writes it."""
    keys = load_keys(settings, create=False)
    token = keys.landing_token(kind, raw)
    (key,) = keys.person_keys()(_array(token)).to_pylist()
    return [token, key, "-".join((key[:8], key[8:12], key[12:16], key[16:20], key[20:]))]


def _array(token: str) -> Any:
    import pyarrow as pa

    return pa.array([token], pa.string())


def test_totals_of_closed_months_stand_and_nobody_is_left_under_a_key(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [("person_id", officer(night_copy)), ("candidate_id", applicant(night_copy))]
    sought = [one for person in people for one in keys_of(night_copy, *person)]
    applications = source_rows(night_copy, "recruitment", "ats_application")
    sought += [row["application_id"] for row in applications if row["candidate_id"] == people[1][1]]
    assert {"core.fct_workforce_snapshot", "core.fct_application"} <= set(traces(night_copy, sought))
    before, heads, unit_rows = closed(night_copy), strength(night_copy), dump(night_copy, "core")

    reports = [erasing.erase_person(night_copy, [person], SIGNED) for person in people]
    assert reports[0].kept > 60
    assert reports[1].kept > 1
    told = run()
    assert any("rows changed" in line for line in told), told

    assert closed(night_copy) == before
    assert rows(night_copy, "select * from mart.restatement") == []
    assert strength(night_copy) == heads - 1
    assert traces(night_copy, sought) == []
    set_aside = "select month_end::text, sum(set_aside), sum(abs(unexplained)) from mart.roll_forward group by 1"
    assert [row for row in rows(night_copy, set_aside) if any(row[1:])] == [(OPEN, 2, 0)], "one head by each count"

    # Rows that are kept join to nothing: each key stands once in all of core, and none is known to history.
    after = dump(night_copy, "core")
    changed = {name for name in after if len(after[name]) != len(unit_rows[name])}
    assert {"core.fct_workforce_snapshot", "core.person_input"} <= changed
    kept = rows(night_copy, "select row_id::text, request_id, attributes::text, fact from keyless.fact_row")
    assert len(kept) == sum(report.kept for report in reports)
    assert {row[1] for row in kept} == {None}
    assert any('"counts_in_year": false' in row[2] for row in kept), "the applicant is one of the year still"
    facts = [line for name in FACTS for line in after[f"core.{name}"]]
    of_people, others = [row for row in kept if row[3] in FACTS], [row for row in kept if row[3] not in FACTS]
    assert all(sum(row[0] in line for line in facts) == 1 for row in of_people[:100])
    assert {row[3] for row in others} == {"stage_month"}
    assert not any(row[0] in line for row in others[:20] for lines in after.values() for line in lines)
    for fact, month in FACTS.items():
        (found,) = rows(
            night_copy,
            f"select count(*), count(distinct f.person_key), count(*) filter (where f.{month} >= '2026-03-01')"
            f" from core.{fact} f where person_key in (select row_id from keyless.fact_row)",
        )
        assert found[0] == found[1]
        assert found[2] == 0
    finer = "select from core.fct_application where person_key = application_id and applied_on <> applied_month_end"
    assert rows(night_copy, finer) == []

    monkeypatch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
    told = run()
    assert any("168 months affected" in line for line in told), told
    assert dump(night_copy, "core") == after, "everything built again is the same"


def test_a_kill_between_loses_nothing_and_doubles_nothing(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = ("person_id", officer(night_copy))
    kept = "select count(*), count(request_id) from keyless.fact_row"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    keep = keyless.keep
    with monkeypatch.context() as patch:  # after the copy is committed, before the erasure is
        patch.setattr(keyless, "keep", lambda *a: stop(keep(*a)))
        with pytest.raises(KeyboardInterrupt):
            erasing.erase_person(night_copy, [person], SIGNED)
    ((first, waiting),) = rows(night_copy, kept)
    assert first == waiting > 60
    assert rows(night_copy, "select count(*) from audit.erasure") == [(0,)]

    with monkeypatch.context() as patch:  # after the erasure is committed
        patch.setattr(erasure, "_from_landing", stop)
        with pytest.raises(KeyboardInterrupt):
            erasing.erase_person(night_copy, [person], SIGNED)
    assert rows(night_copy, kept) == [(first, first)], "those of the first attempt are gone"
    assert [report.objects > 0 for report in erasing.resume(night_copy)] == [True]
    assert rows(night_copy, kept) == [(first, 0)]


def test_a_build_that_stands_on_what_is_erased_is_not_switched(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
    build_id = night.build()["build_id"]
    erasing.erase_person(night_copy, [("candidate_id", applicant(night_copy))], SIGNED)
    with pytest.raises(PeelError, match="not finished"):
        night.gate_build(build_id)
    with pytest.raises(PeelError, match="not passed its gate"):
        night.switch(build_id)


def test_an_objection_keeps_nothing_and_is_kept_to_when_erasure_follows(night_copy: Settings) -> None:
    person = ("person_id", officer(night_copy))
    assert erasing.erase_person(night_copy, [person], SIGNED, kind="objection").kept == 0
    assert erasing.erase_person(night_copy, [person], SIGNED).kept > 60  # no build in between
    assert rows(night_copy, "select distinct attributes ->> 'ethnicity_code' from keyless.fact_row") == [("NC",)]


def test_nobody_is_looked_for_under_keys_the_star_does_not_have_yet(night_copy: Settings) -> None:
    with connect(night_copy, "owner") as connection:
        connection.execute("insert into audit.key_epoch (key_name, epoch, fingerprint) values ('warehouse', 2, 'f')")
    with pytest.raises(PeelError, match="person keys have changed"):
        erasing.erase_person(night_copy, [("person_id", officer(night_copy))], SIGNED)
