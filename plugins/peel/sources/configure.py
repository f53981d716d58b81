"""Which connector a feed has: from ``PEEL_SOURCE_<FEED>``, a URL, or else the local folder.

| URL | connector |
|---|---|
| ``file:///srv/deliveries`` | a folder |
| ``sftp://user@host:22/path?known_hosts=…&key_file=…`` | an SFTP server; or ``fingerprint=SHA256:…`` |
| ``s3://bucket/prefix?region=…&endpoint=…`` | S3 object storage; the key may stand before an ``@`` |
| ``sql+<SQLAlchemy URL>`` with ``peel_schema``, ``peel_lag``, ``peel_watermark``, … | a database |
| ``nomis+https://www.nomisweb.co.uk`` | the Nomis API, with the queries of the contracts |

A password, secret key or Nomis key may be in the URL, or in ``PEEL_SECRET_SOURCE_<FEED>``. An Airflow connection
``peel_source_<feed>`` becomes the same two variables. Nothing of a URL is ever shown.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from peel import secrets
from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.settings import Settings
from peel.sources.base import Source
from peel.sources.folder import FolderSource


def variable(feed: str) -> str:
    """The variable that names a feed's source, such as ``PEEL_SOURCE_HR``."""
    return f"PEEL_SOURCE_{feed.upper()}"


def kind_of(feed: Feed) -> str:
    """What kind of source a feed has: ``folder``, ``sftp``, ``s3``, ``database`` or ``nomis``; no more of its URL."""
    scheme = os.environ.get(variable(feed.name), "file").partition("://")[0].lower()
    if scheme.startswith("sql+"):
        return "database"
    known = {"": "folder", "file": "folder", "sftp": "sftp", "s3": "s3", "nomis+https": "nomis", "nomis+http": "nomis"}
    return known.get(scheme, "unknown source")


def source_of(settings: Settings, feed: Feed) -> Source:
    """A feed's connector; it connects when it is asked.

    Raises:
        ConfigurationError: the variable holds something that is no source; names the variable, not its text.
    """
    url = os.environ.get(variable(feed.name))
    if not url:
        return FolderSource(settings.sources)
    given = _Given(feed, url, secrets.existing(settings, f"source_{feed.name}"))
    try:
        return given.source()
    except ConfigurationError:
        raise
    except Exception as error:  # libraries that read URLs quote them
        raise given.wrong(f"is no address of a source ({type(error).__name__}).") from None


