"""Folders on other machines: OpenSSH, a server that knows passwords, and an S3 server, all on this machine."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.feeds.manifest import MANIFEST
from peel.sources.base import FileAbsent, Known, SourceUnavailable
from peel.sources.folder import FolderSource
from peel.sources.remote import RemoteSource, S3Store, SftpServer
from tests.deliveries import deliver
from tests.sourcing import feed, only, read, shown, whole

Write = Callable[[str, bytes], None]


@pytest.fixture
def hr(tmp_path: Path) -> Feed:
    return feed(tmp_path, {"staff": {"*person_id": "text"}, "posts": {"*post_id": "text"}})


def server(ssh: Any, **more: Any) -> SftpServer:
    of_key: dict[str, Any] = {"known_hosts": ssh.known_hosts, "key_file": ssh.key_file}
    return SftpServer("127.0.0.1", ssh.user, ssh.port, **{**of_key, **more})


@dataclasses.dataclass
class Place:
    """A source of either kind, the local folder it stands for, and how to bring a file there."""

    source: RemoteSource
    write: Write
    remove: Callable[[str], None]


@pytest.fixture(params=["sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sftp":
        ssh = request.getfixturevalue("openssh")
        root = ssh.drop / tmp_path.name
        root.mkdir()

        def write(name: str, data: bytes) -> None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)

        source = RemoteSource(server(ssh).connect, str(root))
        yield Place(source, write, lambda name: (root / name).unlink())
    else:
        store = request.getfixturevalue("store")

        def put(name: str, data: bytes) -> None:
            store.client.put_object(Bucket=store.bucket, Key=f"in/{name}", Body=data)

        def delete(name: str) -> None:
            store.client.delete_object(Bucket=store.bucket, Key=f"in/{name}")

        at = S3Store("eu-west-2", store.endpoint, "AKIATEST", "s3cret/key")
        source = RemoteSource(at.connect, f"{store.bucket}/in")
        yield Place(source, put, delete)
    source.close()


def bring(place: Place, folder: Path) -> None:
    """Copy a local drop there, the manifests last."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == MANIFEST):
        place.write(str(path.relative_to(folder)), path.read_bytes())


ROWS = {"staff": [{"person_id": str(n)} for n in range(1000)], "posts": [{"post_id": "1"}]}


def test_what_is_there_is_found_oldest_first_and_comes_byte_for_byte(place: Place, hr: Feed, tmp_path: Path) -> None:
    drop = tmp_path / "local"
    for date, seq in (("2026-03-10", 2), ("2026-03-10", 10), ("2025-12-31", 1), ("2026-03-09", 1)):
        deliver(drop, "hr", date, ROWS, seq=seq)
    deliver(drop, "recruitment", "2026-03-10", ROWS)
    bring(place, drop)
    place.write("hr/not-a-date/1/staff.csv", b"a\n")
    place.write("hr/2026-03-11/1/staff.csv", b"a\n")
    place.write("hr/.2026-03-12/1/manifest.json", b"{}")
    place.write("hr/2026-03-12/.1/manifest.json", b"{}")
    offers = list(place.source.offers(hr, Known()))
    assert [(offer.name, offer.seq, offer.is_complete) for offer in offers] == [
        ("2025-12-31/1", 1, True),
        ("2026-03-09/1", 1, True),
        ("2026-03-10/2", 2, True),
        ("2026-03-10/10", 10, True),
        ("2026-03-11/1", 1, False),
        ("not-a-date/1", 1, False),
    ]
    assert offers[-1].business_date is None
    local = FolderSource(drop)
    for here, there in zip(local.offers(hr, Known()), offers, strict=False):
        assert here.name == there.name
        assert whole(place.source, there) == whole(local, here)


def test_a_feed_that_never_delivered_offers_nothing(place: Place, hr: Feed) -> None:
    place.write("recruitment/2026-03-10/1/manifest.json", b"{}")
    assert list(place.source.offers(hr, Known())) == []


