"""Night after night: what does not change stays, what is held stays counted, what is lost is waited for.

Each test starts from a copy of a whole first night and runs the real steps, dbt included.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peel import contracts, night
from peel.errors import PeelError
from peel.settings import Settings
from peel.status import document
from peel.warehouse import connect
from tests.conftest import NIGHT, digest

pytestmark = pytest.mark.slow

FIRST = dt.date.fromisoformat(NIGHT)
Rows = list[dict[str, str]]
Changes = dict[str, Callable[[Rows], None]]


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(settings, "owner") as connection:
        return connection.execute(query.encode()).fetchall()


def run(date: dt.date) -> list[str]:
    told: list[str] = []
    night.run_direct(date, told.append, simulated=False, drafts=False)
    return told


def redeliver(settings: Settings, date: dt.date, changes: Changes | None = None) -> None:
    """Deliver HR's files of the first night again under another date, and an empty recruitment delta."""
    for feed in ("hr", "recruitment"):
        source = settings.sources / feed / NIGHT / "1"
        target = settings.sources / feed / date.isoformat() / "1"
        shutil.copytree(source, target)
        manifest = json.loads((target / "manifest.json").read_text())
        next_day = (date + dt.timedelta(days=1)).isoformat()
        manifest |= {"business_date": date.isoformat(), "extract_ts": f"{next_day}T00:30:00+00:00"}
        if feed == "recruitment":
            first = json.loads((source / "manifest.json").read_text())["watermark_to"]
            previous = first if date == day(1) else f"mark {date - dt.timedelta(days=1)}"
            manifest |= {"watermark_from": previous, "watermark_to": f"mark {date}"}
        for entry in manifest["files"]:
            path = target / entry["file"]
            text = path.read_text("utf-8")
            change = (changes or {}).get(entry["table"])
            if feed == "recruitment":
                text = text.split("\n", 1)[0] + "\n"
                entry["rows"] = 0
            if change is not None:
                members = list(csv.DictReader(io.StringIO((source / entry["file"]).read_text("utf-8"), newline="")))
                change(members)
                out = io.StringIO()
                writer = csv.DictWriter(out, fieldnames=list(text.split("\n", 1)[0].split(",")), lineterminator="\n")
                writer.writeheader()
                writer.writerows(members)
                text, entry["rows"] = out.getvalue(), len(members)
            path.write_text(text, "utf-8")
            entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (target / "manifest.json").write_text(json.dumps(manifest))


EVERYTHING = ("history", "sensitive", "quarantine", "core")


def test_the_same_night_again_and_the_next_with_identical_files_change_and_restate_nothing(
    night_copy: Settings,
) -> None:
    before = digest(night_copy, *EVERYTHING)
    assert sum(count for count, _ in before.values()) > 100_000
    for table in ("core.fct_workforce_snapshot", "core.indicator_observation", "sensitive.history_hr_sensitive"):
        assert before[table][0] > 1_000, table
    told = run(FIRST)
    assert any("nothing is due" in line for line in told)
    assert digest(night_copy, *EVERYTHING) == before

    redeliver(night_copy, day(1))
    told = run(day(1))
    assert any("1 months affected" in line for line in told)
    after = digest(night_copy, *EVERYTHING)
    assert {table for table in before if before[table] != after[table]} == set()
    assert rows(night_copy, "select business_date from mart.as_of") == [(day(1),)]
    assert rows(night_copy, "select count(*) from audit.restatement") == [(0,)]


def _officer(settings: Settings) -> str:
    """The person_id of an officer who has served since before 2020 and serves now."""
    return _officers(settings)[0]


def _officers(settings: Settings) -> list[str]:
    (path,) = (settings.sources / "hr" / NIGHT).glob("1/hr_assignment_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        serving = [
            row
            for row in csv.DictReader(file)
            if row["workforce_group"] == "OFF"
            and row["effective_end_date"] == "4712-12-31"
            and row["assignment_status"] == "ACTIVE"
            and row["effective_start_date"] < "2020-01-01"
            and row["rank_code"] == "CON"
        ]
    return [row["person_id"] for row in serving]


