"""Canaries are planted wherever a person's data could slip through, and everything Peel wrote is searched.

Every direct identifier of the simulated force is a canary too: its numbers, addresses and names are
of ranges that nothing else in the warehouse could show.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from peel import night
from peel.errors import PeelError
from peel.local import postgres
from peel.settings import Settings
from peel.warehouse import connect, parameters

pytestmark = pytest.mark.slow

DATE = "2026-03-10"
CANARY_NI = "QQ77{:04d}D"
WORD = "kanarienvogel"  # a badly typed value with no identifier's shape: held in quarantine, nowhere else
IDENTIFIERS = re.compile(
    rb"QQ ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b|@example\.invalid|07700 ?900 ?\d{3}|7946 ?0\d{3}|\bZX\d{1,2} ?\d[A-Z]{2}\b",
    re.I,
)

Rows = list[dict[str, str]]


def _edit(folder: Path, table: str, change: Callable[[Rows], None]) -> None:
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


def _plant_in_persons(rows: Rows) -> None:
    for number, row in enumerate(rows[:4]):
        row["national_insurance_number"] = CANARY_NI.format(number)
    rows[0]["national_insurance_number"] = "qq 77 00 00 d"  # odd case and spaces
    rows[1]["email"] = "Kanarien.Vogel@EXAMPLE.invalid"
    rows[2]["date_of_birth"] = WORD  # badly typed, in a row with a canary
    rows.append({**rows[3], "home_postcode": "ZX99 9ZZ"})  # a duplicate key
    for row in rows:
        row["mothers_name"] = ""
    rows[1]["mothers_name"] = "Kanarien QQ779999D"  # an undeclared column


def _plant_in_candidates(rows: Rows) -> None:
    rows[0]["email"] = "kanarien.vogel2@example.invalid"
    rows[1]["phone"] = "+44 7700 900999"
    rows[2]["ethnicity_code"] = WORD


@pytest.fixture(scope="module")
def sung(server: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A night into which canaries were planted, and a second delivery refused for what it carried."""
    from tests.conftest import copy_warehouse, point_environment_at

    settings = copy_warehouse(server, tmp_path_factory.mktemp("canary") / "var")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALE", "0.01")
        settings = Settings(**{**settings.__dict__, "scale": 0.01})
        point_environment_at(patch, settings)
        night.deliver(dt.date.fromisoformat(DATE))
        _edit(settings.sources / "hr" / DATE / "1", "hr_person", _plant_in_persons)
        _edit(settings.sources / "recruitment" / DATE / "1", "ats_candidate", _plant_in_candidates)
        night.run_direct(dt.date.fromisoformat(DATE), lambda _: None, simulated=False)

        # The next night a row is shifted by one column, and an NI number stands where a date should.
        next_day = dt.date.fromisoformat(DATE) + dt.timedelta(days=1)
        night.deliver(next_day)

        def shift(rows: Rows) -> None:
            values = list(rows[5].values())
            for name, value in zip(rows[5], [*values[1:], values[0]], strict=True):
                rows[5][name] = value

        _edit(settings.sources / "hr" / next_day.isoformat() / "1", "hr_person", shift)
        with pytest.raises(PeelError) as refusal:
            night.run_direct(next_day, lambda _: None, simulated=False)
    (settings.var / "refusal.txt").write_text(str(refusal.value))
    return settings


def _raw_names(settings: Settings) -> list[bytes]:
    (path,) = (settings.sources / "hr" / DATE).glob("1/hr_person_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return sorted({row["full_name"].encode() for row in csv.DictReader(file) if " " in row["full_name"]})[:300]


def _database(settings: Settings) -> bytes:
    p = parameters(settings, "owner")
    environment = {"PGPASSWORD": p["password"], "PATH": "/usr/bin"}
    command = [str(postgres.programs() / "pg_dump"), "-h", p["host"], "-p", p["port"], "-U", p["user"], p["dbname"]]
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout


def _files(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[str(path)] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def test_no_identifier_is_in_landing(sung: Settings) -> None:
    landed = _files(sung.landing)
    assert len(landed) == 13  # ten tables, and the second night's recruitment; its HR was refused
    for name, data in landed.items():
        assert not IDENTIFIERS.search(data), name


def test_no_identifier_is_in_the_database(sung: Settings) -> None:
    text = _database(sung)
    assert b"COPY history.hr_person" in text
    assert not IDENTIFIERS.search(text)
    assert not [name for name in _raw_names(sung) if name in text]
    assert b"mothers_name" in text  # the undeclared column's name is recorded, nothing of its values


def test_no_identifier_and_no_value_is_in_a_log_a_draft_or_an_error(sung: Settings, server: Settings) -> None:
    written = _files(sung.logs) | _files(sung.drafts) | _files(server.logs)
    written |= {"refusal": (sung.var / "refusal.txt").read_bytes()}
    assert any(name.endswith("dbt.log") for name in written)
    assert any(name.endswith("index.html") for name in written)
    names = _raw_names(sung)
    for name, data in written.items():
        assert not IDENTIFIERS.search(data), name
        assert WORD.encode() not in data, name
        if "drafts" not in name:
            assert not [person for person in names if person in data], name


def test_rows_with_an_unfit_value_are_held_with_their_identifiers_as_tokens(sung: Settings) -> None:
    with connect(sung, "owner") as connection:
        held = connection.execute(
            "select rules, national_insurance_hash from quarantine.hr_person order by rules"
        ).fetchall()
        rules = [tuple(row[0]) for row in held]
        assert rules == [("date_of_birth:type",), ("key_is_unique",), ("key_is_unique",)]
        assert all(len(row[1]) == 64 for row in held)
        unfit = connection.execute("select rules from sensitive.quarantine_ats_candidate").fetchall()
        assert unfit == [(["ethnicity_code:listed_code"],)]


def test_the_shifted_row_refused_its_delivery_and_left_no_file(sung: Settings) -> None:
    line = (sung.var / "refusal.txt").read_text()
    assert "feed hr" in line
    assert "rule identifier_shape" in line
    assert not list((sung.landing / "hr" / "2026-03-11").rglob("*.gz"))


def test_landing_holds_tokens_that_the_warehouse_does_not(sung: Settings) -> None:
    (path,) = (sung.landing / "hr" / DATE).rglob("hr_person.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        tokens = {row["person_id"] for row in csv.DictReader(file)}
    with connect(sung, "owner") as connection:
        keys = {row[0] for row in connection.execute("select person_id from history.hr_person")}
    assert len(tokens) > 300
    assert {len(token) for token in tokens} == {64}
    assert not tokens & keys