def test_a_delivery_is_complete_with_its_manifest_and_its_fingerprint_tells_of_any_change(
    place: Place, hr: Feed
) -> None:
    place.write("hr/2026-03-10/1/staff.csv", b"person_id\n1\n")
    first = only(place.source, hr)
    assert not first.is_complete
    place.write("hr/2026-03-10/1/manifest.json", b"{}")
    second = only(place.source, hr)
    assert second.is_complete
    assert only(place.source, hr).fingerprint == second.fingerprint
    time.sleep(1.1)  # SFTP and S3 both count in whole seconds
    place.write("hr/2026-03-10/1/staff.csv", b"person_id\n2\n")
    third = only(place.source, hr)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3


def test_only_plain_files_of_the_folder_itself_are_opened(place: Place, hr: Feed) -> None:
    place.write("hr/2026-03-10/1/manifest.json", b"{}")
    place.write("hr/2026-03-10/1/deep/staff.csv", b"x")
    place.write("hr/secret.csv", b"x")
    offer = only(place.source, hr)
    odd = ["none.csv", "deep", "deep/staff.csv", "../../secret.csv", "..", ".", "", "/etc/passwd", "a\\b", "a\0b", "*"]
    for name in odd:
        with pytest.raises(FileAbsent):
            place.source.open(offer, name)


def test_a_large_file_is_read_in_order_and_out_of_order(place: Place, hr: Feed) -> None:
    data = random.Random(1).randbytes(9_000_001)
    place.write("hr/2026-03-10/1/manifest.json", b"{}")
    place.write("hr/2026-03-10/1/staff.csv", data)
    place.write("hr/2026-03-10/1/empty.csv", b"")
    offer = only(place.source, hr)
    assert read(place.source, offer, "staff.csv") == data
    assert read(place.source, offer, "empty.csv") == b""
    with place.source.open(offer, "staff.csv") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == data[-10:]
        stream.seek(4_194_300)
        assert stream.read(100) == data[4_194_300:4_194_400]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 70_000), min_size=1, max_size=6))
def test_any_way_of_reading_gives_the_same_bytes(place: Place, hr: Feed, sizes: list[int]) -> None:
    data = random.Random(2).randbytes(200_003)
    place.write("hr/2026-03-10/1/manifest.json", data)
    offer = only(place.source, hr)
    with place.source.open(offer, "manifest.json") as stream:
        parts = [stream.read(size) for size in sizes]
        assert b"".join([*parts, stream.read()]) == data


def test_a_file_that_is_cut_while_it_is_read_is_told_of(place: Place, hr: Feed) -> None:
    place.write("hr/2026-03-10/1/manifest.json", b"{}")
    place.write("hr/2026-03-10/1/staff.csv", b"x" * 9_000_000)
    offer = only(place.source, hr)
    with place.source.open(offer, "staff.csv") as stream:
        stream.read(10)
        place.write("hr/2026-03-10/1/staff.csv", b"x" * 4_500_000)
        with pytest.raises(SourceUnavailable, match="file staff"):
            stream.read()


def test_a_file_that_vanished_is_absent(place: Place, hr: Feed) -> None:
    place.write("hr/2026-03-10/1/manifest.json", b"{}")
    offer = only(place.source, hr)
    place.remove("hr/2026-03-10/1/manifest.json")
    with pytest.raises(FileAbsent):
        place.source.open(offer, "manifest.json")


def test_a_root_that_is_not_there_is_told_of(openssh: Any, store: Any, hr: Feed) -> None:
    for here in (
        RemoteSource(server(openssh).connect, str(openssh.drop / "nothing")),
        RemoteSource(S3Store("eu-west-2", store.endpoint, "AKIATEST", "s3cret/key").connect, "no-such-bucket"),
    ):
        with pytest.raises(SourceUnavailable, match="folder is not there"):
            list(here.offers(hr, Known()))
        here.close()


