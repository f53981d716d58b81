"""The Nomis API as a source, against a server that answers in its shapes and misbehaves on demand."""

from __future__ import annotations

import csv
import datetime as dt
import email.utils
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.sources.base import FileAbsent, Known, SourceUnavailable
from peel.sources.nomis import NomisQuery, NomisSource
from tests.sourcing import DATE, feed, only, rows, shown, whole, yesterday

CAP = 25_000
KEY = "0xd3adb33fd3adb33f"


def table_csv(count: int, *, extra: bool = False) -> list[bytes]:
    """A header and rows as Nomis writes them: text in quotes, numbers bare, the number of rows in every row."""
    header = ["GEOGRAPHY_CODE", "C2021_ETH_20_NAME", "OBS_VALUE", "OBS_STATUS"]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([*header, *(["RECORD_OFFSET"] if extra else []), "RECORD_COUNT"])
    for number in range(count):
        label = 'Asian, Asian British or "Asian Welsh"' if number % 2 else "Total: All usual residents"
        value = number * 7 if number % 50 else None
        status = "A" if value is not None else "Q"
        place = [number] if extra else []
        writer.writerow([f"E09{number:06d}", label, "" if value is None else value, status, *place, count])
    return text.getvalue().replace('""\n', "\n").encode().splitlines(keepends=True)


