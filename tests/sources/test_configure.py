"""A feed's source from its variable: each kind, and no fault that shows what the variable holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as few
from hypothesis import strategies as st

from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.settings import Settings
from peel.sources.base import Known
from peel.sources.configure import nomis_queries, source_of, variable
from peel.sources.folder import FolderSource
from peel.sources.nomis import NomisQuery, NomisSource
from peel.sources.query import QuerySource
from peel.sources.remote import RemoteSource, S3Store, SftpServer
from tests.deliveries import deliver
from tests.sourcing import feed, only, shown, whole

SECRET = "hush-hush"


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tmp_path / "var", tmp_path / "var" / "sources", tmp_path / "var" / "landing")


@pytest.fixture
def hr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.delenv("PEEL_SOURCE_HR", raising=False)
    monkeypatch.delenv("PEEL_SECRET_SOURCE_HR", raising=False)
    return feed(tmp_path, {"staff": {"*person_id": "text"}})


@pytest.fixture
def configured(here: Settings, hr: Feed, monkeypatch: pytest.MonkeyPatch):
    def make(url: str, secret: str | None = None):
        monkeypatch.setenv(variable("hr"), url)
        if secret:
            monkeypatch.setenv("PEEL_SECRET_SOURCE_HR", secret)
        return source_of(here, hr)

    return make


def test_without_a_variable_the_source_is_the_local_folder(here: Settings, hr: Feed) -> None:
    assert source_of(here, hr) == FolderSource(here.sources)


def test_a_folder(configured, hr: Feed, tmp_path: Path) -> None:
    deliver(tmp_path / "a b", "hr", "2026-03-10", {"staff": b"person_id\n1\n"})
    source = configured(f"file://{tmp_path}/a%20b")
    assert whole(source, only(source, hr))[1] == {"staff": b"person_id\n1\n"}


def test_an_sftp_server(configured) -> None:
    source = configured(f"sftp://peel%40hr:{SECRET}%2F@host:2222/drop/in?known_hosts=/k&key_file=/id")
    assert isinstance(source, RemoteSource)
    assert source.root == "/drop/in"
    assert source.connect.__self__ == SftpServer(  # type: ignore[attr-defined]
        "host", "peel@hr", 2222, known_hosts=Path("/k"), key_file=Path("/id"), password=f"{SECRET}/"
    )
    source = configured("sftp://peel@host/drop?fingerprint=SHA256:a+b/c", SECRET)
    assert source.connect.__self__ == SftpServer("host", "peel", 22, fingerprint="SHA256:a+b/c", password=SECRET)
    assert SECRET not in repr(source)


def test_a_bucket(configured) -> None:
    source = configured("s3://AKIA:a%2Fb@deliveries/in/here?region=eu-west-2&endpoint=https://store.example:9000")
    assert source.root == "deliveries/in/here"
    assert source.connect.__self__ == S3Store("eu-west-2", "https://store.example:9000", "AKIA", "a/b")
    source = configured("s3://AKIA@deliveries?region=eu-west-2", SECRET)
    assert source.root == "deliveries"
    assert source.connect.__self__ == S3Store("eu-west-2", None, "AKIA", SECRET)


def test_a_bucket_with_what_the_machine_has(configured) -> None:
    assert configured("s3://deliveries?region=eu-west-2").connect.__self__ == S3Store("eu-west-2")


def test_a_database(configured) -> None:
    source = configured(
        "sql+postgresql://peel@host:5433/hr?sslmode=verify-full"
        "&peel_schema=hr&peel_lag=60&peel_watermark=changed&peel_zone=UTC&peel_isolation=SERIALIZABLE",
        SECRET,
    )
    assert isinstance(source, QuerySource)
    assert (source.schema, source.lag.total_seconds(), source.watermark_column) == ("hr", 60, "changed")
    assert (source.zone, source.isolation) == ("UTC", "SERIALIZABLE")
    assert source.url.render_as_string(hide_password=False) == (  # type: ignore[union-attr]
        f"postgresql://peel:{SECRET}@host:5433/hr?sslmode=verify-full"
    )
    assert SECRET not in repr(source)
    for scheme in ("postgres", "postgresql+psycopg", "postgresql+psycopg2"):
        assert isinstance(configured(f"sql+{scheme}://a:b@host/hr"), QuerySource)


def test_nomis_with_the_queries_of_the_contracts(here: Settings, tmp_path: Path, monkeypatch) -> None:
    location = "https://www.nomisweb.co.uk/api/v01/dataset/NM_2041_1.data.csv?geography=TYPE154&c2021_eth_20=0...19"
    of = feed(tmp_path, {"ethnicity": {"*a": "text"}}, name="census", api={"ethnicity": location})
    monkeypatch.setenv("PEEL_SOURCE_CENSUS", "nomis+https://www.nomisweb.co.uk")
    monkeypatch.setenv("PEEL_SECRET_SOURCE_CENSUS", SECRET)
    source = source_of(here, of)
    assert isinstance(source, NomisSource)
    assert (source.url, source.uid) == ("https://www.nomisweb.co.uk", SECRET)
    assert source.queries == (NomisQuery("ethnicity", "NM_2041_1", {"geography": "TYPE154", "c2021_eth_20": "0...19"}),)
    assert SECRET not in repr(source)
    for wrong in ("https://www.nomisweb.co.uk/api/v01/help", "https://host/api/v01/dataset/NM_1_1.jsonstat.json"):
        of = feed(tmp_path, {"ethnicity": {"*a": "text"}}, name="census", api={"ethnicity": wrong})
        with pytest.raises(ConfigurationError, match="contract ethnicity must have one server"):
            nomis_queries(of)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        (f"gopher://user:{SECRET}@host", "none of the kinds of source: file, sftp, s3"),
        (SECRET, "none of the kinds"),
        (f"file://host/{SECRET}", "absolute folder"),
        (f"file:///srv/../{SECRET}", "leads upwards"),
        (f"sftp://:{SECRET}@host/drop?known_hosts=/k", "a user, a host and a folder"),
        (f"sftp://user:{SECRET}@host?known_hosts=/k", "a user, a host and a folder"),
        (f"sftp://user:{SECRET}@host/drop", "known_hosts and fingerprint"),
        (f"sftp://user:{SECRET}@host/drop?known_hosts=/k&strict=no", "known_hosts, fingerprint, key_file"),
        (f"sftp://user:{SECRET}@host:port/drop?known_hosts=/k", "no address of a source"),
        (f"s3://AKIA:{SECRET}@?region=x", "must name a bucket"),
        (f"s3://AKIA:{SECRET}@bucket", "option region"),
        (f"s3://:{SECRET}@bucket?region=x", "without its secret"),
        (f"s3://AKIA:{SECRET}@bucket?region=x&endpoint=store", "endpoint that begins"),
        (f"sql+nodatabase://a:{SECRET}@host/db", "no address of a source"),
        (f"sql+{SECRET}", "no address of a source"),
        (f"sql+sqlite:///{SECRET}?peel_lag=soon", "no number of seconds"),
        (f"sql+sqlite:///{SECRET}?peel_zone=Mars", "no time zone"),
        (f"sql+sqlite:///{SECRET}?peel_query=x", "schema, lag, watermark"),
        (f"nomis+https://?{SECRET}", "option"),
        (f"nomis+https://:{SECRET}@", "name a host"),
    ],
)
def test_a_fault_names_the_variable_and_nothing_it_holds(configured, url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        configured(url)
    assert str(caught.value).startswith("PEEL_SOURCE_HR ")
    assert SECRET not in shown(caught.value)


@few(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", "file://", "sftp://", "s3://", "sql+", "sql+postgresql://", "nomis+https://"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
)
def test_any_text_makes_a_source_or_a_fault_that_does_not_quote_it(
    here: Settings, hr: Feed, scheme: str, rest: str
) -> None:
    url = f"{scheme}{rest}@{SECRET}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable("hr"), url)
        try:
            source_of(here, hr)
        except ConfigurationError as error:
            assert SECRET not in shown(error)  # noqa: PT017


def test_a_source_connects_only_when_it_is_asked(configured, hr: Feed) -> None:
    for url in ("sftp://a@127.0.0.1:1/drop?fingerprint=SHA256:x", "sql+postgresql://a:b@127.0.0.1:1/x"):
        configured(url)
    with pytest.raises(Exception, match="cannot be read"):
        list(configured("sql+postgresql://a:b@127.0.0.1:1/x").offers(hr, Known()))
