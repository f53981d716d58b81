"""The Nomis API of the Office for National Statistics as a source: census tables, whole or not at all.

Its known traps: an answer is silently cut at 25,000 rows without a key, with status 200; an error can be an HTML
page with status 200; a subtotal stands beside its parts, and a suppressed value is empty with ``OBS_STATUS`` ``Q``
(both are for the reader ``nomis_api``). Every row names the number of rows there are in ``RECORD_COUNT``: that is
what an answer is held against.
"""

from __future__ import annotations

import csv
import datetime as dt
import email.utils
import hashlib
import io
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx
import tenacity

from peel import london
from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.feeds.manifest import MANIFEST, ManifestFile
from peel.sources import generated
from peel.sources.base import FileAbsent, Known, Offer, SourceUnavailable

PAGE_ROWS = 25_000
"""Rows asked for at a time: the most an answer without a key holds."""
_COUNT, _PLACE = "RECORD_COUNT", "RECORD_OFFSET"
_DATASET = re.compile(r"^NM_\d{1,6}_\d{1,3}$")
_LONGEST_WAIT = 120.0


@dataclass(frozen=True)
class NomisQuery:
    """What one table asks for.

    Attributes:
        table: the contract it is delivered under.
        dataset: the dataset's id, such as ``NM_2041_1``.
        parameters: of the query, such as ``{"geography": "TYPE154", "measures": "20100"}``.
    """

    table: str
    dataset: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class NomisSource:
    """Tables asked of the Nomis API, one query for each.

    Attributes:
        url: scheme and host, and a path before ``/api/v01`` if there is one.
        queries: one for each of the feed's tables.
        uid: the key of a registered user, which raises the limits; never logged.
        page_rows: rows asked for at a time.
        attempts: how often a page is asked for before the source counts as out of reach.
        timeout: seconds without a byte after which an attempt is given up.
        page_seconds: seconds after which an attempt is given up in any case.
        max_bytes: of one table; more is no census table.
        business_date: the date there is a delivery for.
        wait: waits some seconds between attempts.
    """

    url: str
    queries: tuple[NomisQuery, ...]
    uid: str | None = field(default=None, repr=False)
    page_rows: int = PAGE_ROWS
    attempts: int = 5
    timeout: float = 30.0
    page_seconds: float = 300.0
    max_bytes: int = 256 << 20
    business_date: Callable[[], dt.date] = field(default=london.yesterday, repr=False)
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ConfigurationError("A Nomis source is http(s), a host and nothing secret.")
        for query in self.queries:
            if not _DATASET.match(query.dataset):
                raise ConfigurationError(f"The query of {query.table} names no Nomis dataset (NM_<number>_<number>).")

    def offers(self, feed: Feed, known: Known) -> Iterator[Offer]:
        """One delivery for the business date, unless there is one already; every page is fetched here.

        Raises:
            SourceUnavailable: the API could not be reached or gave less, or other, than it said.
            ConfigurationError: a table of the feed has no query.
        """
        date = self.business_date()
        if date in known.dates:
            return
        by_table = {query.table: query for query in self.queries}
        missing = [table for table in feed.tables if table not in by_table]
        if missing:
            raise ConfigurationError(
                f"feed {feed.name}: no Nomis query for {', '.join(missing)}.",
                do="Give its contract a server of type api with the query as its location.",
            )
        extract_ts = london.now()
        contents: dict[str, bytes] = {}
        files = []
        with _client(self) as client:
            for table in feed.tables:
                body, rows = _Fetch(self, client, feed.name, by_table[table]).whole()
                name = generated.file_name(table, date)
                contents[name] = body
                files.append(ManifestFile(name, table, hashlib.sha256(body).hexdigest(), rows))
        unchanged = all(known.files.get(file.table) == file.sha256 for file in files)
        contents[MANIFEST] = generated.manifest(feed, date, extract_ts, files)
        yield Offer(
            name=f"{date}/{generated.SEQ}",
            business_date=date,
            seq=generated.SEQ,
            is_complete=True,
            fingerprint=generated.fingerprint(files),
            unchanged=unchanged,
            handle={} if unchanged else contents,
        )

    def close(self) -> None:
        """Nothing is held open between questions."""

    def open(self, offer: Offer, file: str) -> BinaryIO:
        """The manifest, or a table as the API's CSV: the header once, the pages one after another."""
        try:
            return io.BytesIO(offer.handle[file])
        except (KeyError, TypeError):
            raise FileAbsent(file) from None


