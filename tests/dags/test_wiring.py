"""Business dates of every kind of run, what is retried, and what a failure message says."""

from __future__ import annotations

import datetime as dt
import email
import json
import logging
import os
import socketserver
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

import wiring
from peel import settings
from peel.errors import ConfigurationError, DeliveryRefused, PeelError
from peel.sources.configure import source_of
from peel.sources.remote import SftpServer

UTC = dt.UTC


def at(*when: int) -> dt.datetime:
    return dt.datetime(*when, tzinfo=UTC)  # type: ignore[arg-type]


def run(run_type: str, *, logical: dt.datetime | None = None, after: dt.datetime | None = None) -> DagRun:
    return DagRun.model_validate(
        {
            "dag_id": "ingest_hr",
            "run_id": f"{run_type}__x",
            "logical_date": logical,
            "data_interval_start": logical,
            "data_interval_end": logical,
            "run_after": after or logical,
            "start_date": None,
            "end_date": None,
            "run_type": run_type,
            "state": "running",
            "consumed_asset_events": [],
            "partition_key": None,
        }
    )


def event(asset: str, extra: dict[str, Any]) -> AssetEventDagRunReferenceResult:
    return AssetEventDagRunReferenceResult.model_validate(
        {
            "asset": {"name": asset, "uri": Asset(name=asset, uri=f"peel://{asset}").uri, "extra": {}},
            "extra": extra,
            "source_task_id": "apply",
            "source_dag_id": f"ingest_{asset}",
            "source_run_id": "x",
            "source_map_index": -1,
            "source_aliases": [],
            "timestamp": at(2026, 3, 2, 3),
        }
    )


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
@pytest.mark.parametrize(
    ("logical", "expected"),
    [
        (at(2026, 1, 10, 0, 45), dt.date(2026, 1, 9)),
        # 00:45 in British Summer Time is 23:45 UTC of the day before
        (at(2026, 7, 9, 23, 45), dt.date(2026, 7, 9)),
        # the nights after the clocks went forward (29 March) and back (25 October)
        (at(2026, 3, 29, 23, 45), dt.date(2026, 3, 29)),
        (at(2026, 3, 29, 0, 45), dt.date(2026, 3, 28)),
        (at(2026, 10, 26, 0, 45), dt.date(2026, 10, 25)),
        (at(2026, 10, 24, 23, 45), dt.date(2026, 10, 24)),
    ],
)
def test_a_scheduled_or_backfilled_run_is_for_the_london_day_before(run_type, logical, expected) -> None:
    context = {"dag_run": run(run_type, logical=logical), "params": {"business_date": None}}
    assert wiring.business_date(context) == expected


def test_a_backfilled_run_keeps_its_own_date_whatever_the_parameter() -> None:
    context = {
        "dag_run": run("backfill", logical=at(2026, 1, 10, 0, 45)),
        "params": {"business_date": "2025-12-31"},
    }
    assert wiring.business_date(context) == dt.date(2026, 1, 9)


def test_a_manual_run_is_for_the_date_given() -> None:
    context = {"dag_run": run("manual", after=at(2026, 7, 9, 12)), "params": {"business_date": "2026-02-28"}}
    assert wiring.business_date(context) == dt.date(2026, 2, 28)


@pytest.mark.parametrize("logical", [None, at(2026, 7, 1)])
def test_a_manual_run_without_a_date_is_for_the_london_day_before_it_was_asked_for(logical) -> None:
    # 23:30 UTC is already the next day in London
    manual = run("manual", logical=logical, after=at(2026, 7, 9, 23, 30))
    assert wiring.business_date({"dag_run": manual, "params": {}}) == dt.date(2026, 7, 9)
    assert wiring.business_date({"dag_run": manual}) == dt.date(2026, 7, 9)


def test_a_run_started_by_another_dag_counts_as_manual() -> None:
    context = {
        "dag_run": run("operator_triggered", after=at(2026, 7, 9)),
        "params": {"business_date": "2026-05-01"},
    }
    assert wiring.business_date(context) == dt.date(2026, 5, 1)


def test_an_asset_triggered_run_is_for_the_newest_date_its_events_carry() -> None:
    events = [
        event("hr", {"business_date": "2026-03-01"}),
        event("recruitment", {"business_date": "2026-02-27"}),
        event("census", {}),
    ]
    context = {
        "dag_run": run("asset_triggered", after=at(2026, 3, 9, 12)),
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(events),
    }
    assert wiring.business_date(context) == dt.date(2026, 3, 1)