def other_sex(settings: Settings) -> Changes:
    """A change that has HR record another sex of an officer."""
    officer = _officer(settings)

    def correct(members: Rows) -> None:
        for row in members:
            if row["person_id"] == officer:
                row["sex"] = "F" if row["sex"] == "M" else "M"

    return {"hr_person": correct}


def test_a_quarantined_officer_is_still_counted_and_marked_held(night_copy: Settings) -> None:
    officer = _officer(night_copy)
    strength = (
        "select sum(headcount), sum(held) from mart.workforce_month"
        " where month_end = '2026-03-31' and workforce_group = 'OFF'"
    )
    (before,) = rows(night_copy, strength)
    assert before[1] == 0

    def spoil(members: Rows) -> None:
        for row in members:
            if row["person_id"] == officer and row["effective_end_date"] == "4712-12-31":
                row["fte"] = "37"

    redeliver(night_copy, day(1), {"hr_assignment": spoil})
    run(day(1))
    assert rows(night_copy, strength) == [(before[0], 1)]
    (held,) = rows(night_copy, "select rules from quarantine.hr_assignment where resolved_on is null")
    assert held == (["fte:fte_in_range"],)

    redeliver(night_copy, day(2))  # mended
    run(day(2))
    assert rows(night_copy, strength) == [before]


def test_a_refused_delivery_leaves_last_night_standing_and_ends_with_its_reason(night_copy: Settings) -> None:
    before = digest(night_copy, "core")

    def lose_north_area(members: Rows) -> None:
        for row in members:
            if row["bcu_code"] == "NA":  # what a careless reader makes of it
                row["bcu_code"] = ""

    redeliver(night_copy, day(1), {"hr_org_unit": lose_north_area})
    with pytest.raises(PeelError) as refusal:
        run(day(1))
    line = str(refusal.value)
    assert "feed hr, delivery 2026-03-11/1, file hr_org_unit_20260310_1.csv, column bcu_code" in line
    assert "rule bcu_codes_complete, count 1" in line
    assert digest(night_copy, "core") == before
    refused = [d for d in document(night_copy)["deliveries"] if d["state"] == "refused"]
    assert [(d["feed"], d["business_date"]) for d in refused] == [("hr", day(1))]


def test_a_lost_delta_is_waited_for_and_then_all_is_as_if_it_had_never_been_late(
    night_copy: Settings, tmp_path: Path
) -> None:
    for number in (1, 2):
        night.deliver(day(number))
    lost = night_copy.sources / "recruitment" / day(1).isoformat()
    kept = tmp_path / "kept"
    lost.rename(kept)
    told = run(day(2))
    assert any("waiting for watermark_from" in line for line in told)
    feed = next(feed for feed in document(night_copy)["feeds"] if feed["feed"] == "recruitment")
    assert feed["is_stale"]
    assert "waits for the delivery with watermark_from" in feed["missing_link"]

    kept.rename(lost)
    run(day(2))
    found = digest(night_copy, *EVERYTHING)
    feed = next(feed for feed in document(night_copy)["feeds"] if feed["feed"] == "recruitment")
    assert not feed["missing_link"]

    # The same three nights, never late: history is the fold of the same list, and the star is built whole.
    with connect(night_copy, "owner") as connection:
        for schema in ("core", "mart", "past"):
            connection.execute(f"drop schema {schema} cascade".encode())
        connection.execute("truncate audit.switch, audit.restatement, audit.past, audit.applied")
    from peel import warehouse

    warehouse.bootstrap(night_copy)
    with connect(night_copy, "owner") as connection:
        for one in contracts.contracts(night_copy.contracts).values():
            connection.execute(f"truncate {one.relation('history')}".encode())
    run(day(2))
    again = digest(night_copy, *EVERYTHING)
    assert {table for table in found if found[table] != again[table]} == set()


