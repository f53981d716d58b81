"""Children that outlive the command which started them, and can always be found and ended again.

A bare pid file lies in three ways: the process may be gone, its number may have been given to somebody
else's process, and a kill between the start and the writing of the file leaves a child nobody knows of.
So each start has an identity of its own, ``PEEL_INSTANCE``, which is written down *before* the child exists
and which the child and everything it starts carry in their environment. A process is ours if its number and
its start time are the recorded ones, or if it carries the recorded identity, or if it is left over in the
session that the recorded one opened; nothing else is ever signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from peel.errors import ConfigurationError
from peel.settings import Settings

MARKER = "PEEL_INSTANCE"
_SAME_START_SECONDS = 0.001  # both are read from the same whole number of ticks
_LARGEST_LOG = 8 * 1024 * 1024
_WIDEST = 200
_children: list[subprocess.Popen[bytes]] = []  # held, so that a child is reaped and not warned about


@dataclass(frozen=True)
class Record:
    """What is remembered of a started child.

    Attributes:
        name: the service, such as ``postgres``; the record is ``var/run/<name>.json``.
        instance: the identity of this start, carried in the environment as ``PEEL_INSTANCE``.
        command: what was started; never holds a secret.
        folder: the ``var`` folder it was started for.
        pid: its number, ``None`` until it is known.
        started: its start time in seconds since the epoch, ``None`` until it is known.
    """

    name: str
    instance: str
    command: tuple[str, ...]
    folder: str
    pid: int | None = None
    started: float | None = None


def hand_over(path: Path) -> None:
    """Give a file that root made in an ordinary user's folder to that user, who must work with it later."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small file of mode 0600 that is either the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    hand_over(temporary)
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a small file; ``None`` if it is missing or is not a JSON object.

    Raises:
        ConfigurationError: it belongs to another user.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    except PermissionError:
        raise ConfigurationError(
            f"{path} belongs to another user.", do="Work as the user who made it, or set PEEL_VAR."
        ) from None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def lock(settings: Settings, name: str, timeout: float = 300) -> Iterator[None]:
    """Let one command at a time start or stop a service; the lock ends with the process that holds it.

    Raises:
        ConfigurationError: another command held it for the whole timeout, or ``var`` is another user's.
    """
    path = settings.var / "run" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
        hand_over(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path.parent} cannot be written ({error.strerror}).",
            do="Work as the user who made it, or set PEEL_VAR.",
        ) from None
    with file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another command has been starting or stopping {name} for {timeout:.0f} s.",
                        do="Wait for it or end it, then try again.",
                    ) from None
                time.sleep(0.1)
        yield


def start(
    settings: Settings,
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    user: tuple[int, int] | None = None,
) -> Record:
    """Start a detached child that survives the terminal, with its output going to a file.

    Args:
        settings: the installation.
        name: the service.
        command: program and arguments; anybody on the machine can read them, so no secrets.
        log: the file that takes its output; turned over when it has grown large.
        environment: its whole environment.
        folder: its working directory; the root folder if not given.
        user: the (uid, gid) it runs under instead of one's own; only root may ask for that.

    Returns:
        The record, as written to ``var/run/<name>.json``.

    Raises:
        ConfigurationError: the program could not be started.
    """
    instance = f"{name}-{uuid.uuid4().hex}"
    record = Record(name, instance, tuple(command), str(settings.var))
    _write(settings, record)  # the intent, before there is anything to find
    identity: dict[str, Any] = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
    try:
        with _open_log(log) as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # SPT_NOENV: a process that sets its title must leave its environment readable
                env={**environment, MARKER: instance, "SPT_NOENV": "1"},
                cwd=folder or "/",
                start_new_session=True,
                **identity,
            )
    except (OSError, subprocess.SubprocessError) as error:
        forget(settings, name)
        raise ConfigurationError(
            f"{name} could not be started ({getattr(error, 'strerror', None) or type(error).__name__}): {command[0]}."
        ) from None
    _children.append(child)
    return _identify(settings, record, child.pid)


def adopt(settings: Settings, name: str, command: Sequence[str], pid: int) -> Record:
    """Record a running process that is known to be this installation's, but whose record was lost.

    Args:
        settings: the installation.
        name: the service.
        command: what it runs.
        pid: its number.
    """
    instance = _marker(psutil.Process(pid)) or f"{name}-found-{uuid.uuid4().hex}"
    return _identify(settings, Record(name, instance, tuple(command), str(settings.var)), pid)


def _identify(settings: Settings, record: Record, pid: int) -> Record:
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        started = 0.0  # it has ended already: matches nothing
    record = replace(record, pid=pid, started=started)
    _write(settings, record)
    return record


def read(settings: Settings, name: str) -> Record | None:
    """Return the record of a service of this installation, if there is one.

    A record in a ``var`` that was copied from another, still existing installation is not ours.
    """
    value = read_json(_path(settings, name))
    try:
        record = Record(**{**(value or {}), "command": tuple((value or {})["command"])})
    except (KeyError, TypeError):
        return None
    recorded = Path(record.folder)
    copied = recorded != settings.var and recorded.exists() and not recorded.samefile(settings.var)
    return None if copied else record


def forget(settings: Settings, name: str) -> None:
    """Remove a service's record."""
    _path(settings, name).unlink(missing_ok=True)