@dataclass
class Api:
    """What the server does next: a list of misdeeds, each for one request, then good behaviour."""

    lines: list[bytes]
    cap: int = CAP
    misdeeds: list[Callable[[BaseHTTPRequestHandler, bytes], None]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    change: Callable[[int, bytes], bytes] = lambda _, body: body
    released: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        api: Api = self.server.api  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        query = {name.lower(): values[0] for name, values in parse_qs(parts.query).items()}
        api.asked.append(query | {"path": parts.path})
        offset, limit = int(query.get("recordoffset", 0)), int(query.get("recordlimit", CAP))
        limit = min(limit, api.cap)
        body = api.lines[0] + b"".join(api.lines[1 + offset : 1 + offset + limit])
        body = api.change(offset, body)
        if api.misdeeds:
            api.misdeeds.pop(0)(self, body)
        else:
            answer(self, body)

    def log_message(self, *_: Any) -> None:
        pass


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"content-type": "text/csv"} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def with_status(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    return lambda handler, _: answer(handler, b"no", status, **headers)


def drop(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "text/csv")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()


def drop_without_length(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Ends the body early without a way to notice it but to count."""
    handler.send_response(200)
    handler.send_header("content-type", "text/csv")
    handler.send_header("connection", "close")
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def web_page(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    answer(handler, b"<html><body>Sorry, an error occurred</body></html>", content_type="text/html; charset=utf-8")


def web_page_as_csv(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    answer(handler, b"<!DOCTYPE html>\n<html><body>Sorry, an error occurred</body></html>\n")


def never(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.server.api.released.wait(20)  # type: ignore[attr-defined]
    handler.close_connection = True


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    made = Api(table_csv(33 * 5), url=f"http://127.0.0.1:{server.server_address[1]}")
    server.api = made  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def census(tmp_path: Path) -> Feed:
    return feed(tmp_path, {"ethnicity": {"*geography_code": "text"}}, name="census")


QUERY = NomisQuery(
    "ethnicity", "NM_2041_1", {"geography": "TYPE154", "c2021_eth_20": "0...19", "select": "geography_code,obs_value"}
)


def source(api: Api, **more: Any) -> NomisSource:
    waits: list[float] = []
    made = NomisSource(api.url, (QUERY,), business_date=yesterday, **{"wait": waits.append, **more})
    object.__setattr__(made, "waits", waits)
    return made


def test_a_table_is_the_apis_csv_as_it_is(api: Api, census: Feed) -> None:
    here = source(api)
    offer = only(here, census)
    assert (offer.name, offer.business_date, offer.unchanged) == ("2026-03-10/1", DATE, False)
    manifest, files = whole(here, offer)
    assert files["ethnicity"] == b"".join(api.lines)
    assert manifest["files"][0]["rows"] == 165
    assert manifest["mode"] == "full"
    (asked,) = api.asked
    assert asked["path"] == "/api/v01/dataset/NM_2041_1.data.csv"
    assert asked["select"] == "geography_code,obs_value,record_count"
    assert asked["c2021_eth_20"] == "0...19"
    assert "uid" not in asked
    with pytest.raises(FileAbsent):
        here.open(offer, "other.csv")


def test_what_was_landed_last_is_not_offered_again(api: Api, census: Feed) -> None:
    here = source(api)
    manifest, _ = whole(here, only(here, census))
    known = Known(files={"ethnicity": manifest["files"][0]["sha256"]})
    assert only(here, census, known).unchanged
    api.lines[5] = api.lines[5].replace(b'"A"', b'"Q"')
    assert not only(here, census, known).unchanged
    api.asked.clear()
    assert list(here.offers(census, Known(dates=frozenset([DATE])))) == []
    assert api.asked == []


def test_the_silent_cap_is_passed_page_by_page(api: Api, census: Feed) -> None:
    api.lines = table_csv(60_001, extra=True)
    here = source(api)
    assert whole(here, only(here, census))[1]["ethnicity"] == b"".join(api.lines)
    assert [asked["recordoffset"] for asked in api.asked] == ["0", "25000", "50000"]


def test_a_cap_lower_than_what_was_asked_for_is_passed_too(api: Api, census: Feed) -> None:
    api.cap = 40
    here = source(api, page_rows=1_000_000)
    assert whole(here, only(here, census))[1]["ethnicity"] == b"".join(api.lines)
    assert len(api.asked) == 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 200), st.integers(1, 250), st.integers(1, 250), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_any_page_size_gives_the_same_bytes(
    api: Api, census: Feed, count: int, page: int, cap: int, extra: bool, end: bytes
) -> None:
    page, cap = max(page, count // 20 + 1), max(cap, count // 20 + 1)
    api.lines, api.cap = [line.replace(b"\n", end) for line in table_csv(count, extra=extra)], cap
    here = source(api, page_rows=page)
    assert whole(here, only(here, census))[1]["ethnicity"] == b"".join(api.lines)


@pytest.mark.parametrize(
    "misdeeds",
    [[with_status(500)], [with_status(503), with_status(502)], [drop], [drop, with_status(504), drop]],
    ids=["500", "503 502", "drop", "drop 504 drop"],
)
def test_a_passing_fault_is_tried_again(api: Api, census: Feed, misdeeds: list[Any]) -> None:
    api.misdeeds = list(misdeeds)
    here = source(api)
    assert whole(here, only(here, census))[1]["ethnicity"] == b"".join(api.lines)
    waits: list[float] = here.waits  # type: ignore[attr-defined]
    assert len(waits) == len(misdeeds)
    assert all(2**place <= waited <= 2**place + 1 for place, waited in enumerate(waits))


def test_a_server_that_asks_to_wait_is_obeyed(api: Api, census: Feed) -> None:
    later = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90), usegmt=True)
    api.misdeeds = [with_status(429, retry_after="17"), with_status(429, retry_after=later)]
    here = source(api)
    only(here, census)
    assert here.waits[0] == 17  # type: ignore[attr-defined]
    assert 80 < here.waits[1] <= 90  # type: ignore[attr-defined]


def test_a_server_that_asks_to_wait_for_hours_is_left_for_the_next_look(api: Api, census: Feed) -> None:
    api.misdeeds = [with_status(429, retry_after="7200")]
    here = source(api)
    with pytest.raises(SourceUnavailable, match="status 429"):
        only(here, census)
    assert len(api.asked) == 1


def test_a_fault_that_stays_is_given_up(api: Api, census: Feed) -> None:
    api.misdeeds = [with_status(500)] * 9
    with pytest.raises(SourceUnavailable, match=r"^feed census, file ethnicity: .*NM_2041_1: .*status 500"):
        only(source(api), census)
    assert len(api.asked) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(api: Api, census: Feed, status: int) -> None:
    api.misdeeds = [with_status(status)]
    with pytest.raises(SourceUnavailable, match=f"status {status}"):
        only(source(api), census)
    assert len(api.asked) == 1


def short(offset: int, body: bytes) -> bytes:
    """No rows past the cap, with status 200."""
    return body if offset == 0 else body.split(b"\n")[0] + b"\n"


def other_count(offset: int, body: bytes) -> bytes:
    return body.replace(b",165\n", b",164\n") if offset else body


def other_header(offset: int, body: bytes) -> bytes:
    return body.replace(b"OBS_VALUE", b"OBS_VALUES") if offset else body


def many(offset: int, body: bytes) -> bytes:
    return body.replace(b",165\n", b",90\n")


def ragged(offset: int, body: bytes) -> bytes:
    return body.replace(b",165\n", b",9,165\n", 1)


def unlike(offset: int, body: bytes) -> bytes:
    return body.replace(b",165\n", b",166\n", 1)


def cut(offset: int, body: bytes) -> bytes:
    return body[:-2]


def no_count(offset: int, body: bytes) -> bytes:
    return body.replace(b'"RECORD_COUNT"', b'"RECORDS"')


def latin(offset: int, body: bytes) -> bytes:
    return body.replace(b"Asian Welsh", b"Asian W\xe9lsh")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (short, "it gave 100 rows of 165"),
        (other_count, "RECORD_COUNT changed"),
        (other_header, "header changed"),
        (many, "gave 100 rows of 90"),
        (ragged, "more or fewer fields"),
        (unlike, "do not agree on RECORD_COUNT"),
        (cut, "do not agree on RECORD_COUNT"),
        (no_count, "no column RECORD_COUNT"),
        (latin, "no CSV in UTF-8"),
    ],
)
def test_an_answer_that_is_not_sound_is_refused(api: Api, census: Feed, change: Any, what: str) -> None:
    api.cap, api.change = 100, change
    with pytest.raises(SourceUnavailable, match=what):
        only(source(api), census)


def test_the_same_page_again_is_refused(api: Api, census: Feed) -> None:
    api.cap = 100
    first = b"".join(api.lines[:101])
    api.change = lambda _, body: first
    with pytest.raises(SourceUnavailable, match="same page again"):
        only(source(api), census)
    api.lines = table_csv(165, extra=True)
    first = b"".join(api.lines[:101])
    with pytest.raises(SourceUnavailable, match="not those that were asked for"):
        only(source(api), census)


def test_a_query_that_matches_nothing_is_refused(api: Api, census: Feed) -> None:
    api.lines = api.lines[:1]
    with pytest.raises(SourceUnavailable, match="no rows"):
        only(source(api), census)


@pytest.mark.parametrize("cut_at", [0.1, 0.33, 0.5, 0.77, 0.99])
def test_a_body_that_ends_early_unnoticed_is_never_taken_for_whole(api: Api, census: Feed, cut_at: float) -> None:
    api.change = lambda _, body: body[: int(len(body) * cut_at)]
    with pytest.raises(SourceUnavailable):
        only(source(api), census)


def test_a_body_without_length_that_ends_early_goes_on_where_it_broke_or_is_refused(api: Api, census: Feed) -> None:
    api.misdeeds = [drop_without_length]
    with pytest.raises(SourceUnavailable):
        only(source(api), census)


@pytest.mark.parametrize("misdeed", [web_page, web_page_as_csv])
def test_a_web_page_is_no_table(api: Api, census: Feed, misdeed: Any) -> None:
    api.misdeeds = [misdeed]
    with pytest.raises(SourceUnavailable, match=r"web page|no column RECORD_COUNT"):
        only(source(api), census)


def test_a_redirect_is_not_followed(api: Api, census: Feed) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self, b"".join(api.lines))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        api.misdeeds = [with_status(302, location=f"http://127.0.0.1:{other.server_address[1]}/")]
        with pytest.raises(SourceUnavailable, match="a redirect, which is not followed"):
            only(source(api, uid=KEY), census)
        other.shutdown()
    assert asked == []


def test_a_server_that_never_answers_is_given_up(api: Api, census: Feed) -> None:
    api.misdeeds = [never, never]
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="ReadTimeout"):
        only(source(api, timeout=0.2, attempts=2), census)
    assert time.monotonic() - began < 5


def test_a_server_that_drips_is_given_up(api: Api, census: Feed) -> None:
    def drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/csv")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        for place in range(len(body)):
            try:
                handler.wfile.write(body[place : place + 1])
            except OSError:
                return
            time.sleep(0.02)

    api.misdeeds = [drip]
    with pytest.raises(SourceUnavailable, match=r"longer than 0\.3 seconds"):
        only(source(api, page_seconds=0.3, attempts=1), census)


def test_a_table_without_end_is_refused(api: Api, census: Feed) -> None:
    with pytest.raises(SourceUnavailable, match="larger than 4000 bytes"):
        only(source(api, max_bytes=4000), census)
    api.cap = 20
    with pytest.raises(SourceUnavailable, match="larger than 4000 bytes"):
        only(source(api, max_bytes=4000), census)


def test_nobody_listening_is_told_of(api: Api, census: Feed) -> None:
    api.url = "http://127.0.0.1:1"
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        only(source(api), census)


def test_the_key_is_sent_and_never_told(
    api: Api, census: Feed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "httpx", "httpcore"):  # whatever Airflow has made of them in this process
        caplog.set_level(logging.DEBUG, name)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    here = source(api, uid=KEY)
    only(here, census)
    assert api.asked[0]["uid"] == KEY
    api.misdeeds = [with_status(500), drop, with_status(404)]
    with pytest.raises(SourceUnavailable) as caught:
        only(here, census)
    api.url = "http://127.0.0.1:1"
    with pytest.raises(SourceUnavailable) as unreached:
        only(source(api, uid=KEY), census)
    assert "HTTP Request" in caplog.text
    assert KEY not in caplog.text + shown(caught.value) + shown(unreached.value) + repr(here)


@pytest.mark.parametrize("url", ["ftp://host", "file:///etc", "https://", "https://user:pw@host", "https://host?a=b"])
def test_only_http_addresses_without_a_secret_are_taken(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        NomisSource(url, (QUERY,))
    assert "pw" not in str(caught.value)


def test_every_table_needs_a_query_and_every_query_a_dataset(api: Api, tmp_path: Path) -> None:
    of = feed(tmp_path, {"ethnicity": {"*a": "text"}, "sex": {"*a": "text"}}, name="census")
    with pytest.raises(ConfigurationError, match="no Nomis query for sex"):
        only(source(api), of)
    with pytest.raises(ConfigurationError, match="names no Nomis dataset"):
        NomisSource("https://host", (NomisQuery("sex", "../NM_1_1", {}),))


def test_the_rows_are_csv_with_suppressed_values_empty(api: Api, census: Feed) -> None:
    here = source(api)
    data = rows(whole(here, only(here, census))[1]["ethnicity"])
    assert data[1][2:] == ["", "Q", "165"]
    assert data[2][2:] == ["7", "A", "165"]