def test_an_ordinary_rise_in_rank_affects_one_month_and_a_corrected_sex_every_month(night_copy: Settings) -> None:
    officer = _officer(night_copy)

    def rise(members: Rows) -> None:
        (row,) = [row for row in members if row["person_id"] == officer and row["effective_end_date"] == "4712-12-31"]
        members.append(
            {**row, "rank_code": "SGT", "substantive_rank_code": "SGT", "action_code": "PROMO"}
            | {"effective_start_date": "2026-02-14", "effective_end_date": "4712-12-31"}
        )
        row["effective_end_date"] = "2026-02-13"

    redeliver(night_copy, day(1), {"hr_assignment": rise})
    run(day(1))
    months = "select months from audit.switched_build"
    assert rows(night_copy, months) == [([dt.date(2026, 2, 28), dt.date(2026, 3, 31)],)]

    def correct(members: Rows) -> None:
        for row in members:
            if row["person_id"] == officer:
                row["sex"] = "F" if row["sex"] == "M" else "M"

    redeliver(night_copy, day(2), {"hr_assignment": rise, "hr_person": correct})
    run(day(2))
    ((affected,),) = rows(night_copy, months)
    (counted,) = rows(
        night_copy,
        "select count(distinct s.month_end) from core.fct_workforce_snapshot s join core.fct_workforce_snapshot o"
        " using (person_key) where o.month_end = '2026-03-31' and o.rank_code = 'SGT' and s.workforce_group = 'OFF'"
        " and s.person_key = (select substr(person_id, 1, 32)::uuid from history.hr_assignment where rank_code = 'SGT'"
        " and effective_start_date = '2026-02-14' and known_to is null limit 1)",
    )
    assert len(affected) == counted[0] > 60


def _leaves(officer: str) -> Callable[[Rows], None]:
    """An officer's assignment ends on 5 March."""

    def end(members: Rows) -> None:
        (row,) = [row for row in members if row["person_id"] == officer and row["effective_end_date"] == "4712-12-31"]
        ended = {"assignment_status": "TERMINATED", "action_code": "TERM", "effective_start_date": "2026-03-06"}
        members.append({**row, **ended})
        row["effective_end_date"] = "2026-03-05"

    return end


def _leaving(officer: str, reason: str) -> Callable[[Rows], None]:
    """The event of it."""

    def tell(members: Rows) -> None:
        event = {"event_id": "99999999", "person_id": officer, "event_type": "LEAVE", "workforce_group": "OFF"}
        when = {"event_date": "2026-03-06", "recorded_ts": "2026-03-06T10:00:00+00:00"}
        nothing = dict.fromkeys(members[0], "")
        members.append({**nothing, **event, **when, "leaving_reason_code": reason})

    return tell


ROLLED = (
    "select count_basis, sum(leavers), sum(held_heads), sum(erased_heads), sum(abs(unexplained)) from core.roll_forward"
    " where month_end = '2026-03-31' and workforce_group = 'OFF' group by 1 order by 1"
)


def test_whoever_leaves_without_a_word_is_missed_and_many_stop_the_build(night_copy: Settings) -> None:
    before, (first, *others) = digest(night_copy, "core"), _officers(night_copy)[:3]
    redeliver(night_copy, day(1), {"hr_assignment": _leaves(first)})
    run(day(1))
    assert [row[2:] for row in rows(night_copy, ROLLED)] == [(0, 0, 1)] * 2, "HR may tell of it later"
    failed = "select rule, severity, failed from audit.build_gate_result where outcome = 'failed' order by 1"
    warned = [("every_cell_balances", "warning", 2), ("roll_forward_is_told_in_time", "warning", 1)]
    assert rows(night_copy, failed) == warned

    def leave(members: Rows) -> None:
        for officer in (first, *others):
            _leaves(officer)(members)

    one_left = digest(night_copy, "core")
    redeliver(night_copy, day(2), {"hr_assignment": leave})
    with pytest.raises(PeelError, match=r"the build gate failed.*roll_forward_balances"):
        run(day(2))
    assert digest(night_copy, "core") == one_left

    redeliver(night_copy, day(3), {"hr_assignment": _leaves(first), "hr_service_event": _leaving(first, "RES")})
    run(day(3))
    assert [row[2:] for row in rows(night_copy, ROLLED)] == [(0, 0, 0)] * 2
    snapshot = "core.fct_workforce_snapshot"
    assert before[snapshot][0] == 1 + digest(night_copy, "core")[snapshot][0]