def leader(record: Record) -> psutil.Process | None:
    """Return the recorded process itself if it is running."""
    if record.pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(record.pid)
            if process.status() != psutil.STATUS_ZOMBIE and _is_recorded(process, record):
                return process
        return None
    carriers = sorted(_carriers({record.instance}), key=lambda process: (process.create_time(), process.pid))
    return carriers[0] if carriers else None


def is_running(record: Record) -> bool:
    """Whether the recorded process, and not another one with its number, is running."""
    return leader(record) is not None


def stop(
    record: Record,
    timeout: float = 30,
    first: signal.Signals = signal.SIGTERM,
    then: signal.Signals = signal.SIGTERM,
) -> bool:
    """End one recorded process and everything it started; see :func:`stop_all`."""
    return stop_all([record], timeout, first, then)


def stop_all(
    records: Sequence[Record],
    timeout: float = 30,
    first: signal.Signals = signal.SIGTERM,
    then: signal.Signals = signal.SIGTERM,
) -> bool:
    """End recorded processes and everything they started, and nothing else.

    The recorded processes get ``first`` and may end their own children; what is left of them and of their
    children after the timeout, or is left without a parent, gets ``then`` and at last SIGKILL.

    Args:
        records: what to end.
        timeout: seconds that the recorded processes get to end by themselves.
        first: the signal that asks them to.
        then: the signal that insists.

    Returns:
        Whether there was anything to end.
    """
    known: set[psutil.Process] = set()
    leaders = [process for record in records if (process := leader(record))]
    _gather(records, known)
    found = bool(known)
    _signal(leaders, first)
    _wait(records, known, timeout, until=lambda: not _alive(leaders))
    _signal(_alive(known), then)
    _wait(records, known, min(timeout, 5), until=lambda: not _alive(known))
    for _ in range(100):
        _gather(records, known)
        left = _alive(known)
        if not left:
            break
        _signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=0.2)
    return found


def last_lines(log: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log, for a person who must see why something failed."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * count))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in lines if line.strip()][-count:]


def ending(log: Path, count: int = 12) -> str:
    """Return the last lines of a log as they go below a sentence: indented, long ones cut."""
    lines = last_lines(log, count) or ["(nothing)"]
    return "".join(f"\n  {line if len(line) <= _WIDEST else line[:_WIDEST] + ' …'}" for line in lines)


def _path(settings: Settings, name: str) -> Path:
    return settings.var / "run" / f"{name}.json"


def _write(settings: Settings, record: Record) -> None:
    write_json(_path(settings, record.name), asdict(record))


def _open_log(log: Path) -> Any:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    hand_over(log)
    return os.fdopen(descriptor, "ab")


def _is_recorded(process: psutil.Process, record: Record) -> bool:
    same_start = abs(process.create_time() - (record.started or 0)) < _SAME_START_SECONDS
    # a set clock moves every start time, and Linux rounds the boot time it counts from now one way, now the
    # other; the identity in the environment does not move
    return same_start or _marker(process) == record.instance


def _marker(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return None  # somebody else's, or gone


def _ourselves() -> set[int]:
    """This process and those above it: a command run from within a service must not end itself."""
    this = psutil.Process()
    return {this.pid, *(parent.pid for parent in this.parents())}


def _carriers(instances: set[str]) -> list[psutil.Process]:
    spared = _ourselves()
    return [process for process in psutil.process_iter() if process.pid not in spared and _marker(process) in instances]


def _session_of(record: Record) -> list[psutil.Process]:
    """Orphans of a killed process whose environment may not be read, found by their session.

    Airflow's task processes forbid even their own user to look into them. They are still in the session that
    the recorded process opened; its number is not given away while one of them lives.
    """
    if record.pid is None:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        if not _is_recorded(psutil.Process(record.pid), record):
            return []  # the number is another process's now, and so may be the session
    programs = {Path(word).name for word in record.command}
    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            title = (process.cmdline() or [""])[0].split(" ")[0]
            if (
                process.pid != record.pid
                and os.getsid(process.pid) == record.pid
                and process.create_time() >= (record.started or 0) - 2
                and Path(title).name in programs
                and not _is_readable(process)
            ):
                orphans.append(process)
    return orphans


def _is_readable(process: psutil.Process) -> bool:
    try:
        process.environ()
    except psutil.AccessDenied:
        return False
    return True


def _gather(records: Sequence[Record], known: set[psutil.Process]) -> None:
    """Add to the known processes: the recorded ones, their descendants, and orphans with their identity.

    Descendants are looked for below every process known so far, so that a child which has dropped its
    environment is still known after its parent has gone.
    """
    spared = _ourselves()
    roots = {process for record in records if (process := leader(record))}
    roots |= set(_carriers({record.instance for record in records}))
    roots |= {process for record in records for process in _session_of(record)}
    for process in roots | set(_alive(known)):
        with contextlib.suppress(psutil.NoSuchProcess):
            known.add(process)
            known.update(process.children(recursive=True))
    known -= {process for process in known if process.pid in spared}


def _alive(processes: Sequence[psutil.Process] | set[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _signal(processes: Sequence[psutil.Process], what: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)  # psutil refuses when the number now belongs to another process


def _wait(records: Sequence[Record], known: set[psutil.Process], timeout: float, *, until: Any) -> None:
    deadline = time.monotonic() + timeout
    while not until() and time.monotonic() < deadline:
        time.sleep(0.1)
        _gather(records, known)