def test_an_asset_triggered_run_without_dates_is_for_the_london_day_before() -> None:
    context = {
        "dag_run": run("asset_triggered", after=at(2026, 3, 9, 12)),
        "triggering_asset_events": TriggeringAssetEventsAccessor.build([event("hr", {})]),
    }
    assert wiring.business_date(context) == dt.date(2026, 3, 8)


def test_a_date_that_is_none_is_refused_and_not_retried() -> None:
    context = {"dag_run": run("manual", after=at(2026, 7, 9)), "params": {"business_date": "2026-02-30"}}
    with pytest.raises(ConfigurationError, match="no date"):
        wiring.business_date(context)
    with pytest.raises(AirflowFailException):
        wiring.attempt(wiring.business_date, context)


def test_only_a_run_started_by_hand_replays_and_from_a_date() -> None:
    def context(run_type: str, **params: Any) -> dict[str, Any]:
        return {"dag_run": run(run_type, logical=at(2026, 7, 9), after=at(2026, 7, 9)), "params": params}

    assert wiring.replay_from(context("manual", replay_from="2026-05-01")) == dt.date(2026, 5, 1)
    assert wiring.replay_from(context("manual", replay_from=None)) is None
    assert wiring.replay_from(context("manual")) is None
    assert wiring.replay_from(context("scheduled", replay_from="2026-05-01")) is None
    with pytest.raises(ConfigurationError, match="replay_from is no date"):
        wiring.replay_from(context("manual", replay_from="yesterday"))


def failing(error: Exception) -> Any:
    def step() -> None:
        raise error

    return step


@pytest.mark.parametrize("kind", [DeliveryRefused, ConfigurationError])
def test_what_a_person_must_put_right_is_not_retried(kind) -> None:
    with pytest.raises(AirflowFailException, match="feed hr: the header is wrong"):
        wiring.attempt(failing(kind("the header is wrong", feed="hr")))


def test_another_fault_of_peel_is_retried_with_its_line() -> None:
    with pytest.raises(AirflowException, match="count 3: too slow") as caught:
        wiring.attempt(failing(PeelError("too slow", count=3)))
    assert not isinstance(caught.value, AirflowFailException)


def test_of_any_other_exception_only_type_and_place_come_through() -> None:
    with pytest.raises(AirflowException) as caught:
        wiring.attempt(failing(ValueError("invalid input syntax: AB123456C")))
    shown = caught.value
    assert str(shown).startswith("ValueError at ")
    assert "test_wiring.py:" in str(shown)
    assert shown.__cause__ is None
    assert shown.__context__ is None


def test_a_step_that_goes_well_gives_its_result() -> None:
    assert wiring.attempt(lambda a, b: a + b, 1, 2) == 3


def seen() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("PEEL_SOURCE_HR", "PEEL_SECRET_SOURCE_HR")}


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    for name in ("PEEL_SOURCE_HR", "PEEL_SECRET_SOURCE_HR", "AIRFLOW_CONN_PEEL_SOURCE_HR"):
        monkeypatch.delenv(name, raising=False)
    return seen()


def test_a_feed_without_a_connection_keeps_what_the_environment_says(no_source, monkeypatch) -> None:
    with wiring.source("hr"):
        assert seen() == no_source
    monkeypatch.setenv("PEEL_SOURCE_HR", "file:///srv")
    with wiring.source("hr"):
        assert seen()["PEEL_SOURCE_HR"] == "file:///srv"


