"""Every command of the runbooks, on a toy night gone as they say."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peel import cli, contracts, status
from peel.london import LONDON
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import HOME
from tests.deliveries import deliver
from tests.toys import DELTA, FULL, contract, row
from tests.warehouse.test_desk import csv, delivery_of, drop, rows, take_in, versions

WithContracts = Callable[[dict[str, str]], Settings]
Peel = Callable[..., list[str]]
SIGNED = ("--who", "R. Peel", "--reason", "asked the source")
LIMIT = {"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=0.3)}

_LINE = re.compile(r"^peel .*$", re.MULTILINE)


@pytest.fixture
def peel(capsys: pytest.CaptureFixture[str]) -> Peel:
    """Runs a command; its lines, or the one line of its refusal."""

    def run(*arguments: object, code: int = 0) -> list[str]:
        capsys.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        return (said.err if code else said.out).splitlines()

    return run


def test_every_command_of_the_runbooks_is_one_that_peel_knows() -> None:
    lines = _LINE.findall((HOME / "docs" / "runbooks.md").read_text("utf-8"))
    assert len(lines) > 20
    parser = cli._parser()
    for line in lines:
        options, rest = parser.parse_known_args(shlex.split(line)[1:])
        assert rest == [] or options.run is cli._sql, line  # the rest is psql's
        assert callable(options.run), line


def test_a_file_that_came_twice(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    take_in(here)
    drop(here, 1, row(1), seq=2)
    take_in(here)
    first, reason, second = peel("deliveries", "toy", "--since", "2026-01-01")
    assert "replaced" in first
    assert "a later delivery of the same date holds" in reason
    assert "applied" in second
    assert len(json.loads("\n".join(peel("deliveries", "--json")))) == 2
    assert peel("deliveries", "toy", "--since", "soon", code=1) == [
        "peel: --since is no date: a business date has the form YYYY-MM-DD."
    ]
    assert peel("deliveries", "--state", "refused") == ["No delivery is like that."]


def test_a_late_feed(with_contracts: WithContracts, peel: Peel, monkeypatch: pytest.MonkeyPatch) -> None:
    published = contract("leaflet", "leaflet", "full").replace(
        "cadence, value: nightly", "cadence, value: when_published"
    )
    here = with_contracts(FULL | {"deliveries/leaflet/leaflet.odcs.yaml": published})
    monkeypatch.setattr(status, "now", lambda: dt.datetime(2026, 1, 3, 5, 30, tzinfo=LONDON))
    (line,) = [line for line in peel("status") if line.startswith("toy")]
    assert line == "toy         nightly from folder, nothing applied yet"
    drop(here, 1, row(1))
    deliver(here.sources, "leaflet", "2026-01-01", {"leaflet": [row(1)]})
    for feed in ("toy", "leaflet"):
        take_in(here, feed)
    told = {line.split()[0]: line for line in peel("status")}
    assert told["toy"] == "toy         nightly from folder, applied to 2026-01-01  LATE by 2 h 30 min  STALE"
    assert told["leaflet"] == "leaflet     when published from folder, applied to 2026-01-01"
    monkeypatch.setattr(status, "now", lambda: dt.datetime(2026, 1, 3, 2, 59, tzinfo=LONDON))
    assert not any("LATE" in line for line in peel("status"))
    drop(here, 3, row(1, amount="3.00"))
    take_in(here)
    drop(here, 2, row(1, amount="2.00"))  # late, and in its place
    take_in(here)
    assert [version[1] for version in versions(here)] == ["1.50", "2.00", "3.00"]


def test_lateness_counts_moments_not_hours_on_the_clock(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    (feed,) = contracts.feeds(here.contracts)
    latest = dt.date(2026, 3, 27)  # the next is due on the night on which 01:00 to 02:00 is left out
    at = dt.datetime(2026, 3, 29, 4, 0, tzinfo=LONDON)
    assert status.lateness(feed, latest, at) == dt.timedelta(hours=1)
    assert status.lateness(feed, latest, dt.datetime(2026, 3, 29, 0, 30, tzinfo=LONDON)) is None
    assert status.lateness(feed, None, at) is None


def test_a_file_cut_off(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    whole = csv(row(1), row(2), row(3)).encode()
    deliver(here.sources, "toy", "2026-01-01", {"toy": whole[:-10]})
    take_in(here)
    assert "rule field_count" in peel("deliveries", "--state", "refused")[1]
    (refusal,) = peel("accept", delivery_of(here, 1), *SIGNED, code=1)
    assert "nothing of it is there to accept" in refusal
    drop(here, 1, row(1), row(2), row(3), seq=2)
    assert take_in(here).states == {"applied": 1, "refused": 1}


def test_a_new_column(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1, rank="CON"))
    take_in(here)
    assert any("rank:undeclared_column" in line for line in peel("gate", delivery_of(here, 1)[:8]))


def test_the_wrong_encoding_and_the_right_one_declared(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": csv(row(1, note="caf\xe9")).encode("cp1252")})
    take_in(here)
    assert "rule encoding" in peel("deliveries", "toy")[1]
    with_contracts(
        {
            "deliveries/toy/toy.odcs.yaml": FULL["deliveries/toy/toy.odcs.yaml"].replace(
                "reader, value: csv}", "reader, value: csv}, {property: readerOptions, value: {encoding: cp1252}}"
            )
        }
    )
    told = peel("replay", "toy", "2026-01-01")
    assert told[0].startswith("1 landed again: ")
    assert told[1] == "1 gated again; versions 0 taken back, 1 opened, 0 closed"
    assert told[2].endswith("refused -> applied (encoding)")


def test_values_gone_blank_and_a_change_that_is_true(with_contracts: WithContracts, peel: Peel) -> None:
    quality = (
        "- {name: still_known, type: sql, query: 'select count(*) from ${table} t join ${previous} p using (row_key)"
        " where t.code is null and p.code is not null', mustBeLessOrEqualTo: 1,"
        " customProperties: [{property: onFailure, value: refuse}]}"
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", quality=quality)})
    drop(here, 1, *[row(n) for n in range(5)])
    drop(here, 2, *[row(n, code="") for n in range(5)])
    take_in(here)
    name = delivery_of(here, 2)
    told = peel("gate", name)
    assert any("still_known" in line and "failed" in line for line in told)
    assert "No delivery's outcome changed." in told
    told = peel("accept", name, *SIGNED)
    assert told[0] == "Recorded."
    assert told[2].endswith(f"{name}  refused -> applied")
    (line,) = peel("decisions", "toy")
    assert f"2026-01-02/1 ({name})  R. Peel: asked the source" in line
    assert any(line.startswith("decisions   in the last 7 days: 1 accept") for line in peel("status"))
    assert peel("accept", name, "--who", "R. Peel", "--reason", " ", code=1) == [
        "peel: A decision needs the name of who makes it, and a reason. Give --who and --reason."
    ]


def test_a_missing_link(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(DELTA)
    deliver(here.sources, "drip", "2026-01-01", {"drip": [row(1)]}, mode="delta", watermarks=(None, "w1"))
    deliver(here.sources, "drip", "2026-01-03", {"drip": [row(2)]}, mode="delta", watermarks=("w2", "w3"))
    take_in(here, "drip")
    assert any("waits for the delivery with watermark_from w1" in line for line in peel("status"))
    assert "w2 > w3" in peel("deliveries", "drip", "--state", "waiting")[0]
    told = peel("bridge", "drip", "--from", "w1", "--to", "w2", *SIGNED)
    assert any(line.endswith("waiting -> applied") for line in told)
    assert "from w1 to w2" in peel("decisions")[0]


def test_a_code_that_no_contract_lists(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=1.0)})
    drop(here, 1, *[row(n, code="Bee") for n in range(6)], row(6, code="Cee"))
    take_in(here)
    shown, more = peel("quarantine", "codes", "toy")
    assert re.fullmatch(r"toy\.code +Bee +6 rows in 1 deliveries, 2026-01-01 to 2026-01-01", shown)
    assert more.startswith("1 more not shown")
    told = peel("quarantine", "map", "toy", "code", "Bee", "B", *SIGNED)
    assert "  2026-01-01/1  7 rows quarantined before, 1 now" in told
    assert "toy.code: Bee as B" in peel("decisions")[0]
    assert "Tables are toy" in peel("quarantine", "map", "Toy", "code", "Bee", "B", *SIGNED, code=1)[0]


def test_rows_in_quarantine(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2), row(3), row(4))
    drop(here, 2, row(1), row(2, code="C", note="Canary"), row(3, code="D"), row(4))
    take_in(here)
    name = delivery_of(here, 2)
    (line,) = peel("quarantine", "list")
    assert f"{name}  code:listed_code" in line
    assert line.endswith("2 rows  held, first seen 2026-01-02, held since 2026-01-02")
    assert peel("quarantine", "list", "toy", "--rule", "type") == ["Nothing is in quarantine."]
    assert len(peel("quarantine", "list", "toy", "--all")) == 1
    shown = peel("quarantine", "show", name, "toy")
    assert [line.split()[1] for line in shown] == ["2", "3"]
    assert "Canary" not in "".join(shown)
    assert "to a named person only" in peel("quarantine", "show", name, "toy", 2, "--values", code=1)[0]
    assert "Canary" in "".join(peel("quarantine", "show", name, "toy", 2, "--values", "--who", "R. Peel"))
    assert rows(here, "select who, rows from audit.look") == [("R. Peel", 1)]
    told = peel("quarantine", "readmit", name, "toy", 2, *SIGNED)
    assert told[1] == "0 gated again; versions 0 taken back, 1 opened, 1 closed"
    told = peel("quarantine", "discard", name, "toy", 3, *SIGNED)
    assert told[1] == "0 gated again; versions 2 taken back, 1 opened, 2 closed"
    assert peel("quarantine", "list") == ["Nothing is in quarantine."]
    assert len(peel("quarantine", "list", "--all")) == 2
    assert [version[0] for version in versions(here) if version[3] is None] == [1, 2, 4]


def test_a_damaged_landed_file(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    take_in(here)
    shutil.rmtree(here.landing / "toy" / "2026-01-01" / "1" / delivery_of(here, 1))
    assert peel("replay", "toy", "2026-01-01")[0] == f"1 landed again: {delivery_of(here, 1)}"


def test_making_room(with_contracts: WithContracts, peel: Peel) -> None:
    text = FULL["deliveries/toy/toy.odcs.yaml"].replace(
        "slaProperties: [", "slaProperties: [{property: retention, value: 1, unit: d}, "
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": text})
    for day in (1, 2, 3):
        drop(here, day, row(1, amount=f"{day}.00"))
    take_in(here)
    (landing,) = [line for line in peel("status") if line.startswith("landing")]
    assert landing.endswith(" in 3")
    assert peel("retain") == [
        "toy: history to 2026-01-02 is the baseline",
        "2 landed deliveries removed, 0 delivery tables dropped",
        "2 tables vacuumed",
    ]
    said = peel("status")
    assert any("applied to 2026-01-03, baseline 2026-01-02" in line for line in said)
    assert any(re.match(r"tables +delivery 0 B, quarantine \d", line) for line in said)


def test_lost_keys(with_contracts: WithContracts, peel: Peel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    take_in(here)
    (copy,) = [line.split()[5] for line in peel("backup", tmp_path / "keys") if line.startswith("HMAC keys")]
    monkeypatch.delenv("PEEL_SECRET_HMAC_KEYS")
    drop(here, 2, row(1))
    with pytest.raises(Exception, match="Restore them from a `peel backup` into var/secrets"):
        take_in(here)
    shutil.copy2(copy, here.secrets / "hmac_keys")
    assert take_in(here).states == {"applied": 2}


def test_a_feed_that_was_asked_and_had_nothing_new_says_when(with_contracts: WithContracts, peel: Peel) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    take_in(here)
    with connect(here, "owner") as connection:
        connection.execute(
            "insert into audit.probe (feed, outcome, probed_at) values ('toy', 'unchanged', '2026-07-01 02:15+00')"
        )
    assert any("asked at 2026-07-01 03:15, unchanged" in line for line in peel("status"))


def test_ones_own_server_is_asked_whether_it_answers(
    with_contracts: WithContracts, peel: Peel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_contracts(FULL)  # tests run on a server of their own, which is not the local one
    assert re.fullmatch(r"postgres    your own server, answers \(PostgreSQL \d+\.\d+\)", peel("status")[0])
    monkeypatch.setenv("PEEL_WAREHOUSE_DSN", "postgresql://nobody:hush@127.0.0.1:1/peel")
    said = peel("status")
    assert said[0].startswith("postgres    your own server, does not answer: the database refused, SQLSTATE connection")
    assert "hush" not in "".join(said)
