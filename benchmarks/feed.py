"""The delivery the loading benchmark takes in: 16 columns, two identifiers, typed and listed columns, dates."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from pathlib import Path

import numpy as np

_QUARANTINE = "customProperties: [{property: onFailure, value: quarantine}]"
_NULL = "type: custom, engine: greatExpectations, implementation: {type: expect_column_values_to_be_null, kwargs:"

CONTRACT = f"""
apiVersion: v3.2.0
kind: DataContract
id: bench_assignment
version: 1.0.0
status: active
dataProduct: bench
description: {{purpose: What the loading benchmark takes in.}}
schema:
  - name: bench_assignment
    physicalType: table
    dataGranularityDescription: a period in which one person held one post
    properties:
      - {{name: assignment_id, logicalType: integer, physicalType: bigint, primaryKey: true, primaryKeyPosition: 1, required: true, classification: internal, description: Key.}}
      - {{name: person_id, logicalType: string, physicalType: text, required: true, classification: pseudonymised, description: Person., customProperties: [{{property: identifier, value: person_id}}]}}
      - {{name: supervisor_id, logicalType: string, physicalType: text, required: true, classification: pseudonymised, description: Supervisor., customProperties: [{{property: identifier, value: person_id}}]}}
      - {{name: primary_flag, logicalType: string, physicalType: text, required: true, classification: internal, enum: [{{value: "Y"}}, {{value: "N"}}], description: Primary.}}
      - {{name: assignment_status, logicalType: string, physicalType: text, required: true, classification: internal, enum: [{{value: ACTIVE}}, {{value: SUSPENDED}}, {{value: MATERNITY}}, {{value: CAREER_BREAK}}], description: Status.}}
      - {{name: workforce_group, logicalType: string, physicalType: text, required: true, classification: internal, enum: [{{value: "OFF"}}, {{value: STAFF}}, {{value: PCSO}}], description: Group.}}
      - {{name: rank_code, logicalType: string, physicalType: text, classification: internal, enum: [{{value: CON}}, {{value: SGT}}, {{value: INS}}], description: Rank.}}
      - {{name: band, logicalType: string, physicalType: text, classification: internal, logicalTypeOptions: {{pattern: "^[A-Z]$"}}, description: Band.}}
      - {{name: position_id, logicalType: integer, physicalType: bigint, classification: internal, description: Post.}}
      - {{name: org_unit_id, logicalType: integer, physicalType: bigint, required: true, classification: internal, description: Unit.}}
      - {{name: location_code, logicalType: string, physicalType: text, classification: internal, logicalTypeOptions: {{pattern: "^[A-Z0-9_-]+$", maxLength: 20}}, description: Site.}}
      - {{name: fte, logicalType: number, physicalType: "numeric(6,3)", required: true, classification: internal, description: FTE., quality: [{{name: fte_in_range, type: custom, engine: greatExpectations, implementation: {{type: expect_column_values_to_be_between, kwargs: {{min_value: 0.001, max_value: 1}}}}, {_QUARANTINE}}}]}}
      - {{name: effective_start_date, logicalType: date, physicalType: date, required: true, classification: internal, description: From.}}
      - {{name: effective_end_date, logicalType: date, physicalType: date, classification: internal, description: To., customProperties: [{{property: openEnd, value: "4712-12-31"}}]}}
      - {{name: action_code, logicalType: string, physicalType: text, classification: internal, enum: [{{value: HIRE}}, {{value: PROMO}}, {{value: TRANSFER}}], description: Action.}}
      - {{name: last_update_ts, logicalType: timestamp, physicalType: timestamptz, required: true, classification: internal, description: Changed.}}
    quality:
      - {{name: key_is_unique, type: custom, engine: greatExpectations, implementation: {{type: expect_column_values_to_be_unique, kwargs: {{column: assignment_id}}}}, {_QUARANTINE}}}
      - {{name: rank_for_officers_only, {_NULL} {{column: _rank_for_officers_only}}}}, customProperties: [{{property: onFailure, value: quarantine}}, {{property: unfitWhen, value: "(workforce_group = 'OFF') <> (rank_code is not null)"}}]}}
      - {{name: period_ends_before_it_starts, {_NULL} {{column: _period_ends_before_it_starts}}}}, customProperties: [{{property: onFailure, value: quarantine}}, {{property: unfitWhen, value: "typed_effective_end_date < typed_effective_start_date"}}]}}
