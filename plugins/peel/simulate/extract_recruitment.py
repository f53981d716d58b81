"""What the applicant tracking system has to tell since its last delivery: five tables of changes.

A row is delivered when its source changed it: a candidate when they apply (again) and when they are
made anonymous, an application with every outcome and when HR numbers everyone anew, an outcome once, a
campaign when it opens or changes its process, the sources at first. Each row is as it stands at the end
of the day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peel.simulate import identities, text
from peel.simulate import tables as t
from peel.simulate.days import date_of, day_of, first_day, month_of
from peel.simulate.draws import MILLION, Bools, Ints, scatter_below
from peel.simulate.extract_hr import change_of_system, person_ids
from peel.simulate.text import Table
from peel.simulate.world import World

_SEXES = (*t.SEXES, "U")
_STATUSES = ("OPEN", "REJECTED", "WITHDRAWN", "OFFERED", "STARTED")
_OPEN, REJECTED, WITHDRAWN, OFFERED, _STARTED = range(5)
_REG, _OFFER, _START = (t.STAGES.index(code) for code in ("REG", "OFFER", "START"))
_SECOND_ATTEMPT = 16
_IDENTIFYING = ("full_name", "email", "phone", "date_of_birth")
MONITORED = ("sex", "ethnicity_code", "ethnicity_scheme", "outside_london_flag")
"""Columns of a candidate that serve to monitor equality, beside the sector of the home."""
_KEYS_AN_APPLICATION = 32


def tables(world: World, since: int, day: int) -> Iterator[tuple[str, Table]]:
    """The five tables with their names: what changed after day ``since`` up to and including ``day``."""
    changed = (world.outcomes["day"] > since) & (world.outcomes["day"] <= day)
    turn = change_of_system()
    renumbered = (world.applications["start"] < turn) & (since < turn <= day)
    touched = [world.outcomes["application"][changed], np.flatnonzero(renumbered)]
    applications = np.unique(np.concatenate(touched)).astype(np.int64)
    applied = world.applications["day"]
    entered = np.flatnonzero((applied > since) & (applied <= day))
    anonymised = world.candidates["anonymised"]
    blanked = np.flatnonzero((anonymised > since) & (anonymised <= day))
    candidates = np.union1d(world.applications["candidate"][entered], blanked).astype(np.int64)
    yield "ats_candidate", candidate(world, candidates, day)
    yield "ats_application", application(world, applications, day)
    yield "ats_stage_event", stage_event(world, np.flatnonzero(changed))
    yield "ats_campaign", campaign(world, since, day)
    yield "ats_source", source(world, since)


def _seconds(world: World, applications: Ints, stage: Ints | int, attempt: Ints | int = 1) -> Ints:
    """The second of its day at which an outcome was recorded."""
    keys = applications * _KEYS_AN_APPLICATION + stage + np.where(np.asarray(attempt) > 1, _SECOND_ATTEMPT, 0)
    return scatter_below(world.seed, "outcome", keys, text.WORKING_SECONDS)


def registered(world: World, applications: Ints) -> list[str]:
    """When interest was registered, in UTC: before the second of the day at which the application was made."""
    applied = _seconds(world, applications, _REG)
    seconds = applied * scatter_below(world.seed, "registered", applications, 1000) // 1000
    return text.moments(world.applications["registered"][applications], seconds)


def candidate_ids(world: World, candidates: Ints) -> list[str]:
    """Identifiers of candidates: those of their first application, with other bits turned."""
    turned = np.uint64(0x5555555555555555)
    first = first_applications(world)[candidates]
    high, low = world.applications["id_high"][first], world.applications["id_low"][first]
    return text.uuids(high ^ turned, low ^ turned)


def first_applications(world: World) -> Ints:
    """By candidate: the position of their first application."""
    first = np.full(len(world.candidates), len(world.applications), dtype=np.int64)
    np.minimum.at(first, world.applications["candidate"], np.arange(len(world.applications)))
    return first


def latest_applications(world: World, day: int) -> Ints:
    """By candidate: the position of their last application up to a day, -1 before any."""
    seen = np.flatnonzero(world.applications["day"] <= day)
    latest = np.full(len(world.candidates), -1, dtype=np.int64)
    np.maximum.at(latest, world.applications["candidate"][seen], seen)
    return latest


def candidate(world: World, candidates: Ints, day: int) -> Table:
    """One row per candidate."""
    human = world.candidates["human"][candidates].astype(np.int64)
    people, applications, settings = world.humans, world.applications, world.tables.settings
    first, latest = first_applications(world)[candidates], latest_applications(world, day)[candidates]
    open_sex = scatter_below(world.seed, "no sex", human, 1000) < settings["sex_left_open_per_mille"]
    not_asked = scatter_below(world.seed, "not asked", human, 1000) < settings["ats_not_asked_per_mille"]
    not_asked |= people["declares"][human] == 2
    leaf = np.where(people["declares"][human] == 0, people["leaf"][human], t.NOT_STATED)
    codes = text.codes((*world.tables.leaf_code_18, "NS"), leaf)
    when = world.candidates["anonymised"][candidates].astype(np.int64)
    blank = when <= day
    table = {
        "candidate_id": candidate_ids(world, candidates),
        "full_name": identities.full_names(world, human),
        "email": identities.emails(world, human),
        "phone": identities.phones(world, human),
        "date_of_birth": text.days(people["birth"][human]),
        "sex": text.codes(_SEXES, np.where(open_sex, 2, people["sex"][human])),
        "ethnicity_code": ["" if no else code for code, no in zip(codes, not_asked.tolist(), strict=True)],
        "ethnicity_scheme": text.codes(("18+1", ""), not_asked.astype(np.int64)),
        "home_postcode": identities.postcodes(world, human),
        "outside_london_flag": text.codes(("N", "Y"), (people["district"][human] == 0).astype(np.int64)),
        "consent_version": _consent(applications["day"][latest]),
        "created_ts": registered(world, first),
        "anonymised_ts": text.moments(when, np.zeros(len(when), dtype=np.int64), show=blank),
        "last_modified_ts": text.moments(
            np.where(blank, when, applications["day"][latest]), np.where(blank, 0, _seconds(world, latest, _REG))
        ),
    }
    for column in _IDENTIFYING:
        table[column] = ["" if b else value for value, b in zip(table[column], blank.tolist(), strict=True)]
    keeps = settings["anonymised_keeps_monitoring"]
    for column in MONITORED if not keeps else ():
        table[column] = ["" if b else value for value, b in zip(table[column], blank.tolist(), strict=True)]
    table["home_postcode"] = [
        (f"{code[:-2]}ZZ" if keeps else "") if b else code
        for code, b in zip(table["home_postcode"], blank.tolist(), strict=True)
    ]
    return table


def _consent(days: NDArray[Any]) -> list[str]:
    versions = t.rows("consent")
    starts = np.array([day_of(dt.date.fromisoformat(row["from_day"])) for row in versions])
    return text.codes([row["version"] for row in versions], np.searchsorted(starts, days, side="right") - 1)


def application(world: World, applications: Ints, day: int) -> Table:
    """One row per application, as it stands."""
    state = world.applications
    furthest, status, changed = standing(world, applications, day)
    changed_day, changed_second = changed
    line, month = state["line"][applications].astype(np.int64), state["month"][applications]
    group = np.array([item.group for item in world.tables.lines])[line]
    offered, started = state["offer"][applications] <= day, state["start"][applications] <= day
    turn = change_of_system()
    renumbered = (state["start"][applications] < turn) & (turn <= day)
    reason = np.where(status == WITHDRAWN, state["reason"][applications], 0)
    return {
        "application_id": text.uuids(state["id_high"][applications], state["id_low"][applications]),
        "candidate_id": candidate_ids(world, state["candidate"][applications].astype(np.int64)),
        "campaign_id": _campaigns(line, month),
        "requisition_id": _requisitions(line, month),
        "workforce_group": text.codes(t.GROUPS, group),
        "entry_route": text.codes(t.ROUTES, state["route"][applications]),
        "registered_interest_ts": registered(world, applications),
        "applied_ts": text.moments(state["day"][applications], _seconds(world, applications, _REG)),
        "lrc_basis": text.codes(t.RESIDENCY_BASES, state["basis"][applications]),
        "lrc_pass": text.codes(t.RESIDENCY_PASSES, state["passes"][applications]),
        "source_code": text.codes(world.tables.source_codes, state["source"][applications]),
        "referral_ambassador_id": [
            f"AMB-{n + 1:04d}" if n >= 0 else "" for n in state["ambassador"][applications].tolist()
        ],
        "referral_event_id": _referrals(state["registered"][applications], state["referral"][applications]),
        "current_stage": text.codes(t.STAGES, furthest),
        "current_status": text.codes(_STATUSES, status),
        "withdrawn_reason": text.codes(t.WITHDRAWALS, reason),
        "offer_ts": text.moments(state["offer"][applications], _seconds(world, applications, _OFFER), show=offered),
        "start_date": text.days(state["start"][applications], show=started),
        "person_id": [
            number if known else ""
            for number, known in zip(person_ids(state["person"][applications], day), started.tolist(), strict=True)
        ],
        "last_modified_ts": text.moments(
            np.where(renumbered, turn, changed_day), np.where(renumbered, 0, changed_second)
        ),
    }


def standing(world: World, applications: Ints, day: int) -> tuple[Ints, Ints, tuple[Ints, Ints]]:
    """The furthest stage, the status, and the day and second of the last change of applications."""
    log, count = world.outcomes, len(applications)
    seen = np.flatnonzero((log["day"] <= day) & np.isin(log["application"], applications))
    position = np.searchsorted(applications, log["application"][seen])
    stage, outcome = log["stage"][seen].astype(np.int64), log["outcome"][seen]
    furthest = np.zeros(count, dtype=np.int64)
    np.maximum.at(furthest, position, stage)
    status = np.zeros(count, dtype=np.int64)
    np.maximum.at(status, position, np.where(outcome == t.PASS, _by_stage(stage), _OPEN))
    ended = _ends(outcome, log["again"][seen] > 0)
    status[position[ended]] = np.where(outcome[ended] == t.FAIL, REJECTED, WITHDRAWN)
    second = _seconds(world, log["application"][seen].astype(np.int64), stage, log["attempt"][seen])
    moment = np.zeros(count, dtype=np.int64)
    np.maximum.at(moment, position, log["day"][seen].astype(np.int64) * text.WORKING_SECONDS + second)
    return furthest, status, (moment // text.WORKING_SECONDS, moment % text.WORKING_SECONDS)


def _by_stage(stage: Ints) -> Ints:
    return np.where(stage == _START, _STARTED, np.where(stage == _OFFER, OFFERED, _OPEN))


def _ends(outcome: NDArray[Any], again: Bools) -> Bools:
    """Whether an outcome ends an application: everything but a pass and a failure with a second try."""
    return np.asarray((outcome != t.PASS) & ~((outcome == t.FAIL) & again))


def _campaigns(line: Ints, month: NDArray[Any]) -> list[str]:
    half = month.astype(np.int64) // 6
    return [f"{t.LINES[n]}-{h // 2}H{h % 2 + 1}" for n, h in zip(line.tolist(), half.tolist(), strict=True)]


def _requisitions(line: Ints, month: NDArray[Any]) -> list[str]:
    return [f"R-{t.LINES[n]}-{m // 12}{m % 12 + 1:02d}" for n, m in zip(line.tolist(), month.tolist(), strict=True)]


def _referrals(registered: NDArray[Any], referral: NDArray[Any]) -> list[str]:
    """Events by number and month, which is the one before interest was registered."""
    month = registered.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) + 1970 * 12 - 1
    return [
        f"EV-{m // 12}{m % 12 + 1:02d}-{n:02d}" if n else ""
        for m, n in zip(month.tolist(), referral.tolist(), strict=True)
    ]


def stage_event(world: World, seen: Ints) -> Table:
    """One row per outcome of a stage."""
    log = world.outcomes
    applications, stage = log["application"][seen].astype(np.int64), log["stage"][seen].astype(np.int64)
    seconds = _seconds(world, applications, stage, log["attempt"][seen])
    moments = text.moments(log["day"][seen], seconds)
    score, panel = log["score"][seen].tolist(), log["panel"][seen].tolist()
    state = world.applications
    distinct, which = np.unique(applications, return_inverse=True)
    return {
        "event_id": text.uuids(log["id_high"][seen], log["id_low"][seen]),
        "application_id": text.codes(text.uuids(state["id_high"][distinct], state["id_low"][distinct]), which),
        "stage_code": text.codes(t.STAGES, stage),
        "outcome": text.codes(t.OUTCOMES, log["outcome"][seen]),
        "event_ts": text.local_moments(log["day"][seen], seconds),
        "attempt_no": text.numbers(log["attempt"][seen]),
        "score": [f"{mark // 100}.{mark % 100:02d}" if mark >= 0 else "" for mark in score],
        "assessor_panel_id": [f"PANEL-{number:02d}" if number else "" for number in panel],
        "last_modified_ts": moments,
    }


def campaign(world: World, since: int, day: int) -> Table:
    """One row per campaign, a line's half-year, that opened or changed its process."""
    described = {row["line"]: row for row in t.rows("campaigns")}
    found: list[tuple[str, ...]] = []
    modified: list[int] = []
    today = month_of(date_of(day))
    for line, code in enumerate(t.LINES):
        processes = world.tables.processes[line]
        for half in range(t.FIRST_MONTH // 6, today // 6 + 1):
            opens, closes = max(first_day(6 * half), t.STOCK_DAY + 1), first_day(6 * half + 6) - 1
            turns = [first_day(month) for month, _ in processes]
            changed = max([opens, *(turn for turn in turns if opens < turn <= min(day, closes))])
            if not since < changed <= day:
                continue
            name = f"{described[code]['name']}, {half // 2} H{half % 2 + 1}"
            process = t.in_force(processes, month_of(date_of(changed)))
            target = max(int(described[code]["target_volume"]) * world.scale // MILLION, 1)
            dates = (date_of(opens).isoformat(), date_of(closes).isoformat())
            found.append((f"{code}-{half // 2}H{half % 2 + 1}", name, *dates, str(target), process))
            modified.append(changed)
    columns = ("campaign_id", "name", "open_date", "close_date", "target_volume", "process_version")
    rows = zip(*found, strict=True) if found else ((),) * len(columns)
    return {
        **{column: list(values) for column, values in zip(columns, rows, strict=True)},
        "last_modified_ts": _early(modified),
    }


def source(world: World, since: int) -> Table:
    """One row per source, all of them entered when the history begins."""
    codes = list(world.tables.source_codes) if since <= t.STOCK_DAY else []
    return {
        "source_code": codes,
        "category": codes,
        "last_modified_ts": _early([t.STOCK_DAY + 1] * len(codes)),
    }


def _early(days: list[int]) -> text.Column:
    """Timestamps at the start of working hours."""
    return text.moments(np.array(days, dtype=np.int64), np.zeros(len(days), dtype=np.int64))