def test_a_connection_is_the_source_of_its_step_only(no_source, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PEEL_SOURCE_HR", "sftp://peel:p%40ss@host:2222/drop/in?known_hosts=%2Fetc%2Fk")
    with wiring.source("hr"):
        found = seen()["PEEL_SOURCE_HR"]
        with_connection = source_of(settings.load(), SimpleNamespace(name="hr"))
    assert found is not None
    assert with_connection.root == "/drop/in"
    assert with_connection.connect.__self__ == SftpServer(
        "host", "peel", 2222, known_hosts=Path("/etc/k"), password="p@ss"
    )
    assert seen() == no_source


def test_a_connection_may_hold_the_url_beside_its_secret(no_source, monkeypatch) -> None:
    held = {
        "conn_type": "generic",
        "password": "hush",
        "extra": {"url": "sql+postgresql://peel@db.example/hr?peel_schema=hr"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_PEEL_SOURCE_HR", json.dumps(held))
    monkeypatch.setenv("PEEL_SOURCE_HR", "file:///srv")

    def step() -> None:
        with wiring.source("hr"):
            assert seen() == {"PEEL_SOURCE_HR": held["extra"]["url"], "PEEL_SECRET_SOURCE_HR": "hush"}
            raise RuntimeError("in the step")

    with pytest.raises(RuntimeError, match="in the step"):
        step()
    assert seen() == {"PEEL_SOURCE_HR": "file:///srv", "PEEL_SECRET_SOURCE_HR": None}


@pytest.mark.parametrize(
    "url",
    [
        "nomis+https://:0xkey@www.nomisweb.co.uk",
        "s3://AKIA:a%2Fb@bucket/in/here?region=eu-west-2",
        "sql+postgresql://peel:p%40ss@db.example:5433/hr?peel_schema=hr",
        "file:///srv/deliveries",
    ],
)
def test_every_kind_of_source_survives_being_a_connection(no_source, monkeypatch, url) -> None:
    feed = SimpleNamespace(name="hr", contracts=())
    monkeypatch.setenv("PEEL_SOURCE_HR", url)
    plain = source_of(settings.load(), feed)
    monkeypatch.delenv("PEEL_SOURCE_HR")
    monkeypatch.setenv("AIRFLOW_CONN_PEEL_SOURCE_HR", url)
    with wiring.source("hr"):
        assert seen()["PEEL_SOURCE_HR"]
        assert vars_of(source_of(settings.load(), feed)) == vars_of(plain)


def vars_of(source: Any) -> dict[str, Any]:
    found = vars(source)
    return {**found, "connect": found["connect"].__self__} if "connect" in found else found


class Postbox(socketserver.StreamRequestHandler):
    """As much of an SMTP server as it takes to be handed a message."""

    def handle(self) -> None:
        self.wfile.write(b"220 postbox\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                self.server.messages.append(email.message_from_bytes(body))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def postbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Postbox) as server:
        server.messages = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        monkeypatch.setenv(
            "AIRFLOW_CONN_SMTP_DEFAULT",
            f"smtp://127.0.0.1:{port}/?disable_ssl=true&disable_tls=true&from_email=peel%40example.org",
        )
        yield server.messages  # type: ignore[attr-defined]
        server.shutdown()


def failed_task(error: BaseException | None) -> dict[str, Any]:
    task = SimpleNamespace(dag_id="ingest_hr", task_id="gate", run_id="manual__x", try_number=3)
    return {
        "dag_run": run("manual", after=at(2026, 7, 9, 12)),
        "params": {"business_date": "2026-07-01"},
        "task_instance": task,
        "exception": error,
    }


def test_a_failure_is_told_to_the_log_and_by_mail(postbox, monkeypatch, caplog) -> None:
    monkeypatch.setenv("PEEL_SMTP_TO", "a@example.org, b@example.org")
    with caplog.at_level(logging.ERROR, logger="peel.dags"):
        wiring.tell_of_failure(failed_task(AirflowFailException("feed hr, count 7: too many <rows>")))
    assert [record.message for record in caplog.records] == [
        "Peel: ingest_hr.gate failed for 2026-07-01 (run manual__x): feed hr, count 7: too many <rows>"
    ]
    (message,) = postbox
    assert message["Subject"] == "Peel: ingest_hr.gate failed for 2026-07-01"
    assert message["To"] == "a@example.org, b@example.org"
    text = message.get_payload()[0].get_payload(decode=True).decode()
    assert "feed hr, count 7: too many &lt;rows&gt;" in text
    assert "Business date: 2026-07-01" in text


def test_no_mail_is_sent_if_nobody_is_named(postbox, monkeypatch) -> None:
    monkeypatch.delenv("PEEL_SMTP_TO", raising=False)
    wiring.tell_of_failure(failed_task(AirflowException("x")))
    assert postbox == []


def test_a_failure_message_holds_no_text_of_a_foreign_exception(monkeypatch, caplog) -> None:
    monkeypatch.delenv("PEEL_SMTP_TO", raising=False)
    with caplog.at_level(logging.ERROR, logger="peel.dags"):
        wiring.tell_of_failure(failed_task(ValueError("AB123456C")))
    assert "AB123456C" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_mail_that_cannot_be_sent_does_not_hide_the_failure(monkeypatch, caplog) -> None:
    monkeypatch.setenv("PEEL_SMTP_TO", "a@example.org")
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", "smtp://127.0.0.1:1/?disable_ssl=true&retry_limit=0&timeout=2")
    with caplog.at_level(logging.ERROR, logger="peel.dags"):
        wiring.tell_of_failure(failed_task(AirflowException("the fault")))
    assert "the fault" in caplog.records[0].message
    assert "could not be sent" in caplog.records[1].message
