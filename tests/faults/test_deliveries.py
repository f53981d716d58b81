"""Deliveries that are late, early, twice, half there, in the way or too large for the disk."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime as dt
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peel import contracts, night
from peel.builds.build import arriving
from peel.deliveries import landing
from peel.deliveries.decisions import Signed, map_code
from peel.deliveries.landing import land_feed
from peel.errors import PeelError
from peel.gates.delivery import gate_feed
from peel.history.apply import apply_feed
from peel.london import LONDON
from peel.settings import Settings
from peel.status import document, lines
from peel.warehouse import connect
from tests.conftest import copy_warehouse, drop_warehouse, dump, point_environment_at
from tests.deliveries import csv_bytes, deliver, landed_text
from tests.toys import DELTA, FULL, contract, row

pytestmark = pytest.mark.slow

WithContracts = Callable[[dict[str, str]], Settings]
DATE = dt.date(2026, 1, 2)
TWO = [row(1), row(2)]


def take_in(date: dt.date = DATE) -> str | None:
    """A night's ingest steps; the refusal's line, if there is one."""
    landed = night.land("toy", date)
    night.gate("toy")
    try:
        night.apply("toy", landed["refused"])
    except PeelError as refusal:
        return str(refusal)
    return None


def rows(here: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(here, "owner") as connection:
        return connection.execute(query.encode()).fetchall()


def unusable(here: Settings) -> list[str]:
    return [line for line in lines(here) if line.startswith("UNUSABLE")]


def at(monkeypatch: pytest.MonkeyPatch, moment: dt.datetime) -> None:
    monkeypatch.setattr(landing, "now", lambda: moment)


# Early, late, lost and twice.


def test_a_delivery_for_a_day_to_come_waits_for_the_day_and_is_named(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    deliver(here.sources, "toy", "2026-01-04", {"toy": [row(3)]})
    at(monkeypatch, dt.datetime(2026, 1, 3, 23, 59, tzinfo=LONDON))
    for _ in range(2):
        assert take_in() is None
        (line,) = unusable(here)
        assert "feed toy, delivery 2026-01-04/1, rule future_date: its business date has not come" in line
    assert rows(here, "select business_date::text, state from audit.delivery") == [("2026-01-02", "applied")]

    at(monkeypatch, dt.datetime(2026, 1, 4, 0, 0, tzinfo=LONDON))
    assert take_in() is None
    assert unusable(here) == []
    assert rows(here, "select toy_id, known_from::text from history.toy where known_to is null") == [(3, "2026-01-04")]


def test_a_delivery_for_a_day_to_come_holds_no_build_up(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2999-01-04", {"toy": TWO})
    feeds = contracts.feeds(here.contracts)
    with connect(here, "transform") as connection:
        assert arriving(here, connection, feeds) == []
        deliver(here.sources, "toy", "2026-01-04", {"toy": TWO})
        assert arriving(here, connection, feeds) == ["toy"]


def test_a_manifest_that_never_comes_is_named_once_it_is_due(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    manifest = (folder / "manifest.json").rename(folder.parent / "manifest.later")
    at(monkeypatch, dt.datetime(2026, 1, 3, 2, 59, tzinfo=LONDON))
    assert take_in() is None
    assert unusable(here) == []
    at(monkeypatch, dt.datetime(2026, 1, 3, 3, 0, tzinfo=LONDON))
    assert take_in() is None
    (line,) = unusable(here)
    assert "feed toy, delivery 2026-01-02/1, rule manifest_present" in line
    manifest.rename(folder / "manifest.json")
    assert take_in() is None
    assert unusable(here) == []
    assert rows(here, "select state from audit.delivery") == [("applied",)]


def test_a_folder_that_was_renamed_or_removed_is_no_longer_named(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    for name in ("2026-02-30/1", "2026-01-02/0", "2026-01-02/-1", "2026-01-02/1.5", "2026-01-02/10000", "soon/1"):
        (here.sources / "toy" / name).mkdir(parents=True)
    assert "rule business_date" in (take_in() or "")
    assert len(unusable(here)) == 6
    shutil.rmtree(here.sources / "toy")
    deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    assert take_in() is None
    assert unusable(here) == []


def test_a_delivery_before_the_baseline_is_refused_with_that_reason(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    with connect(here, "owner") as connection:
        connection.execute("insert into audit.baseline (feed, business_date) values ('toy', '2026-01-02')")
    deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    line = take_in() or ""
    assert "feed toy, delivery 2026-01-02/1, rule baseline: history to 2026-01-02 is the baseline" in line
    assert not list(here.landing.rglob("*.zst"))
    deliver(here.sources, "toy", "2026-01-03", {"toy": TWO})
    assert take_in(dt.date(2026, 1, 3)) is None
    assert rows(here, "select count(*) from history.toy") == [(2,)]


def test_the_same_file_under_another_name_changes_no_row(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": [*TWO, row(3, born="never")]})
    assert take_in() is None
    before = dump(here, "history")
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": [*TWO, row(3, born="never")]}, seq=2)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    (folder / manifest["files"][0]["file"]).rename(folder / "copy_of_toy.csv")
    manifest["files"][0]["file"] = "copy_of_toy.csv"
    path.write_text(json.dumps(manifest))
    assert take_in() is None
    assert rows(here, "select seq, state from audit.delivery order by seq") == [(1, "replaced"), (2, "applied")]
    versions = "select toy_id, row_hash, known_from, known_to from history.toy order by 1"
    assert len(rows(here, versions)) == 2
    assert [line.replace(_id(here, 2), _id(here, 1)) for line in dump(here, "history")["history.toy"]] == before[
        "history.toy"
    ]
    assert rows(here, "select count(*) from quarantine.toy where applied_on is not null") == [(1,)]


def _id(here: Settings, seq: int) -> str:
    return str(rows(here, f"select delivery_id from audit.delivery where seq = {seq}")[0][0])


def test_a_table_or_file_that_is_named_twice_is_refused(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"].append(manifest["files"][0] | {"file": "toy_again.csv"})
    path.write_text(json.dumps(manifest))
    assert "file manifest.json, rule manifest_table" in (take_in() or "")


def test_what_a_killed_landing_left_half_written_is_removed_even_if_the_source_replaced_it(
    with_contracts: WithContracts,
) -> None:
    here = with_contracts(FULL)
    left = here.landing / "toy" / "2026-01-02" / "1" / ".0123456789ab.partial"
    left.mkdir(parents=True)
    (left / "toy.csv.zst").write_bytes(b"half")
    deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    assert take_in() is None
    assert not [path for path in here.landing.rglob("*") if path.name.startswith(".")]


def test_a_mistaken_clock_on_the_file_means_nothing(with_contracts: WithContracts) -> None:
    """The business date is the manifest's; at half past midnight in summer the clock is in another day."""
    here = with_contracts(FULL)
    folder = deliver(
        here.sources, "toy", "2026-07-01", {"toy": TWO}, claims={"extract_ts": "2026-07-02T00:30:00+01:00"}
    )
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert take_in(dt.date(2026, 7, 1)) is None
    assert rows(here, "select distinct known_from::text from history.toy") == [("2026-07-01",)]