class _NotNow(Exception):
    """An attempt that failed in a way that may pass; ``after`` is how long the server asks to wait."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.what, self.after = what, after


def _client(source: NomisSource) -> httpx.Client:
    hide = _HideKey()
    logger = logging.getLogger("httpx")  # it logs whole addresses, and the key is a part of them
    if not any(isinstance(each, _HideKey) for each in logger.filters):
        logger.addFilter(hide)
    return httpx.Client(
        timeout=httpx.Timeout(source.timeout),
        follow_redirects=False,
        headers={"accept": "text/csv", "user-agent": "peel"},
    )


class _HideKey(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                each.copy_with(query=None) if isinstance(each, httpx.URL) else each for each in record.args
            )
        return True


@dataclass(frozen=True)
class _Page:
    header: bytes
    names: tuple[str, ...]
    body: bytes
    rows: int
    count: int | None


@dataclass(frozen=True)
class _Fetch:
    """One table, page by page."""

    source: NomisSource
    client: httpx.Client
    feed: str
    query: NomisQuery

    def whole(self) -> tuple[bytes, int]:
        """The table's CSV and its number of rows, which is the number the API says there are."""
        first = self._page(0)
        total = first.count or 0
        pages, rows, size, seen = [first.body], first.rows, len(first.body), {_digest(first.body)}
        while rows < total:
            page = self._page(rows)
            if page.header != first.header:
                raise self._unsound("its header changed between pages.")
            if page.rows == 0:
                raise self._unsound(f"it gave {rows} rows of {total}.")
            if page.count != total:
                raise self._unsound(f"{_COUNT} changed between pages.")
            if _digest(page.body) in seen:
                raise self._unsound("it gave the same page again.")
            seen.add(_digest(page.body))
            pages.append(page.body)
            rows, size = rows + page.rows, size + len(page.body)
            if size > self.source.max_bytes:
                raise self._unsound(f"it is larger than {self.source.max_bytes} bytes.")
        if rows != total:
            raise self._unsound(f"it gave {rows} rows of {total}.")
        if total == 0:
            raise self._unsound("it gave no rows: the query matches nothing.")
        return b"".join([first.header, *pages]), rows

    def _page(self, offset: int) -> _Page:
        return self._parse(self._ask(offset), offset)

    def _parameters(self, offset: int) -> dict[str, str]:
        reserved = {"recordoffset", "recordlimit", "uid"}
        parameters = {name: value for name, value in self.query.parameters.items() if name.lower() not in reserved}
        for name, value in parameters.items():
            if name.lower() == "select" and _COUNT not in value.upper().split(","):
                parameters[name] = f"{value},{_COUNT.lower()}"
        parameters |= {"RecordOffset": str(offset), "RecordLimit": str(self.source.page_rows)}
        return parameters | ({"uid": self.source.uid} if self.source.uid else {})

    # Asking ----------------------------------------------------------------------------------------------------

    def _ask(self, offset: int) -> bytes:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.source.attempts),
            wait=_pause,
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, _NotNow) and (e.after or 0) <= _LONGEST_WAIT),
            sleep=self.source.wait,
            reraise=True,
        )
        try:
            return retrying(self._attempt, offset)
        except _NotNow as fault:
            raise self._unsound(fault.what) from None

    def _attempt(self, offset: int) -> bytes:
        url = f"{self.source.url.rstrip('/')}/api/v01/dataset/{self.query.dataset}.data.csv"
        given_up = time.monotonic() + self.source.page_seconds
        blocks, size = [], 0
        try:
            with self.client.stream("GET", url, params=self._parameters(offset)) as response:
                self._accept(response)
                for block in response.iter_bytes():
                    blocks.append(block)
                    size += len(block)
                    if size > self.source.max_bytes:
                        raise self._unsound(f"it is larger than {self.source.max_bytes} bytes.")
                    if time.monotonic() > given_up:
                        raise _NotNow(f"it took longer than {self.source.page_seconds:g} seconds.")
        except httpx.HTTPError as error:
            # the text of an httpx error may hold the address, and that holds the key
            raise _NotNow(f"it did not answer whole ({type(error).__name__}).") from None
        return b"".join(blocks)

    def _accept(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise _NotNow(f"it answered with status {status}.", _retry_after(response))
        if response.is_redirect:
            raise self._unsound(f"it answered with status {status}, a redirect, which is not followed.")
        if status != httpx.codes.OK:
            raise self._unsound(f"it answered with status {status}.")
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html":
            raise self._unsound("it answered with a web page in place of CSV.")

    # Reading an answer -----------------------------------------------------------------------------------------

    def _parse(self, data: bytes, offset: int) -> _Page:
        data = data.removeprefix(b"\xef\xbb\xbf")
        header, _, body = data.partition(b"\n")
        if body and not body.endswith(b"\n"):
            body += header[-1:] + b"\n" if header.endswith(b"\r") else b"\n"
        try:
            rows = list(csv.reader(io.StringIO((header + b"\n" + body).decode(), newline=""), strict=True))
        except (csv.Error, UnicodeDecodeError):
            raise self._unsound("its answer is no CSV in UTF-8.") from None
        names = tuple(name.strip().upper() for name in rows[0]) if rows else ()
        if _COUNT not in names:
            raise self._unsound(f"its answer has no column {_COUNT}.")
        rows = rows[1:]
        if any(len(row) != len(names) for row in rows):
            raise self._unsound("its answer has rows with more or fewer fields than its header.")
        counts = {row[names.index(_COUNT)] for row in rows}
        if len(counts) > 1 or not all(count.isascii() and count.isdecimal() for count in counts):
            raise self._unsound(f"its rows do not agree on {_COUNT}.")
        if _PLACE in names:
            place = names.index(_PLACE)
            if any(row[place] != str(offset + number) for number, row in enumerate(rows)):
                raise self._unsound("its rows are not those that were asked for.")
        return _Page(header + b"\n", names, body, len(rows), int(counts.pop()) if counts else None)

    def _unsound(self, what: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"the Nomis API, asked for {self.query.dataset}: {what}",
            feed=self.feed,
            file=self.query.table,
            do="The next look asks again; look at the query if it stays so.",
        )


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


_backoff = tenacity.wait_exponential_jitter(initial=1, max=60, jitter=1)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, _NotNow) and error.after else 0.0
    return max(asked, _backoff(state))


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
