"""Whatever is wrong with a delivery, it is refused with one line naming feed, delivery, file, rule and count."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from peel import night
from peel.cli import main
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect
from tests.deliveries import csv_bytes, deliver, landed_text
from tests.toys import FULL, row

pytestmark = pytest.mark.slow

CANARY = "QQ987654D"
Change = Callable[[Path], None]


def _file(folder: Path) -> Path:
    return next(folder.glob("*.csv"))


def _remove_file(folder: Path) -> None:
    _file(folder).unlink()


def _alter_file(folder: Path) -> None:
    path = _file(folder)
    path.write_bytes(path.read_bytes().replace(b"plain", b"plane"))


def _cut_off(folder: Path) -> None:
    path = _file(folder)
    path.write_bytes(path.read_bytes()[:-20])


def _link(folder: Path) -> None:
    path = _file(folder)
    path.rename(folder.parent / "elsewhere.csv")
    path.symlink_to(folder.parent / "elsewhere.csv")


def _manifest(**claims: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | claims))

    return change


def _entry(**claims: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"][0] |= claims
        path.write_text(json.dumps(manifest))

    return change


def _no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"feed": "toy",')


FAULTS: dict[str, tuple[Change, str]] = {
    "a missing file": (_remove_file, "file toy_20260102_1.csv, rule file_present"),
    "an altered file": (_alter_file, "file toy_20260102_1.csv, rule checksum"),
    "a file cut off": (_cut_off, "file toy_20260102_1.csv, rule field_count, count 1"),
    "a symbolic link": (_link, "file toy_20260102_1.csv, rule file_present"),
    "a manifest that is no JSON": (_no_json, "file manifest.json, rule manifest_readable"),
    "a manifest of another day": (_manifest(business_date="2026-01-03"), "rule manifest_business_date"),
    "a business date that is no date": (_manifest(business_date="2026-02-30"), "rule manifest_business_date"),
    "a manifest of another feed": (_manifest(feed="hr"), "rule manifest_feed"),
    "a manifest of another number": (_manifest(seq=7), "rule manifest_seq"),
    "a manifest of another mode": (_manifest(mode="delta"), "rule manifest_mode"),
    "an extract time without a zone": (_manifest(extract_ts="2026-01-03T00:30:00"), "rule manifest_extract_ts"),
    "a stale extract": (_manifest(extract_ts="2026-01-01T00:30:00+00:00"), "rule freshness"),
    "no files": (_manifest(files=[]), "rule manifest_complete"),
    "a wrong row count": (_entry(rows=3), "file toy_20260102_1.csv, rule row_count"),
    "a path out of the folder": (_entry(file="../toy.csv"), "rule manifest_file_name"),
    "an absolute path": (_entry(file="/etc/hostname"), "rule manifest_file_name"),
    "an unknown table": (_entry(table="unknown"), "rule manifest_table"),
}


def _take_in(here: Settings) -> str:
    """Run the night's ingest steps as a night does; the refusal's line."""
    landed = night.land("toy", dt.date(2026, 1, 2))
    night.gate("toy")
    with pytest.raises(PeelError) as refusal:
        night.apply("toy", landed["refused"])
    return str(refusal.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_delivery_is_refused_with_one_clear_line(
    fault: str, with_contracts: Callable[[dict[str, str]], Settings]
) -> None:
    here = with_contracts(FULL)
    change, expected = FAULTS[fault]
    change(deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1), row(2)]}))
    line = _take_in(here)
    assert line.startswith("feed toy, delivery 2026-01-02/1")
    assert expected in line
    assert "\n" not in line
    with connect(here, "owner") as connection:
        assert connection.execute("select state, reason from audit.delivery").fetchall() == [("refused", line)]
    assert [path for path in here.landing.rglob("*.zst") if "freshness" not in expected] == []


CONTENTS: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "rule file_not_empty"),
    "a header and no row": (csv_bytes([], list(row(1))), "rule file_not_empty, count 0"),
    "a missing column": (csv_bytes([{k: v for k, v in row(1).items() if k != "born"}]), "rule header, count 1"),
    "no header": (csv_bytes([row(1, note=CANARY)]).split(b"\n", 1)[1], "rule header"),
    "a column twice": (csv_bytes([row(1)]).replace(b"full_name", b"note"), "rule header, count 1"),
    "a wrong delimiter": (csv_bytes([row(1)]).replace(b",", b";"), "rule header"),
    "CP1252 instead of UTF-8": (csv_bytes([row(1, note="naïve")]).decode().encode("cp1252"), "rule encoding"),
    "an unquoted comma": (csv_bytes([row(1), row(2)]) + b"3,a,b,c,d,e,f,g,h,i\n", "rule field_count, count 1"),
    "a field of 10 MB": (csv_bytes([row(1, note="x" * 10_000_000)]), "rule field_size"),
    "an embedded NUL": (csv_bytes([row(1, note="a\x00b")]), "column note, rule control_characters, count 1"),
    "an NI number in free text": (
        csv_bytes([row(1), row(2, note=f"call {CANARY}")]),
        "column note, rule identifier_shape_ni_number, count 1",
    ),
    "a shifted row": (
        csv_bytes([row(1, born=CANARY, amount="1980-01-31")]),
        "column born, rule identifier_shape_ni_number, count 1",
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_unfit_contents_are_refused_and_nothing_is_left_behind(
    content: str, with_contracts: Callable[[dict[str, str]], Settings]
) -> None:
    here = with_contracts(FULL)
    data, expected = CONTENTS[content]
    deliver(here.sources, "toy", "2026-01-02", {"toy": data})
    line = _take_in(here)
    assert line.startswith("feed toy, delivery 2026-01-02/1, file toy_20260102_1.csv")
    assert expected in line
    assert CANARY not in line
    assert not list(here.landing.rglob("*.zst"))


def test_a_folder_that_is_no_date_is_named_and_keeps_nothing_from_being_taken_in(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1)]})
    (here.sources / "toy" / "2026-02-30" / "1").mkdir(parents=True)
    line = _take_in(here)
    assert "feed toy, delivery 2026-02-30/1, rule business_date" in line
    with connect(here, "owner") as connection:
        assert connection.execute("select count(*) from history.toy").fetchone() == (1,)


def test_a_delivery_still_arriving_is_left_alone(with_contracts: Callable[[dict[str, str]], Settings]) -> None:

    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1)]})
    manifest = (folder / "manifest.json").rename(folder.parent / "manifest.later")
    assert night.land("toy", dt.date(2026, 1, 2))["landed"] == []
    manifest.rename(folder / "manifest.json")
    assert len(night.land("toy", dt.date(2026, 1, 2))["landed"]) == 1


def test_a_corrected_redelivery_in_the_same_folder_is_taken_in(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:

    import shutil

    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": b""})
    assert _take_in(here)
    shutil.rmtree(folder)
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1)]})
    landed = night.land("toy", dt.date(2026, 1, 2))
    night.gate("toy")
    assert landed["refused"] == []
    assert night.apply("toy", landed["refused"])["states"] == {"applied": 1, "refused": 1}


def test_a_corrected_manifest_of_the_same_files_is_taken_in(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1)]})
    _entry(rows=7)(folder)
    assert "rule row_count" in _take_in(here)
    _entry(rows=1)(folder)
    landed = night.land("toy", dt.date(2026, 1, 2))
    night.gate("toy")
    assert landed["refused"] == []
    assert night.apply("toy", landed["refused"])["states"] == {"applied": 1, "refused": 1}


def test_an_extra_column_is_named_and_its_values_are_never_written(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:

    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1, nickname=CANARY)]})
    assert len(night.land("toy", dt.date(2026, 1, 2))["landed"]) == 1
    with connect(here, "owner") as connection:
        warned = "select column_name from audit.gate_result where rule = 'undeclared_column'"
        assert connection.execute(warned).fetchall() == [("nickname",)]
    (landed,) = here.landing.rglob("*.csv.zst")
    assert CANARY not in landed_text(landed)


@pytest.mark.parametrize("date", ["2026-02-30", "yesterday", "26-01-01"])
def test_a_night_of_no_date_ends_non_zero(here: Settings, date: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["night", date, "--direct"]) == 1
    assert "DATE is no date" in capsys.readouterr().err


def test_a_night_that_has_not_been_ends_non_zero(here: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["night", "2999-01-01", "--direct"]) == 1
    assert "before today" in capsys.readouterr().err