# Manifests.


def _deep(_: dict[str, Any]) -> bytes:
    return b'{"files": ' + b"[" * 100_000


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "endlessly nested": (_deep, "manifest_readable"),
    "over a megabyte": (lambda m: json.dumps(m | {"more": "x" * 1_100_000}).encode(), "manifest_readable"),
    "no object": (lambda m: json.dumps([m]).encode(), "manifest_readable"),
    "in UTF-16": (lambda m: json.dumps(m).encode("utf-16"), "manifest_readable"),
    "empty": (lambda _: b"", "manifest_readable"),
    "of a number as text": (lambda m: json.dumps(m | {"seq": "1"}).encode(), "manifest_seq"),
    "of a number as true": (lambda m: json.dumps(m | {"seq": True}).encode(), "manifest_seq"),
    "without a version": (lambda m: json.dumps(m | {"schema_version": None}).encode(), "manifest_complete"),
    "of a file that is none": (lambda m: json.dumps(m | {"files": ["toy.csv"]}).encode(), "manifest_complete"),
}


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_manifest_that_is_none_is_refused(with_contracts: WithContracts, fault: str) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    change, rule = MANIFESTS[fault]
    path = folder / "manifest.json"
    path.write_bytes(change(json.loads(path.read_text())))
    assert f"feed toy, delivery 2026-01-02/1, file manifest.json, rule {rule}" in (take_in() or "")


def test_a_delta_without_or_with_a_circular_watermark_is_refused(with_contracts: WithContracts) -> None:
    here = with_contracts(DELTA)
    for seq, marks in ((1, ("a", None)), (2, ("a", "a")), (3, ("a", "b" * 65))):
        deliver(here.sources, "drip", "2026-01-02", {"drip": TWO}, seq=seq, mode="delta", watermarks=marks)
    refused = night.land("drip", DATE)["refused"]
    assert [line.split(", rule ")[1].split(":")[0] for line in refused] == ["manifest_watermark"] * 3


