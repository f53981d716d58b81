"""Canaries are planted wherever a person's data could slip through, and everything Peel wrote is searched.

Every direct identifier of the simulated force is a canary too: its numbers, addresses and names are
of ranges that nothing else in the warehouse could show.
"""

from __future__ import annotations

import csv
import datetime as dt
import io

import pytest

from peel import night
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect
from tests.canaries import (
    IDENTIFIERS,
    WORD,
    database_dump,
    edit,
    files,
    plant_in_candidates,
    plant_in_persons,
    raw_names,
    shift,
)
from tests.deliveries import landed_text

pytestmark = pytest.mark.slow

DATE = "2026-03-10"


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
        edit(settings.sources / "hr" / DATE / "1", "hr_person", plant_in_persons)
        edit(settings.sources / "recruitment" / DATE / "1", "ats_candidate", plant_in_candidates)
        night.run_direct(dt.date.fromisoformat(DATE), lambda _: None, simulated=False)

        # The next night a row is shifted by one column, and an NI number stands where a date should.
        next_day = dt.date.fromisoformat(DATE) + dt.timedelta(days=1)
        night.deliver(next_day)
        edit(settings.sources / "hr" / next_day.isoformat() / "1", "hr_person", shift)
        with pytest.raises(PeelError) as refusal:
            night.run_direct(next_day, lambda _: None, simulated=False)
    (settings.var / "refusal.txt").write_text(str(refusal.value))
    return settings


def test_no_identifier_is_in_landing(sung: Settings) -> None:
    landed = files(sung.landing)
    assert len(landed) == 23  # eighteen tables, and the second night's recruitment; its HR was refused
    for name, data in landed.items():
        assert not IDENTIFIERS.search(data), name


def test_no_identifier_is_in_the_database(sung: Settings) -> None:
    text = database_dump(sung)
    assert b"COPY history.hr_person" in text
    assert not IDENTIFIERS.search(text)
    assert not [name for name in raw_names(sung, DATE) if name in text]
    assert b"mothers_name" in text  # the undeclared column's name is recorded, nothing of its values


def test_no_identifier_and_no_value_is_in_a_log_a_draft_or_an_error(sung: Settings, server: Settings) -> None:
    written = files(sung.logs) | files(sung.drafts) | files(server.logs)
    written |= {"refusal": (sung.var / "refusal.txt").read_bytes()}
    assert any(name.endswith("dbt.log") for name in written)
    assert any(name.endswith("index.html") for name in written)
    names = raw_names(sung, DATE)
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
        assert all(len(row[1]) == 32 for row in held)
        unfit = connection.execute("select rules from sensitive.quarantine_ats_candidate").fetchall()
        assert unfit == [(["ethnicity_code:listed_code"],)]


def test_the_shifted_row_refused_its_delivery_and_left_no_file(sung: Settings) -> None:
    line = (sung.var / "refusal.txt").read_text()
    assert "feed hr" in line
    assert "rule identifier_shape" in line
    assert not list((sung.landing / "hr" / "2026-03-11").rglob("*.zst"))


def test_landing_holds_tokens_that_the_warehouse_does_not(sung: Settings) -> None:
    (path,) = (sung.landing / "hr" / DATE).rglob("hr_person.csv.zst")
    with io.StringIO(landed_text(path), newline="") as file:
        tokens = {row["person_id"] for row in csv.DictReader(file)}
    with connect(sung, "owner") as connection:
        keys = {row[0] for row in connection.execute("select person_id from history.hr_person")}
    assert len(tokens) > 300
    assert {len(token) for token in tokens} == {64}
    assert not tokens & keys