slaProperties: [{{property: latency, value: "03:00", unit: "Europe/London"}}, {{property: freshness, value: 26, unit: h}}]
customProperties: [{{property: mode, value: full}}, {{property: cadence, value: nightly}}, {{property: sourceKind, value: simulated}}, {{property: reader, value: csv}}, {{property: volumeBand, value: 0.03}}, {{property: quarantineLimit, value: 0.005}}]
"""

HEADER = {
    "assignment_id": "bigint",
    "person_id": "text",
    "supervisor_id": "text",
    "primary_flag": "text",
    "assignment_status": "text",
    "workforce_group": "text",
    "rank_code": "text",
    "band": "text",
    "position_id": "bigint",
    "org_unit_id": "bigint",
    "location_code": "text",
    "fte": "numeric(6,3)",
    "effective_start_date": "date",
    "effective_end_date": "date",
    "action_code": "text",
    "last_update_ts": "timestamptz",
}


def table(rows: int, changed: float = 0.0, seed: int = 1, rows_a_person: int = 3) -> bytes:
    """A file of ``rows`` rows; ``changed`` is the share of them that differs from the first night's.

    Args:
        rows: rows.
        changed: share.
        seed: of everything drawn.
        rows_a_person: periods of each person, one after another as an HR extract has them; 1 makes every row
            another person's, which is the most that pseudonyms can cost.
    """
    draw = np.random.default_rng(seed)
    day = np.datetime64("2004-01-01")
    number = np.arange(rows)
    officer = draw.integers(0, 100, rows) < 70
    rank = np.where(officer, np.array(["CON", "CON", "CON", "SGT", "INS"])[draw.integers(0, 5, rows)], "")
    band = np.where(officer, "", np.array(list("BCDEF"))[draw.integers(0, 5, rows)])
    start = day + draw.integers(0, 7000, rows)
    closed = draw.integers(0, 100, rows) < 60
    end = np.where(closed, start + draw.integers(1, 900, rows), np.datetime64("4712-12-31"))
    fte = np.array(["1.000", "1.000", "1.000", "0.500", "0.800"])[draw.integers(0, 5, rows)]
    place = draw.integers(0, 400, rows)
    if changed:
        other = np.random.default_rng(seed + 1)
        fte[other.permutation(rows)[: int(rows * changed)]] = "0.600"
    columns = [
        (100_000 + number).astype(str),
        (7_000_000 + number // rows_a_person).astype(str),
        (7_000_000 + draw.integers(0, 9_000, rows)).astype(str),
        np.array(["Y", "N"])[(draw.integers(0, 20, rows) == 0).astype(int)],
        np.array(["ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDED", "MATERNITY", "CAREER_BREAK"])[draw.integers(0, 6, rows)],
        np.where(officer, "OFF", np.array(["STAFF", "PCSO"])[draw.integers(0, 2, rows)]),
        rank,
        band,
        (30_000 + number % 40_000).astype(str),
        (1_000 + place).astype(str),
        np.char.add("SITE-", place.astype(str)),
        fte,
        start.astype(str),
        end.astype(str),
        np.array(["HIRE", "PROMO", "TRANSFER"])[draw.integers(0, 3, rows)],
        np.char.add((day + draw.integers(7000, 8000, rows)).astype("datetime64[s]").astype(str), "+00:00"),
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()


def deliver(sources: Path, business_date: dt.date, data: bytes, rows: int) -> Path:
    """Drop a file as the feed's delivery of a date; the path of the file."""
    folder = sources / "bench" / business_date.isoformat() / "1"
    folder.mkdir(parents=True)
    path = folder / "bench_assignment.csv"
    path.write_bytes(data)
    manifest = {
        "feed": "bench",
        "business_date": business_date.isoformat(),
        "seq": 1,
        "schema_version": "1.0.0",
        "mode": "full",
        "extract_ts": f"{business_date + dt.timedelta(days=1)}T00:30:00+00:00",
        "watermark_from": None,
        "watermark_to": None,
        "files": [
            {
                "file": path.name,
                "table": "bench_assignment",
                "sha256": hashlib.sha256(data).hexdigest(),
                "rows": rows,
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return path
