"""Canaries: where they are planted in deliveries, and how what was written is searched for them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from peel.local import postgres
from peel.settings import Settings
from peel.warehouse import parameters
from tests.deliveries import landed_text

NI = "QQ77{:04d}D"
WORD = "kanarienvogel"  # a badly typed value with no identifier's shape: held in quarantine, nowhere else
IDENTIFIERS = re.compile(
    rb"QQ ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b|@example\.invalid|\bZX\d{1,2} ?\d[A-Z]{2}\b"
    # a telephone number must stand alone: hashes are full of digits
    rb"|(?<![0-9a-z])(?:0|\+44 ?(?:\(0\))? ?)(?:7700 ?900 ?|20 ?7946 ?0)\d{3}(?![0-9a-z])",
    re.I,
)

Rows = list[dict[str, str]]


def edit(folder: Path, table: str, change: Callable[[Rows], None]) -> None:
    """Change a delivered file and make its manifest true again."""
    (path,) = folder.glob(f"{table}_*.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    change(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["file"] == path.name:
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "rows": len(rows)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def plant_in_persons(rows: Rows) -> None:
    """Odd case, a badly typed row, a duplicate key and an undeclared column."""
    for number, row in enumerate(rows[:4]):
        row["national_insurance_number"] = NI.format(number)
    rows[0]["national_insurance_number"] = "qq 77 00 00 d"
    rows[1]["email"] = "Kanarien.Vogel@EXAMPLE.invalid"
    rows[2]["date_of_birth"] = WORD
    rows.append({**rows[3], "home_postcode": "ZX99 9ZZ"})
    for row in rows:
        row["mothers_name"] = ""
    rows[1]["mothers_name"] = "Kanarien QQ779999D"


def plant_in_candidates(rows: Rows) -> None:
    """Every identifier of a candidate, and an unlisted code."""
    rows[0]["email"] = "kanarien.vogel2@example.invalid"
    rows[1]["phone"] = "+44 7700 900999"
    rows[2]["ethnicity_code"] = WORD


def shift(rows: Rows) -> None:
    """Shift one row by a column, so that identifiers stand where none belong."""
    values = list(rows[5].values())
    for name, value in zip(list(rows[5]), [*values[1:], values[0]], strict=True):
        rows[5][name] = value


def raw_names(settings: Settings, date: str) -> list[bytes]:
    """Names of invented persons as the source delivered them."""
    (path,) = (settings.sources / "hr" / date).glob("1/hr_person_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return sorted({row["full_name"].encode() for row in csv.DictReader(file) if " " in row["full_name"]})[:300]


def database_dump(settings: Settings, database: str | None = None) -> bytes:
    """A whole database as ``pg_dump`` writes it."""
    p = parameters(settings, "owner")
    environment = {"PGPASSWORD": p["password"], "PATH": "/usr/bin:/bin"}
    program = str(postgres.programs() / "pg_dump")
    command = [program, "-h", p["host"], "-p", p["port"], "-U", p["user"], database or p["dbname"]]
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout


def files(folder: Path) -> dict[str, bytes]:
    """Every plain file below a folder, unpacked."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[str(path)] = landed_text(path).encode() if path.suffix == ".zst" else data
    return found
