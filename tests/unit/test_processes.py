"""A started service can always be found and ended, and nothing else ever is."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from peel.errors import ConfigurationError
from peel.local import processes
from peel.settings import Settings

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    var = tmp_path / "var"
    return Settings(home=tmp_path, var=var, sources=var / "sources", landing=var / "landing")


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., processes.Record]]:
    records: list[processes.Record] = []

    def start_one(command: list[str] | None = None, name: str = "sleeper") -> processes.Record:
        record = processes.start(
            settings,
            name,
            command or SLEEPER,
            log=settings.logs / f"{name}.log",
            environment=dict(os.environ),
        )
        records.append(record)
        return record

    yield start_one
    processes.stop_all(records, timeout=1)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def children_in(log: Path, count: int) -> list[int]:
    """The process numbers that a parent printed about its children."""
    wait_for(lambda: log.exists() and len(log.read_text().split()) >= count)
    return [int(word) for word in log.read_text().split()]


PARENT = """
    import os, subprocess, sys, time
    children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={env})]
    print(*[child.pid for child in children], flush=True)
    time.sleep(600)
"""


def parent(env: str = "None") -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PARENT).format(env=env)]


def test_a_started_child_is_running_until_it_is_stopped(settings, start) -> None:
    record = start()
    assert processes.is_running(record)
    assert processes.read(settings, "sleeper") == record
    assert processes.stop(record, timeout=10)
    assert not processes.is_running(record)
    assert not processes.stop(record, timeout=1)


def test_record_and_log_are_readable_by_their_owner_only(settings, start) -> None:
    start()
    for path in (settings.var / "run" / "sleeper.json", settings.logs / "sleeper.log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_child_is_in_a_session_of_its_own(start) -> None:
    record = start()
    assert os.getsid(record.pid) == record.pid != os.getsid(0)


def test_stop_ends_grandchildren(settings, start) -> None:
    record = start(parent())
    (grandchild,) = children_in(settings.logs / "sleeper.log", 1)
    processes.stop(record, timeout=10)
    assert not is_alive(grandchild)


def test_stop_ends_a_grandchild_that_has_dropped_its_environment(settings, start) -> None:
    record = start(parent(env="{}"))
    (grandchild,) = children_in(settings.logs / "sleeper.log", 1)
    processes.stop(record, timeout=10)
    assert not is_alive(grandchild)


def test_orphans_of_a_killed_child_are_found(settings, start) -> None:
    record = start(parent())
    (grandchild,) = children_in(settings.logs / "sleeper.log", 1)
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not processes.is_running(record))
    assert is_alive(grandchild)
    assert processes.stop(record, timeout=5)
    assert not is_alive(grandchild)


def test_a_child_that_ignores_polite_signals_is_killed(settings, start) -> None:
    record = start(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);time.sleep(600)",
        ]
    )
    children_in(settings.logs / "sleeper.log", 1)
    began = time.monotonic()
    processes.stop(record, timeout=1)
    assert not is_alive(record.pid)
    assert time.monotonic() - began < 10


def test_a_reused_number_is_not_taken_for_the_child(settings, start, bystander) -> None:
    record = start()
    processes.stop(record, timeout=5)
    record = dataclasses.replace(record, pid=bystander.pid, started=record.started - 5)
    assert not processes.is_running(record)
    assert not processes.stop(record, timeout=1)
    assert bystander.poll() is None


def test_a_child_is_recognised_after_the_clock_was_set(start) -> None:
    record = start()
    assert processes.is_running(dataclasses.replace(record, started=record.started - 3600))


def test_a_child_whose_starter_was_killed_before_it_could_be_recorded_is_found(settings) -> None:
    """The starter dies between the child's birth and the writing of its number."""
    starter = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        from peel.local import processes
        from peel.settings import Settings
        var = Path({str(settings.var)!r})
        settings = Settings(home=var.parent, var=var, sources=var, landing=var)
        processes._identify = lambda settings, record, pid: os._exit(9)
        log = settings.logs / "sleeper.log"
        processes.start(settings, "sleeper", {SLEEPER!r}, log=log, environment=os.environ)
        """
    )
    assert subprocess.run([sys.executable, "-c", starter]).returncode == 9
    record = processes.read(settings, "sleeper")
    assert record is not None
    assert record.pid is None
    wait_for(lambda: processes.is_running(record))
    child = processes.leader(record)
    assert child is not None
    assert processes.stop(record, timeout=10)
    assert not is_alive(child.pid)


def test_an_intent_that_came_to_nothing_is_harmless(settings) -> None:
    record = processes.Record("sleeper", "sleeper-never", tuple(SLEEPER), str(settings.var))
    assert not processes.is_running(record)
    assert not processes.stop(record, timeout=1)


def test_the_record_of_a_copied_installation_is_not_ours(settings, start, tmp_path) -> None:
    start()
    copied = dataclasses.replace(settings, var=tmp_path / "copied")
    shutil.copytree(settings.var, copied.var)
    assert processes.read(copied, "sleeper") is None
    assert processes.read(settings, "sleeper") is not None


def test_the_record_of_a_moved_installation_stays_ours(settings, start, tmp_path) -> None:
    record = start()
    moved = dataclasses.replace(settings, var=tmp_path / "moved")
    settings.var.rename(moved.var)
    assert processes.read(moved, "sleeper") == record


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}'])
def test_a_damaged_record_counts_as_none(settings, content) -> None:
    path = settings.var / "run" / "sleeper.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert processes.read(settings, "sleeper") is None


def test_a_program_that_cannot_be_started_leaves_no_record(settings) -> None:
    with pytest.raises(ConfigurationError, match="could not be started"):
        processes.start(settings, "ghost", ["/nonexistent/program"], log=settings.logs / "ghost.log", environment={})
    assert processes.read(settings, "ghost") is None


def test_a_lock_is_held_by_one_at_a_time(settings) -> None:
    with (
        processes.lock(settings, "service"),
        pytest.raises(ConfigurationError, match="starting or stopping service"),
        processes.lock(settings, "service", timeout=0.2),
    ):
        pass
    with processes.lock(settings, "service", timeout=0.2):
        pass


def test_a_child_does_not_hold_its_starters_lock(settings, start) -> None:
    with processes.lock(settings, "service"):
        start()
    with processes.lock(settings, "service", timeout=0.2):
        pass


def test_a_large_log_is_turned_over(settings, start) -> None:
    log = settings.logs / "sleeper.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (processes._LARGEST_LOG + 1))
    start()
    assert log.stat().st_size < 1000
    assert log.with_name("sleeper.log.1").exists()


def test_last_lines_are_the_last_ones(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(5000)) + "\n\n")
    assert processes.last_lines(log, 2) == ["line 4998", "line 4999"]
    assert processes.last_lines(tmp_path / "none") == []