class _Given:
    """One feed's URL, taken apart."""

    def __init__(self, feed: Feed, url: str, secret: str | None) -> None:
        self.feed, self.url, self.secret = feed, url, secret

    def wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{variable(self.feed.name)} {what}", do="docs/sources.md says how each source is configured."
        )

    def source(self) -> Source:
        scheme = self.url.partition("://")[0].lower()
        if scheme.startswith("sql+"):
            return self._query()
        makers = {"file": self._folder, "sftp": self._sftp, "s3": self._s3}
        makers |= {"nomis+https": self._nomis, "nomis+http": self._nomis}
        if scheme not in makers:
            raise self.wrong(f"names none of the kinds of source: {', '.join([*makers, 'sql+…'])}.")
        return makers[scheme](urlsplit(self.url))

    def _options(self, pairs: Mapping[str, str], *known: str) -> dict[str, str]:
        unknown = [name for name in pairs if name not in known]
        if unknown:
            raise self.wrong(f"has an option that is not one of {', '.join(known) or 'none'}.")
        return dict(pairs)

    def _query_options(self, parts: SplitResult, *known: str) -> dict[str, str]:
        return self._options(dict(parse_qsl(parts.query, keep_blank_values=True)), *known)

    def _password(self, parts: SplitResult) -> str | None:
        return unquote(parts.password) if parts.password else self.secret

    def _path(self, parts: SplitResult) -> str:
        path = unquote(parts.path).rstrip("/")
        if ".." in path.split("/"):
            raise self.wrong("has a path that leads upwards.")
        return path

    def _folder(self, parts: SplitResult) -> Source:
        self._query_options(parts)
        path = self._path(parts)
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise self.wrong("must name an absolute folder of this machine: file:///folder.")
        return FolderSource(Path(path))

    def _sftp(self, parts: SplitResult) -> Source:
        from peel.sources.remote import RemoteSource, SftpServer

        options = self._query_options(parts, "known_hosts", "fingerprint", "key_file")
        if not parts.hostname or not parts.username or not self._path(parts):
            raise self.wrong("must name a user, a host and a folder: sftp://user@host/folder.")
        if ("known_hosts" in options) == ("fingerprint" in options):
            raise self.wrong("must have one of the options known_hosts and fingerprint.")
        server = SftpServer(
            host=parts.hostname,
            user=unquote(parts.username),
            port=parts.port or 22,
            known_hosts=Path(options["known_hosts"]) if "known_hosts" in options else None,
            fingerprint=options.get("fingerprint", "").replace(" ", "+") or None,  # a "+" in a query reads as a space
            key_file=Path(options["key_file"]) if "key_file" in options else None,
            password=self._password(parts),
        )
        return RemoteSource(server.connect, self._path(parts))

    def _s3(self, parts: SplitResult) -> Source:
        from peel.sources.remote import RemoteSource, S3Store

        options = self._query_options(parts, "endpoint", "region")
        bucket = parts.netloc.rpartition("@")[2]
        if not bucket:
            raise self.wrong("must name a bucket: s3://bucket/prefix.")
        if "region" not in options:
            raise self.wrong("must have the option region.")
        if not options.get("endpoint", "https://").startswith(("https://", "http://")):
            raise self.wrong("must have an endpoint that begins with https:// or http://.")
        key, password = (unquote(parts.username) if parts.username else None), self._password(parts)
        if (key is None) != (password is None):
            raise self.wrong("has an access key without its secret, or the other way round.")
        store = S3Store(options["region"], options.get("endpoint"), key, password)
        return RemoteSource(store.connect, f"{bucket}{self._path(parts)}")

    def _query(self) -> Source:
        import sqlalchemy as sa

        from peel.sources.query import QuerySource

        text = self.url[len("sql+") :]
        text = f"postgresql{text[len('postgres') :]}" if text.startswith(("postgres:", "postgres+")) else text
        url = sa.make_url(text)
        own = {name.removeprefix("peel_"): str(value) for name, value in url.query.items() if name.startswith("peel_")}
        options = self._options(own, "schema", "lag", "watermark", "zone", "isolation")
        url = url.difference_update_query([f"peel_{name}" for name in own])
        url.get_dialect()  # is there such a database, and its driver?
        if url.password is None and self.secret is not None:
            url = url.set(password=self.secret)
        more: dict[str, Any] = {}
        if "lag" in options:
            if not options["lag"].isdecimal() or int(options["lag"]) > 86_400:
                raise self.wrong("has a peel_lag that is no number of seconds up to a day.")
            more["lag"] = dt.timedelta(seconds=int(options["lag"]))
        if "watermark" in options:
            more["watermark_column"] = options["watermark"]
        if "zone" in options:
            try:
                more["zone"] = ZoneInfo(options["zone"]).key
            except (ZoneInfoNotFoundError, ValueError):
                raise self.wrong("has a peel_zone that is no time zone.") from None
        return QuerySource(url, options.get("schema"), isolation=options.get("isolation"), **more)

    def _nomis(self, parts: SplitResult) -> Source:
        from peel.sources.nomis import NomisSource

        self._query_options(parts)
        if not parts.hostname:
            raise self.wrong("must name a host: nomis+https://host.")
        port = f":{parts.port}" if parts.port else ""
        base = f"{parts.scheme.removeprefix('nomis+')}://{parts.hostname}{port}{self._path(parts)}"
        return NomisSource(base, nomis_queries(self.feed), self._password(parts))


def nomis_queries(feed: Feed) -> tuple[Any, ...]:
    """The queries that a feed's contracts name: a server of type ``api`` whose location is the query's address.

    Only dataset and parameters are taken from it, never the host.

    Raises:
        ConfigurationError: a contract names none, or one that is no Nomis query.
    """
    from peel.sources.nomis import NomisQuery

    queries = []
    for contract in feed.contracts:
        document = yaml.safe_load(Path(contract.path).read_bytes())
        locations = [str(each["location"]) for each in document.get("servers", []) if each.get("type") == "api"]
        parts = urlsplit(locations[0] if len(locations) == 1 else "")
        _, _, dataset = parts.path.rpartition("/api/v01/dataset/")
        if not dataset.endswith(".data.csv"):
            raise ConfigurationError(
                f"The contract {contract.name} must have one server of type api that is a Nomis query.",
                do="Its location is …/api/v01/dataset/<dataset>.data.csv?<parameters>.",
            )
        parameters = dict(parse_qsl(parts.query))
        queries.append(NomisQuery(contract.name, dataset.removesuffix(".data.csv"), parameters))
    return tuple(queries)