def test_a_leaver_whose_event_is_in_quarantine_is_missing_with_a_reason(night_copy: Settings) -> None:
    officer, ((_, leavers, *_), _) = _officer(night_copy), rows(night_copy, ROLLED)
    gone = {"hr_assignment": _leaves(officer)}
    redeliver(night_copy, day(1), gone | {"hr_service_event": _leaving(officer, "BORED")})
    run(day(1))
    assert [row[1:] for row in rows(night_copy, ROLLED)] == [(leavers, 1, 0, 0)] * 2
    assert rows(night_copy, "select sum(set_aside) from mart.roll_forward where unexplained = 0") == [(2,)]
    told = "select unexplained, unexplained_expected from next.int_roll_forward_total"
    assert rows(night_copy, told) == [(0, 0)]
    held = digest(night_copy, "core")

    # Built whole, it is the same; mended, nothing is missing.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
        run(day(1))
        assert digest(night_copy, "core") == held
    redeliver(night_copy, day(2), gone | {"hr_service_event": _leaving(officer, "RES")})
    run(day(2))
    assert [row[1:] for row in rows(night_copy, ROLLED)] == [(leavers + 1, 0, 0, 0)] * 2


def test_what_is_dated_back_restates_the_months_it_touches(night_copy: Settings) -> None:
    officer = _officer(night_copy)
    months = "select months from audit.switched_build"
    elsewhere = rows(
        night_copy,
        "select org_unit_id from core.dim_org_unit where valid_to is null and bcu_code is null and org_unit_id > 0"
        " and org_type <> 'TRAINING' order by 1 limit 2",
    )

    def post(members: Rows) -> None:
        (row,) = [row for row in members if row["person_id"] == officer and row["effective_end_date"] == "4712-12-31"]
        unit = next(str(one) for (one,) in elsewhere if str(one) != row["org_unit_id"])
        moved = {"org_unit_id": unit, "position_id": "", "action_code": "TRANSFER"}
        members.append({**row, **moved, "effective_start_date": "2025-11-15"})
        row["effective_end_date"] = "2025-11-14"

    redeliver(night_copy, day(1), {"hr_assignment": post})
    run(day(1))
    since = [dt.date(2025, 11, 30), dt.date(2025, 12, 31), dt.date(2026, 1, 31), dt.date(2026, 2, 28)]
    assert rows(night_copy, months) == [([*since, dt.date(2026, 3, 31)],)]

    def declare(members: Rows) -> None:
        (row,) = [row for row in members if row["person_id"] == officer and not row["superseded_ts"]]
        other = "B2" if row["value_code"][0] != "B" else "A1"
        fresh = {"value_code": other, "scheme": "18+1", "source": "SELF_SERVICE"}
        members.append({**row, **fresh, "declared_ts": "2026-01-20T09:00:00+00:00"})
        row["superseded_ts"] = "2026-01-20T09:00:00+00:00"

    redeliver(night_copy, day(2), {"hr_assignment": post, "hr_sensitive": declare})
    run(day(2))
    assert rows(night_copy, months) == [([*since[2:], dt.date(2026, 3, 31)],)]
    assert rows(night_copy, "select month_end from next.int_affected_roll_forward_month order by 1") == [
        (month,) for month in [*since[2:], dt.date(2026, 3, 31)]
    ]
    moved = rows(
        night_copy,
        "select month_end, event_date, movement_type from core.fct_workforce_movement"
        " where movement_kind = 'redeclared' and person_key = (select person_key from core.fct_workforce_movement"
        " where movement_kind = 'posted' and event_date = '2025-11-15') order by 3",
    )
    assert moved == [
        (dt.date(2026, 1, 31), dt.date(2026, 1, 20), "reclassify_in"),
        (dt.date(2026, 1, 31), dt.date(2026, 1, 20), "reclassify_out"),
    ]
    assert rows(night_copy, "select sum(abs(unexplained)) from core.roll_forward") == [(0,)]


def test_a_changed_identifier_of_models_rebuilds_every_month(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(night_copy, "core")
    monkeypatch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
    told = run(FIRST)
    assert any("168 months affected" in line for line in told), told
    assert digest(night_copy, "core") == before
