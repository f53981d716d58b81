"""Deliveries as folders somewhere else: on an SFTP server or in S3 object storage.

The layout is that of :mod:`peel.sources.folder`: ``<root>/<feed>/<business_date>/<seq>/``, the manifest last.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from peel.contracts import Feed
from peel.errors import ConfigurationError
from peel.feeds.manifest import MANIFEST
from peel.sources.base import FileAbsent, Known, Offer, SourceUnavailable
from peel.sources.folder import offer

READ_AHEAD = 4 << 20
"""Bytes fetched ahead of the reader."""
_SFTP_REQUEST = 32 << 10  # what every SFTP server gives at a time
_SECONDS = 60.0


@dataclass
class RemoteSource:
    """A folder on another machine that feeds deliver to.

    Attributes:
        connect: makes the connection; called anew after an error.
        root: the folder.
    """

    connect: Callable[[], AbstractFileSystem] = field(repr=False)
    root: str
    _held: AbstractFileSystem | None = field(default=None, init=False, repr=False)

    def offers(self, feed: Feed, known: Known) -> Iterator[Offer]:
        """Walk the feed's folders; hidden names are work in progress, links are none of ours.

        Raises:
            SourceUnavailable: the server or the root folder is out of reach.
        """
        with self._faults(feed.name):
            if not self._is_folder(self.root):
                raise self._unavailable("the configured folder is not there.", feed.name)
            found = list(self._walk(f"{self.root}/{feed.name}"))
        yield from found

    def open(self, offer: Offer, file: str) -> BinaryIO:
        """Open a plain file of the folder itself, as a stream that can seek and is read ahead."""
        folder = str(offer.handle)
        if PurePosixPath(file).name != file or file in ("", ".", "..") or "\\" in file or not file.isprintable():
            raise FileAbsent(file)
        with self._faults(None, file):
            entry = next((each for each in self._entries(folder) if each["leaf"] == file), None)
            if entry is None or entry["type"] != "file":
                raise FileAbsent(file)
            try:
                handle = self._filesystem.open(f"{folder}/{file}", "rb")
            except FileNotFoundError:
                raise FileAbsent(file) from None
        raw = _RemoteFile(handle, int(entry["size"]), lambda: self._faults(None, file))
        return cast(BinaryIO, io.BufferedReader(raw, READ_AHEAD))

    def close(self) -> None:
        """Give the connection back."""
        held, self._held = self._held, None
        client = getattr(held, "client", None)
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()

    @property
    def _filesystem(self) -> AbstractFileSystem:
        if self._held is None:
            self._held = self.connect()
        return self._held

    def _walk(self, root: str) -> Iterator[Offer]:
        for day in sorted(each["leaf"] for each in self._entries(root) if _is_open_folder(each)):
            numbers = [each["leaf"] for each in self._entries(f"{root}/{day}") if _is_open_folder(each)]
            for number in sorted(numbers, key=lambda name: (len(name), name)):
                folder = f"{root}/{day}/{number}"
                entries = sorted(
                    (each["leaf"], each["type"], each["size"], str(each["mtime"])) for each in self._entries(folder)
                )
                is_complete = any(name == MANIFEST and kind == "file" for name, kind, _, _ in entries)
                yield offer(day, number, is_complete, repr(entries), folder)

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder; nothing, where there is none."""
        try:
            entries = self._filesystem.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [{**each, "leaf": PurePosixPath(each["name"]).name} for each in entries if each["name"] != folder]

    def _is_folder(self, path: str) -> bool:
        try:
            return bool(self._filesystem.info(path)["type"] == "directory")
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _faults(self, feed: str | None, file: str | None = None) -> Iterator[None]:
        """Errors of the connection by their type: a text may hold addresses and what was sent."""
        try:
            yield
        except (SourceUnavailable, ConfigurationError, FileAbsent):
            raise
        except Exception as error:
            self.close()
            raise self._unavailable(_meaning(error), feed, file) from None

    def _unavailable(self, what: str, feed: str | None, file: str | None = None) -> SourceUnavailable:
        return SourceUnavailable(
            f"the source cannot be read: {what}",
            feed=feed,
            file=file,
            do="Put the source or its connection right; the next look tries again.",
        )


def _is_open_folder(entry: dict[str, Any]) -> bool:
    return entry["type"] == "directory" and not entry["leaf"].startswith(".")


def _meaning(error: Exception) -> str:
    import paramiko  # type: ignore[import-untyped]

    if isinstance(error, paramiko.BadHostKeyException | _UnknownHostKey):
        return "the server's host key is not the one configured; somebody may stand between."
    if isinstance(error, paramiko.AuthenticationException):
        return "the server refused the user or the key."
    if isinstance(error, PermissionError):
        return "the server forbids it (PermissionError)."
    return f"the connection failed ({type(error).__name__})."