# SFTP


def test_links_and_what_is_no_file_are_not_opened(openssh: Any, hr: Feed, tmp_path: Path) -> None:
    root = openssh.drop / tmp_path.name
    folder = root / "hr" / "2026-03-10" / "1"
    folder.mkdir(parents=True)
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "manifest.json").write_bytes(b"{}")
    (root / "hr" / "2026-03-11").symlink_to(root / "hr" / "2026-03-10")
    (folder.parent / "2").symlink_to(root / "elsewhere")
    (folder / "manifest.json").symlink_to(root / "elsewhere" / "manifest.json")
    os.mkfifo(folder / "pipe.csv")
    here = RemoteSource(server(openssh).connect, str(root))
    offer = only(here, hr)
    assert (offer.name, offer.is_complete) == ("2026-03-10/1", False)
    for name in ("manifest.json", "pipe.csv"):
        with pytest.raises(FileAbsent):
            here.open(offer, name)
    here.close()


def test_another_host_key_is_refused(openssh: Any, hr: Feed, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = tmp_path / "known_hosts"
    for hosts in (f"[127.0.0.1]:{openssh.port} {(tmp_path / 'other.pub').read_text()}", ""):
        other.write_text(hosts)
        here = RemoteSource(server(openssh, known_hosts=other).connect, str(openssh.drop))
        with pytest.raises(SourceUnavailable, match="host key is not the one configured"):
            list(here.offers(hr, Known()))
    pinned = {"known_hosts": None, "fingerprint": "SHA256:AAAA"}
    with pytest.raises(SourceUnavailable, match="host key is not the one configured"):
        list(RemoteSource(server(openssh, **pinned).connect, str(openssh.drop)).offers(hr, Known()))


def test_a_host_key_is_known_by_its_fingerprint(openssh: Any, hr: Feed) -> None:
    told = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(openssh.folder / "host_key.pub")], check=True, capture_output=True, text=True
    )
    here = server(openssh, known_hosts=None, fingerprint=told.stdout.split()[1])
    with_fingerprint = RemoteSource(here.connect, str(openssh.drop))
    assert list(with_fingerprint.offers(hr, Known())) == []
    with_fingerprint.close()


def test_a_host_key_must_be_configured(openssh: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="known_hosts or fingerprint"):
        server(openssh, known_hosts=None).connect()
    with pytest.raises(ConfigurationError, match="no such file"):
        server(openssh, known_hosts=tmp_path / "nothing").connect()


def test_a_key_that_is_not_let_in_is_refused(
    openssh: Any, hr: Feed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "opens-it", "-f", str(path)], check=True)
    for more in ({"key_file": path, "password": "opens-it"}, {"key_file": None, "password": "opens-it"}):
        there = server(openssh, **more)
        with pytest.raises(SourceUnavailable, match="refused the user or the key") as caught:
            list(RemoteSource(there.connect, str(openssh.drop)).offers(hr, Known()))
        assert "opens-it" not in shown(caught.value) + caplog.text + repr(there)


