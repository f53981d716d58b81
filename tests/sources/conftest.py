"""Servers on this machine that sources fetch from: OpenSSH, an SFTP server that knows passwords, an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import paramiko
import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Ssh:
    """A running SSH server and what a client needs to know of it."""

    port: int
    user: str
    drop: Path
    known_hosts: Path
    key_file: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None


def make_key(path: Path, *, passphrase: str = "") -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "peel test", "-f", str(path)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="session")
def openssh() -> Iterator[Ssh]:
    """A real OpenSSH server, run as the present user, who is let in with a key of the tests' own."""
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if sshd is None:
        pytest.skip("OpenSSH's server is not installed (Debian: openssh-server)")
    folder = Path(tempfile.mkdtemp(prefix="peel-sshd-"))
    port, drop = free_port(), folder / "drop"
    drop.mkdir()
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd, as root, locks its unprivileged half in
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(folder / "config")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        for _ in range(100):
            if process.poll() is not None:
                pytest.skip(f"sshd does not start here: {process.stderr.read().decode()[-200:]!r}")  # type: ignore[union-attr]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield Ssh(port, getpass.getuser(), drop, folder / "known_hosts", folder / "user_key", folder, process)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


class _Server(paramiko.ServerInterface):
    def __init__(self, user: str, password: str) -> None:
        self.known = (user, password)

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if (username, password) == self.known else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):
    """As much of an SFTP server as reading takes, over one folder."""

    root = Path("/nonexistent")

    def _real(self, path: str) -> Path:
        return self.root / self.canonicalize(path).lstrip("/")

    def list_folder(self, path: str) -> Any:
        try:
            entries = list(self._real(path).iterdir())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return [paramiko.SFTPAttributes.from_stat(entry.lstat(), entry.name) for entry in entries]

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            file = self._real(path).open("rb")
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = file  # type: ignore[attr-defined]
        return handle


@dataclasses.dataclass
class PasswordSsh:
    port: int
    user: str
    password: str
    drop: Path
    fingerprint: str


@pytest.fixture
def password_ssh(tmp_path: Path) -> Iterator[PasswordSsh]:
    """An SFTP server that knows a user by password.

    It is paramiko's own server: OpenSSH checks passwords against the system's users, and making one takes root.
    """
    drop = tmp_path / "password-drop"
    drop.mkdir()
    files = type("Files", (_Files,), {"root": drop})
    key = paramiko.ECDSAKey.generate()
    user, password = "peel", "s3cret: pass/word"
    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(accepted)
            transports.append(transport)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=_Server(user, password))

    threading.Thread(target=serve, daemon=True).start()
    yield PasswordSsh(listener.getsockname()[1], user, password, drop, key.fingerprint)
    listener.close()
    for transport in transports:
        transport.close()


@dataclasses.dataclass
class Store:
    endpoint: str
    bucket: str
    client: Any
    server: Any


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 server on this machine with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()  # what it holds outlives it in this process
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="eu-west-2",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="s3cret/key",
    )
    client.create_bucket(Bucket="deliveries", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    yield Store(endpoint, "deliveries", client, server)
    server.stop()
