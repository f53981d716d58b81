"""Packed files: the same bytes come out, and nothing endless, strange or damaged does."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tracemalloc
import zipfile
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peel.feeds.readers import UnreadableFile
from peel.sources import archives
from peel.sources.archives import unpacked


class Pipe(io.RawIOBase):
    """A stream that cannot seek, as one from a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._data.readinto(buffer)


def zipped(data: bytes, name: str = "staff.csv", method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(name, data)
        for other, content in members.items():
            archive.writestr(other, content)
    return made.getvalue()


def out(packed: bytes, name: str, *, seekable: bool = True) -> bytes:
    stream: BinaryIO = io.BytesIO(packed) if seekable else cast(BinaryIO, io.BufferedReader(Pipe(packed)))
    with unpacked(stream, name) as opened:
        data = opened.read()
    assert stream.closed
    return data


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000), st.booleans())
def test_any_bytes_come_out_as_they_went_in(data: bytes, seekable: bool) -> None:
    assert out(gzip.compress(data), "x.csv.gz", seekable=seekable) == data
    assert out(gzip.compress(data[:7]) + gzip.compress(data[7:]), "X.CSV.GZ", seekable=seekable) == data
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert out(zipped(data, method=method), "x.csv.zip", seekable=seekable) == data
    assert out(data, "x.csv", seekable=seekable) == data


def test_a_large_file_is_never_held_as_a_whole() -> None:
    packed = gzip.compress(random.Random(1).randbytes(1 << 20) * 40)
    tracemalloc.start()
    size = 0
    with unpacked(io.BytesIO(packed), "x.csv.gz") as opened:
        while block := opened.read(1 << 16):
            size += len(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 40 << 20
    assert peak < 3 << 20


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_what_expands_endlessly_is_refused(kind: str, seekable: bool) -> None:
    zeros = bytes(30 << 20)
    packed = gzip.compress(zeros) if kind == "gz" else zipped(zeros)
    with pytest.raises(UnreadableFile) as caught:
        out(packed, f"x.csv.{kind}", seekable=seekable)
    assert caught.value.rule == "archive_expands"
    small = bytes(10 << 20)  # ten MiB are never too many
    packed = gzip.compress(small) if kind == "gz" else zipped(small)
    assert out(packed, f"x.csv.{kind}", seekable=seekable) == small


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_more_than_the_limit_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "EXPANDED_LIMIT", 100_000)
    data = random.Random(1).randbytes(100_001)
    packed = {"gz": gzip.compress, "zip": zipped}[kind]
    with pytest.raises(UnreadableFile) as caught:
        out(packed(data), f"x.csv.{kind}")
    assert caught.value.rule == "archive_expands"
    assert out(packed(data[1:]), f"x.csv.{kind}") == data[1:]


def test_a_zip_that_lies_about_its_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zipped(b"x" * 1000)
    lying = packed.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != packed
    with pytest.raises(UnreadableFile, match="damaged") as caught:
        out(lying, "x.csv.zip")
    assert caught.value.rule == "archive_damaged"


def test_a_zip_too_large_for_memory_is_refused_if_it_must_go_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "IN_MEMORY_LIMIT", 1 << 20)
    data = random.Random(1).randbytes((1 << 20) + 1)
    assert out(zipped(data), "x.zip") == data
    with pytest.raises(UnreadableFile) as caught:
        out(zipped(data), "x.zip", seekable=False)
    assert caught.value.rule == "archive_layout"


@pytest.mark.parametrize(
    "name",
    [
        "../staff.csv",
        "/etc/staff.csv",
        "a/staff.csv",
        "C:\\staff.csv",
        "..",
        ".hidden",
        "a\\b.csv",
        "staff\n.csv",
        "d/",
    ],
)
def test_a_member_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        out(zipped(b"x", name), "x.zip")
    assert caught.value.rule == "archive_layout"


def member(mode: int = 0, flags: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        info = zipfile.ZipInfo("staff.csv")
        info.external_attr, info.compress_type = mode << 16, method
        archive.writestr(info, b"data")
    data = bytearray(made.getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= flags
    return bytes(data)


@pytest.mark.parametrize(
    "packed",
    [
        zipped(b"x", **{"other.csv": b"y"}),
        zipped(b"x", **{"deep/": b""}),
        member(stat.S_IFLNK | 0o777),
        member(stat.S_IFIFO | 0o666),
        member(stat.S_IFDIR | 0o777),
        member(flags=0x1),
        member(method=zipfile.ZIP_LZMA),
        member(method=zipfile.ZIP_BZIP2),
    ],
    ids=["two", "folder", "link", "pipe", "directory", "encrypted", "lzma", "bzip2"],
)
def test_an_archive_of_anything_but_one_plain_file_is_refused(packed: bytes) -> None:
    with pytest.raises(UnreadableFile) as caught:
        out(packed, "x.zip")
    assert caught.value.rule == "archive_layout"


def test_an_empty_archive_is_refused() -> None:
    made = io.BytesIO()
    zipfile.ZipFile(made, "w").close()
    with pytest.raises(UnreadableFile) as caught:
        out(made.getvalue(), "x.zip")
    assert (caught.value.rule, caught.value.count) == ("archive_layout", 0)


DATA = random.Random(3).randbytes(3000)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["gz", "zip"]), st.data())
def test_any_damage_gives_the_same_bytes_or_is_refused(kind: str, draw: st.DataObject) -> None:
    whole = gzip.compress(DATA, mtime=0) if kind == "gz" else zipped(DATA)
    if draw.draw(st.booleans(), "cut"):
        broken = whole[: draw.draw(st.integers(0, len(whole) - 1), "at")]
    else:
        place = draw.draw(st.integers(0, len(whole) - 1), "place")
        broken = whole[:place] + bytes([whole[place] ^ draw.draw(st.integers(1, 255), "bits")]) + whole[place + 1 :]
    try:
        data = out(broken, f"x.csv.{kind}")
    except UnreadableFile as fault:
        assert fault.rule in ("archive_damaged", "archive_layout")  # noqa: PT017
    else:
        # an empty gzip is an empty file; its name and time are no part of the data
        assert data in (DATA, b"" if not broken else DATA)