def test_a_password_opens_and_a_wrong_one_does_not(
    password_ssh: Any, hr: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deliver(password_ssh.drop, "hr", "2026-03-10", ROWS)
    there = SftpServer(
        "127.0.0.1",
        password_ssh.user,
        password_ssh.port,
        fingerprint=password_ssh.fingerprint,
        password=password_ssh.password,
    )
    here = RemoteSource(there.connect, "/")
    assert len(whole(here, only(here, hr))[1]["staff"]) > 1000
    here.close()
    wrong = dataclasses.replace(there, password="wrong-secret")
    with pytest.raises(SourceUnavailable, match="refused the user or the key") as caught:
        list(RemoteSource(wrong.connect, "/").offers(hr, Known()))
    told = shown(caught.value) + caplog.text + repr(wrong) + repr(here)
    assert "wrong-secret" not in told
    assert password_ssh.password not in told


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # paramiko's own, asking ahead
def test_a_connection_that_breaks_is_told_of_and_made_again(openssh: Any, hr: Feed, tmp_path: Path) -> None:
    root = openssh.drop / tmp_path.name
    folder = deliver(root, "hr", "2026-03-10", {"staff": b"x\n" * 9_000_000, "posts": b"y\n"})
    here = RemoteSource(server(openssh).connect, str(root))
    offer = only(here, hr)
    stream = here.open(offer, "staff_20260310_1.csv")
    stream.read(10)
    before = {child.pid for child in psutil.Process(openssh.process.pid).children(recursive=True)}
    for pid in before:
        psutil.Process(pid).kill()
    with pytest.raises(SourceUnavailable, match="the connection failed") as caught:
        stream.read()
    assert str(folder) not in str(caught.value)
    assert len(read(here, only(here, hr), "staff_20260310_1.csv")) == 18_000_000
    here.close()


def test_nobody_listening_is_told_of(hr: Feed, openssh: Any) -> None:
    here = RemoteSource(dataclasses.replace(server(openssh), port=1).connect, "/drop")
    with pytest.raises(SourceUnavailable, match="NoValidConnectionsError"):
        list(here.offers(hr, Known()))


def test_a_server_that_never_answers_is_given_up(
    openssh: Any, hr: Feed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("peel.sources.remote._SECONDS", 1.0)
    root = openssh.drop / tmp_path.name
    deliver(root, "hr", "2026-03-10", ROWS)
    here = RemoteSource(server(openssh).connect, str(root))
    offer = only(here, hr)
    stopped = [psutil.Process(child.pid) for child in psutil.Process(openssh.process.pid).children(recursive=True)]
    for each in stopped:
        each.suspend()
    again = threading.Timer(8, lambda: [each.resume() for each in stopped])
    again.start()
    began = time.monotonic()
    try:
        with pytest.raises(SourceUnavailable, match="TimeoutError"):
            here.open(offer, MANIFEST)
        assert time.monotonic() - began < 5
    finally:
        again.cancel()
        for each in stopped:
            each.resume()
    here.close()


# S3


def test_a_store_out_of_reach_is_told_of_without_its_key(
    store: Any, hr: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    at = S3Store("eu-west-2", "http://127.0.0.1:1", "AKIATEST", "s3cret/key")
    with pytest.raises(SourceUnavailable, match="the connection failed") as caught:
        list(RemoteSource(at.connect, "deliveries").offers(hr, Known()))
    told = shown(caught.value) + caplog.text + repr(at)
    assert "s3cret" not in told
    assert "AKIATEST" not in told


def test_a_store_that_goes_away_while_it_is_read_is_told_of(store: Any, hr: Feed) -> None:
    for name in ("manifest.json", "staff.csv"):
        store.client.put_object(Bucket=store.bucket, Key=f"hr/2026-03-10/1/{name}", Body=b"x" * 9_000_000)
    here = RemoteSource(S3Store("eu-west-2", store.endpoint, "AKIATEST", "s3cret/key").connect, store.bucket)
    offer = only(here, hr)
    with here.open(offer, "staff.csv") as stream:
        stream.read(10)
        store.server.stop()
        with pytest.raises(SourceUnavailable, match="the connection failed"):
            stream.read()
    with pytest.raises(SourceUnavailable):
        list(here.offers(hr, Known()))


def test_more_objects_than_one_answer_lists_are_all_found(store: Any, hr: Feed) -> None:
    for number in range(1, 1_006):
        store.client.put_object(Bucket=store.bucket, Key=f"hr/2026-03-10/1/part{number}.csv", Body=b"")
    here = RemoteSource(S3Store("eu-west-2", store.endpoint, "AKIATEST", "s3cret/key").connect, store.bucket)
    offer = only(here, hr)
    assert not offer.is_complete
    assert read(here, offer, "part1005.csv") == b""