class _RemoteFile(io.RawIOBase):
    """A remote file that is read in requests sent ahead of their answers, and knows how long it must be."""

    def __init__(self, handle: Any, size: int, faults: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._handle, self._size, self._faults = handle, size, faults
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the start of the file")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        with self._faults():
            data = self._fetch(wanted)
            if len(data) != wanted:
                raise EOFError  # the file was cut while it was read
        buffer[:wanted] = data
        self._place += wanted
        return wanted

    def readall(self) -> bytes:
        blocks = []
        while block := self.read(READ_AHEAD):  # not in the small steps that io would take
            blocks.append(block)
        return b"".join(blocks)

    def _fetch(self, size: int) -> bytes:
        if hasattr(self._handle, "readv"):
            end = self._place + size
            requests = [(at, min(_SFTP_REQUEST, end - at)) for at in range(self._place, end, _SFTP_REQUEST)]
            blocks = []
            for (_, length), block in zip(requests, self._handle.readv(requests), strict=True):
                if len(block) != length:
                    break  # the end came early; paramiko would wait for answers that never come
                blocks.append(block)
            return b"".join(blocks)
        self._handle.seek(self._place)
        return bytes(self._handle.read(size))

    def close(self) -> None:
        if not self.closed:
            super().close()
            with contextlib.suppress(Exception):
                self._handle.close()


# SFTP ----------------------------------------------------------------------------------------------------------


class _UnknownHostKey(Exception):
    pass


@dataclass(frozen=True)
class SftpServer:
    """An SFTP server and how it is known that it is the right one.

    Attributes:
        host: its name or address.
        user: who Peel is there.
        port: its port.
        known_hosts: a file of host keys in OpenSSH's form.
        fingerprint: of its host key, ``SHA256:…`` as ``ssh-keygen -l`` shows it, where there is no such file.
        key_file: a private key.
        password: the user's, or the private key's passphrase.
    """

    host: str
    user: str
    port: int = 22
    known_hosts: Path | None = None
    fingerprint: str | None = None
    key_file: Path | None = None
    password: str | None = field(default=None, repr=False)

    def connect(self) -> AbstractFileSystem:
        """Open a connection.

        Raises:
            ConfigurationError: nothing says which host key the server must have, or a file is not there.
        """
        if (self.known_hosts is None) == (self.fingerprint is None):
            raise ConfigurationError("An SFTP source needs either known_hosts or fingerprint.")
        for path in (self.known_hosts, self.key_file):
            if path is not None and not path.is_file():
                raise ConfigurationError(f"An SFTP source names {path.name}, and there is no such file.")
        return _sftp_filesystem()(self)


def _sftp_filesystem() -> Callable[[SftpServer], AbstractFileSystem]:
    import paramiko
    from fsspec.implementations.sftp import SFTPFileSystem  # type: ignore[import-untyped]

    class Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def __init__(self, fingerprint: str | None) -> None:
            self.fingerprint = fingerprint

        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
            if self.fingerprint is None or self.fingerprint.rstrip("=") != f"SHA256:{digest}":
                raise _UnknownHostKey

    class Verified(SFTPFileSystem):  # type: ignore[misc]
        """fsspec's, but only with a verified host key, only the configured credentials, and no cached instance."""

        cachable = False

        def __init__(self, server: SftpServer) -> None:
            AbstractFileSystem.__init__(self)
            self.host = server.host
            self.client = paramiko.SSHClient()
            try:
                if server.known_hosts is not None:
                    self.client.load_host_keys(str(server.known_hosts))
                self.client.set_missing_host_key_policy(Pinned(server.fingerprint))
                self.client.connect(
                    server.host,
                    server.port,
                    server.user,
                    password=None if server.key_file else server.password,
                    key_filename=str(server.key_file) if server.key_file else None,
                    passphrase=server.password if server.key_file else None,
                    allow_agent=False,
                    look_for_keys=False,
                    timeout=_SECONDS,
                    banner_timeout=_SECONDS,
                    auth_timeout=_SECONDS,
                )
                self.client.get_transport().set_keepalive(30)
                self.ftp = self.client.open_sftp()
                self.ftp.get_channel().settimeout(_SECONDS)
            except BaseException:
                self.client.close()
                raise

        def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
            """Entries as they are: a link is a link, and a device or pipe is no file."""
            entries = [
                {
                    "name": f"{path}/{each.filename}",
                    "size": each.st_size,
                    "type": _kind(each.st_mode),
                    "mtime": each.st_mtime,
                }
                for each in self.ftp.listdir_attr(path)
            ]
            return entries if detail else [each["name"] for each in entries]

    return Verified


def _kind(mode: int | None) -> str:
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode or 0), "other")


# S3 ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class S3Store:
    """An S3 object store.

    Attributes:
        region: its region.
        endpoint: its address, if it is not Amazon's.
        access_key: with ``secret_key``; without both, what the machine has (environment, profile, role).
        secret_key: never logged.
    """

    region: str
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)

    def connect(self) -> AbstractFileSystem:
        """Make a client; it connects with the first request."""
        from fsspec.implementations.arrow import ArrowFSWrapper  # type: ignore[import-untyped]
        from pyarrow.fs import S3FileSystem

        scheme, _, address = (self.endpoint or "").rpartition("://")
        arrow = S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            endpoint_override=address or None,
            scheme="http" if scheme == "http" else "https",
            connect_timeout=15,
        )
        return ArrowFSWrapper(arrow, skip_instance_cache=True)