# What stands where a file should be.


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)  # opened, it would be waited for without end


def _socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:  # a socket's address must be short
        one.bind(path.name)


def _link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["toy_20260102_1.csv", "manifest.json"])
@pytest.mark.parametrize("put", [_directory, _pipe, _socket, _link_to_a_device])
def test_what_is_no_plain_file_is_not_opened(
    with_contracts: WithContracts, put: Callable[[Path], None], name: str
) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    (folder / name).unlink()
    put(folder / name)
    rule = "manifest_present" if name == "manifest.json" else "file_present"
    assert f"delivery 2026-01-02/1, file {name}, rule {rule}" in (take_in() or "")


def test_a_file_that_comes_after_its_manifest_is_taken_in_when_it_comes(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    late = (folder / "toy_20260102_1.csv").rename(folder.parent / "late")
    assert "rule file_present" in (take_in() or "")
    late.rename(folder / "toy_20260102_1.csv")
    assert take_in() is None
    assert rows(here, "select state from audit.delivery order by 1") == [("applied",), ("refused",)]


def test_a_file_that_changes_while_it_is_landed_is_refused(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = with_contracts(FULL)
    folder = deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    hashed = landing._file_sha256

    def and_then_written(source: Any, offer: Any, name: str) -> str | None:
        found = hashed(source, offer, name)
        (folder / name).write_bytes(csv_bytes([row(1), row(2, amount="9.99")]))
        return found

    monkeypatch.setattr(landing, "_file_sha256", and_then_written)
    assert "rule checksum" in (take_in() or "")
    assert not list(here.landing.rglob("*.zst"))


@pytest.fixture
def nobody(server: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation that belongs to an ordinary user; root may read anything."""
    folder = Path(tempfile.mkdtemp(prefix="peel-nobody-"))
    settings = copy_warehouse(server, folder / "var")
    for name, text in FULL.items():
        path = folder / "home" / "expectations" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (folder / "home" / "dbt_project").mkdir()
    settings = dataclasses.replace(settings, home=folder / "home")
    point_environment_at(monkeypatch, settings)
    yield settings
    drop_warehouse(server, settings)
    shutil.rmtree(folder)


@contextlib.contextmanager
def as_an_ordinary_user(folder: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_refused_and_taken_in_once_it_may_be_read(nobody: Settings) -> None:
    deliver(nobody.sources, "toy", "2026-01-01", {"toy": TWO})
    night.land("toy", DATE)  # what is imported late is imported now
    folder = deliver(nobody.sources, "toy", "2026-01-02", {"toy": TWO})
    (path,) = folder.glob("*.csv")
    path.chmod(0)
    with as_an_ordinary_user(nobody.var.parent):
        (line,) = night.land("toy", DATE)["refused"]
    assert "file toy_20260102_1.csv, rule file_readable: it cannot be read (Permission denied)" in line
    path.chmod(0o644)
    path.touch()  # as a file that is put right, it is another one
    with as_an_ordinary_user(nobody.var.parent):
        assert len(night.land("toy", DATE)["landed"]) == 1


def test_a_landing_store_without_permission_is_an_error_and_refuses_nothing(nobody: Settings) -> None:
    deliver(nobody.sources, "toy", "2026-01-01", {"toy": TWO})
    night.land("toy", DATE)
    deliver(nobody.sources, "toy", "2026-01-02", {"toy": TWO})
    (nobody.landing / "toy").chmod(0o500)
    with (
        as_an_ordinary_user(nobody.var.parent),
        pytest.raises(PeelError, match=r"rule landing_store.*Permission denied"),
    ):
        night.land("toy", DATE)
    (nobody.landing / "toy").chmod(0o700)
    with as_an_ordinary_user(nobody.var.parent):
        assert len(night.land("toy", DATE)["landed"]) == 1


# The disk.


def _much() -> list[dict[str, object]]:
    """Rows that do not pack well."""
    draw = random.Random(1829)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [row(n, note="".join(draw.choices(letters, k=200))) for n in range(2_000)]


def _is_full_then_lands(here: Settings, full: contextlib.AbstractContextManager[None]) -> None:
    deliver(here.sources, "toy", "2026-01-02", {"toy": _much()})
    with full:
        with pytest.raises(PeelError, match="rule landing_store: the landing store cannot be written") as error:
            night.land("toy", DATE)
        assert "nothing was changed. Make room" in str(error.value)
        assert not list(here.landing.rglob("*.zst"))
        assert not list(here.landing.rglob("*.partial"))
    assert rows(here, "select count(*) from audit.delivery") == [(0,)]
    assert take_in() is None
    assert rows(here, "select count(*) from history.toy") == [(2_000,)]


def test_a_disk_that_takes_no_more_leaves_nothing_behind(with_contracts: WithContracts) -> None:
    """A file larger than the process may write (EFBIG): what anyone can bring about, root or not."""

    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    _is_full_then_lands(with_contracts(FULL), limited())


def test_a_full_disk_leaves_nothing_behind(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    here.landing.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(here.landing)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")

    @contextlib.contextmanager
    def mounted() -> Iterator[None]:
        try:
            yield
        finally:
            assert ctypes.CDLL(None).umount2(str(here.landing).encode(), 2) == 0

    _is_full_then_lands(here, mounted())


# What happened to the landing store afterwards.


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_landed_file_that_was_damaged_is_told_of_and_nothing_of_it_is_used(
    with_contracts: WithContracts, damage: str
) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": _much()})
    night.land("toy", DATE)
    (path,) = here.landing.rglob("*.zst")
    data = path.read_bytes()
    whole = {
        "cut": data[: len(data) // 2],
        "flipped": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        "empty": b"",
    }
    path.unlink()
    if damage in whole:
        path.write_bytes(whole[damage])
    with pytest.raises(PeelError, match="rule landing_intact: the landed file is damaged"):
        night.gate("toy")
    assert rows(here, "select state from audit.delivery") == [("landed",)]


def test_a_byte_order_mark_and_crlf_are_taken_in_and_told(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    data = b"\xef\xbb\xbf" + csv_bytes([row(1, note="café"), row(2)]).replace(b"\n", b"\r\n")
    deliver(here.sources, "toy", "2026-01-02", {"toy": data})
    assert take_in() is None
    assert rows(here, "select note from history.toy order by 1") == [("café",), ("plain",)]
    noted = "select rule, on_failure from audit.gate_result where on_failure = 'warn' order by 1"
    assert rows(here, noted) == [("byte_order_mark", "warn"), ("line_ends_crlf", "warn")]


CURLY = csv_bytes([row(1, note="the “Met”")]).decode()


def test_cp1252_that_is_declared_is_taken_in_and_what_is_not_is_refused(with_contracts: WithContracts) -> None:
    declared = contract("toy", "toy", "full").replace(
        "reader, value: csv}", "reader, value: csv}, {property: readerOptions, value: {encoding: cp1252}}"
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": declared})
    deliver(here.sources, "toy", "2026-01-02", {"toy": CURLY.encode("cp1252")})
    assert take_in() is None
    assert rows(here, "select note from history.toy") == [("the “Met”",)]
    assert ("encoding_cp1252",) in rows(here, "select rule from audit.gate_result where on_failure = 'warn'")

    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-03", {"toy": CURLY.encode("cp1252")})
    assert "rule encoding" in (take_in(dt.date(2026, 1, 3)) or "")


ENCODINGS: dict[str, tuple[bytes, str]] = {
    "UTF-16": (CURLY.encode("utf-16"), "rule encoding: it is UTF-16"),
    "UTF-16 without a mark": (CURLY.encode("utf-16-le"), "rule header"),
    "lines of both": (CURLY.encode() + CURLY.encode("cp1252").split(b"\n")[1] + b"\n", "rule encoding"),
    "a surrogate": (csv_bytes([row(1)]).replace(b"plain", b"\xed\xa0\x80"), "rule encoding"),
    "an overlong slash": (csv_bytes([row(1)]).replace(b"plain", b"\xc0\xaf"), "rule encoding"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_not_of_its_encoding_is_refused(with_contracts: WithContracts, encoding: str) -> None:
    here = with_contracts(FULL)
    data, expected = ENCODINGS[encoding]
    deliver(here.sources, "toy", "2026-01-02", {"toy": data})
    assert expected in (take_in() or "")
    assert not list(here.landing.rglob("*.zst"))


def test_a_line_break_within_quotation_marks_is_one_row(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    data = csv_bytes([row(1, note='two\nlines, "quoted"'), row(2, note="a\r\nb")])
    deliver(here.sources, "toy", "2026-01-02", {"toy": data}, claims=None)
    path = here.sources / "toy" / "2026-01-02" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][0]["rows"] = 2
    path.write_text(json.dumps(manifest))
    assert take_in() is None
    assert rows(here, "select note from history.toy order by toy_id") == [('two\nlines, "quoted"',), ("a\r\nb",)]
    (landed,) = here.landing.rglob("*.zst")
    assert landed_text(landed).count("quoted") == 1


def test_na_stays_na(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    words = ["NA", "N/A", "null", "NULL", "None", "nan", "-", "TRUE", "#N/A", r"\N", " x "]
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(n, note=word) for n, word in enumerate(words)]})
    assert take_in() is None
    assert [note for (note,) in rows(here, "select note from history.toy order by toy_id")] == words


def test_swapped_columns_are_refused_by_what_their_values_are(with_contracts: WithContracts) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=0.01)})
    members = [row(n, born="1.50", amount="1980-01-31", code="plain", note="A") for n in range(50)]
    deliver(here.sources, "toy", "2026-01-02", {"toy": members})
    line = take_in() or ""
    assert "feed toy, delivery 2026-01-02/1, file toy_20260102_1.csv, rule quarantine_limit, count 50" in line
    assert rows(here, "select distinct rules from quarantine.toy") == [
        (["amount:type", "born:type", "code:listed_code"],)
    ]
    assert rows(here, "select count(*) from history.toy") == [(0,)]


def test_exchanged_identifiers_are_refused_by_their_form(with_contracts: WithContracts) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full")})
    members = [row(n, person_id=f"QQ1234{n}C", ni_number=f"90{n}") for n in range(10, 40)]
    deliver(here.sources, "toy", "2026-01-02", {"toy": members})
    line = take_in() or ""
    assert "file toy_20260102_1.csv, column ni_hash, rule identifier_form, count 30" in line
    assert not any(str(member["ni_number"]) in line for member in members)
    assert rows(here, "select state from audit.delivery") == [("refused",)]
    half = [row(n, ni_number="QQ123456C" if n % 2 else "none") for n in range(10, 50)]
    deliver(here.sources, "toy", "2026-01-03", {"toy": half})
    assert take_in(dt.date(2026, 1, 3)) is None
    warned = "select failed from audit.gate_result where rule = 'identifier_form' and severity = 'warning'"
    assert rows(here, warned) == [(20,)]


def test_a_retyped_column_is_refused(with_contracts: WithContracts) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=0.01)})
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(n) for n in range(50)]})
    assert take_in(dt.date(2026, 1, 1)) is None
    before = dump(here, "history")
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(n, amount="about one") for n in range(50)]})
    assert "rule quarantine_limit, count 50" in (take_in() or "")
    assert dump(here, "history") == before


def test_a_source_out_of_reach_is_an_error_and_what_was_landed_stands(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peel.sources.base import SourceUnavailable

    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-02", {"toy": TWO})
    assert take_in() is None
    before = dump(here, "history")

    def offers(*_: object) -> Iterator[object]:
        raise SourceUnavailable("the source could not be reached.", feed="toy")
        yield

    monkeypatch.setattr("peel.sources.folder.FolderSource.offers", offers)
    with pytest.raises(SourceUnavailable):
        land_feed(here, contracts.feed(here.contracts, "toy"))
    assert dump(here, "history") == before
    assert next(feed for feed in document(here)["feeds"] if feed["feed"] == "toy")["latest_applied"] == DATE


def test_a_mapped_code_is_read_so_also_where_the_gate_takes_over_what_it_found_in_the_same_rows(
    with_contracts: WithContracts,
) -> None:
    """A delivery waits with its table standing, read before the code was mapped; an earlier one has the same rows."""
    here = with_contracts(DELTA)
    feed = contracts.feed(here.contracts, "drip")

    def run() -> None:
        land_feed(here, feed)
        gate_feed(here, feed)
        apply_feed(here, feed)

    same = [row(1, code="Q"), row(2)]
    deliver(here.sources, "drip", "2026-01-02", {"drip": same}, mode="delta", watermarks=("a", "b"))
    run()
    deliver(here.sources, "drip", "2026-01-01", {"drip": same}, seq=2, mode="delta", watermarks=("y", "z"))
    run()
    assert rows(here, "select distinct state from audit.delivery") == [("waiting",)]
    with connect(here, "ingest") as connection:
        (drip,) = feed.contracts
        assert map_code(connection, drip, "code", "Q", "A", Signed("R. Peel", "an old code")) == 2
    deliver(here.sources, "drip", "2026-01-01", {"drip": [row(3)]}, mode="delta", watermarks=(None, "a"))
    run()
    assert rows(here, "select toy_id, code from history.drip order by 1") == [(1, "A"), (2, "A"), (3, "A")]
