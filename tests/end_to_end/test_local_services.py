"""PostgreSQL and Airflow on one machine: up, up again, after every bad night, and down."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from throwaway import HOME, installation

from peel import secrets
from peel.errors import ConfigurationError
from peel.local import airflow, ports, postgres, processes
from peel.settings import Settings

pytestmark = pytest.mark.slow
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def quiet(_: str) -> None:
    return None


def connect(settings: Settings, database: str = "peel", user: str = "peel_owner", **more: Any) -> Any:
    server = postgres.remembered(settings)
    assert server is not None
    names = {"peel_owner": "peel_owner", "airflow": "airflow_db"}
    password = {"password": secrets.secret(settings, names[user])} | more
    return psycopg.connect(host=server.host, port=server.port, dbname=database, user=user, autocommit=True, **password)


def value(settings: Settings, query: str) -> Any:
    with connect(settings) as connection:
        return connection.execute(query).fetchone()[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


# --- PostgreSQL ---


def test_up_starts_a_server_and_a_second_up_finds_it(here) -> None:
    said: list[str] = []
    server = postgres.up(here, said.append)
    pid = postgres.status(here).pid
    assert postgres.up(here, said.append) == server
    assert postgres.status(here).pid == pid
    assert said == [f"PostgreSQL 18 is running on 127.0.0.1:{server.port}"]
    assert value(here, "show server_version").startswith("18.")


def test_down_ends_it_and_its_data_outlive_it(here) -> None:
    server = postgres.up(here, quiet)
    with connect(here) as connection:
        connection.execute("create table kept as select 7 as number")
    assert postgres.down(here)
    assert not postgres.status(here).running
    assert not postgres.down(here)
    with pytest.raises(psycopg.OperationalError):
        connect(here)
    assert postgres.up(here, quiet) == server
    assert value(here, "select number from kept") == 7


def test_it_listens_on_this_machine_only(here) -> None:
    postgres.up(here, quiet)
    process = psutil.Process(postgres.status(here).pid)
    listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [address.ip for address in listening] == ["127.0.0.1"]
    assert not [c for c in process.net_connections("unix") if c.laddr]


def test_a_password_is_required(here) -> None:
    postgres.up(here, quiet)
    for wrong in ({"password": "wrong"}, {"password": None}):
        with pytest.raises(psycopg.OperationalError):
            connect(here, **wrong)
    with connect(here) as connection:
        kept = connection.execute("select rolpassword from pg_authid where rolpassword is not null").fetchall()
    assert kept
    assert all(verifier.startswith("SCRAM-SHA-256$") for (verifier,) in kept)


def test_airflow_has_its_own_database_and_no_other(here) -> None:
    postgres.up(here, quiet)
    with connect(here, "airflow", "airflow") as connection:
        connection.execute("create table mine (x int)")
    for database in ("peel", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(here, database, "airflow")


def test_what_it_writes_is_its_owners_alone(here) -> None:
    postgres.up(here, quiet)
    assert mode(postgres.status(here).data) == 0o700
    for path in (
        here.var / "postgres" / "server.json",
        here.var / "run" / "postgres.json",
        here.logs / "postgres.log",
        here.secrets / "peel_owner",
        here.secrets / "airflow_db",
    ):
        assert mode(path) == 0o600, path


def test_it_is_set_up_to_keep_what_it_is_given_and_to_sort_alike_everywhere(here) -> None:
    postgres.up(here, quiet)
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "password_encryption": "scram-sha-256",
    }
    assert {name: value(here, f"show {name}") for name in wanted} == wanted
    with connect(here) as connection:
        locale = connection.execute(
            "select datlocprovider, datlocale from pg_database where datname = 'peel'"
        ).fetchone()
    assert locale == ("b", "C.UTF-8")


def test_the_log_holds_no_value_of_a_failed_statement(here) -> None:
    canary = "QQ123456C"
    postgres.up(here, quiet)
    with connect(here) as connection:
        connection.execute("create table unique_only (x text primary key)")
        connection.execute("insert into unique_only values (%s)", (canary,))
        for statement, parameters in (
            (f"select '{canary}'::date", None),
            ("select %s::text::int", (canary,)),
            ("insert into unique_only values (%s)", (canary,)),
            (f"select {canary} from nowhere", None),
            (f"do $$ begin raise exception '{canary}'; end $$", None),
            (f"do $$ begin raise warning '{canary}'; end $$", None),
        ):
            try:
                connection.execute(statement, parameters)
            except psycopg.Error:
                continue
        with pytest.raises(psycopg.Error), connection.cursor().copy("copy unique_only from stdin") as copy:
            copy.write(f"{canary}\n")
    # a crash names the statement that caused it
    log = here.logs / "postgres.log"
    with connect(here) as connection:
        connection.execute(f"select '{canary}'")
        os.kill(connection.info.backend_pid, signal.SIGSEGV)
        wait_for(lambda: "terminated by signal 11" in log.read_text())
    wait_for(lambda: log.read_text().count("ready to accept connections") == 2)
    assert canary not in log.read_text()
    assert "listening on IPv4" in log.read_text()


def test_a_stale_pid_file_that_names_a_living_process_is_seen_through(here, bystander) -> None:
    postgres.up(here, quiet)
    data = postgres.status(here).data
    pid_file, record = data / "postmaster.pid", here.var / "run" / "postgres.json"
    lines, recorded = pid_file.read_text(), json.loads(record.read_text())
    owner = pid_file.stat()
    postgres.down(here)
    pid_file.write_text(lines.replace(lines.split("\n")[0], str(bystander.pid), 1))
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    record.write_text(json.dumps({**recorded, "pid": bystander.pid}))
    assert not postgres.status(here).running
    postgres.up(here, quiet)
    assert postgres.status(here).running
    assert postgres.status(here).pid != bystander.pid
    postgres.down(here)
    assert bystander.poll() is None


def test_a_killed_server_with_a_busy_backend_is_followed_by_a_new_one(here) -> None:
    postgres.up(here, quiet)
    with connect(here) as connection:
        connection.execute("create table kept as select 7 as number")
    server = postgres.remembered(here)
    endless = "do $$ begin for i in 1..2000000000 loop end loop; end $$"
    command = [postgres.programs() / "psql", "-h", server.host, "-p", str(server.port), "-U", "peel_owner"]
    busy = subprocess.Popen(
        [*command, "peel", "-c", endless],
        env={**os.environ, "PGPASSWORD": secrets.secret(here, "peel_owner")},
        stderr=subprocess.DEVNULL,
    )
    killed = postgres.status(here).pid
    wait_for(lambda: value(here, "select count(*) from pg_stat_activity where query like 'do %'"))
    os.kill(killed, signal.SIGKILL)
    postgres.up(here, quiet)
    assert postgres.status(here).pid != killed
    assert value(here, "select number from kept") == 7
    assert busy.wait(timeout=30) != 0


def test_a_server_whose_record_was_lost_is_found_again_and_ended(here) -> None:
    postgres.up(here, quiet)
    pid = postgres.status(here).pid
    (here.var / "run" / "postgres.json").unlink()
    postgres.up(here, quiet)
    assert postgres.status(here).pid == pid
    (here.var / "run" / "postgres.json").unlink()
    assert postgres.down(here)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_an_up_that_was_killed_while_it_made_the_data_is_made_good(here) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from peel.local import postgres
        from peel.settings import Settings
        var = Path({str(here.var)!r})
        postgres.up(Settings(home=Path({str(HOME)!r}), var=var, sources=var, landing=var), print)
        """
    )
    first = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    half_made = here.var / "postgres" / ".data.partial" / "data" / "base"
    wait_for(half_made.exists)
    first.kill()
    first.wait()
    assert not (here.var / "postgres" / "data").exists()
    postgres.up(here, quiet)
    assert value(here, "select 1") == 1
    assert not (here.var / "postgres" / ".data.partial").exists()


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_remembered_port_that_another_program_took_is_given_up(here) -> None:
    port = postgres.up(here, quiet).port
    postgres.down(here)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", port)):
        server = postgres.up(here, said.append)
        assert server.port != port
        assert said[0] == f"Port {port} is taken by another program: PostgreSQL goes to {server.port}"
        assert value(here, "select 1") == 1


def test_a_port_that_another_server_took_in_between_is_left_to_it(here, open_folder, monkeypatch) -> None:
    other = installation(open_folder / "other")
    try:
        taken = postgres.up(other, quiet).port
        looks = iter([True])  # it was free when looked at, and is not when the server starts
        is_free = ports.is_free
        monkeypatch.setattr(ports, "is_free", lambda port: next(looks, None) or is_free(port))
        processes.write_json(here.var / "postgres" / "server.json", {"host": "127.0.0.1", "port": taken})
        assert postgres.up(here, quiet).port != taken
        assert value(here, "select 1") == 1
        assert value(other, "select 1") == 1
    finally:
        postgres.remove(other)


def test_a_port_that_was_asked_for_is_used_or_its_being_taken_is_said(here, taken) -> None:
    asked = taken.getsockname()[1]
    wanting = dataclasses.replace(here, pg_port=asked)
    with pytest.raises(ConfigurationError, match=rf"Port {asked} \(PEEL_PG_PORT\) is taken"):
        postgres.up(wanting, quiet)
    taken.close()
    assert postgres.up(wanting, quiet).port == asked
    with pytest.raises(ConfigurationError, match=f"already running on port {asked}"):
        postgres.up(dataclasses.replace(here, pg_port=asked + 1), quiet)


def test_down_ends_only_what_its_own_up_started(here, open_folder, bystander) -> None:
    other = installation(open_folder / "other")
    try:
        postgres.up(here, quiet)
        postgres.up(other, quiet)
        postgres.down(here)
        assert postgres.status(other).running
        assert value(other, "select 1") == 1
        assert bystander.poll() is None
    finally:
        postgres.remove(other)


def test_of_several_ups_at_once_one_starts_the_server(here) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from peel.local import postgres
        from peel.settings import Settings
        var = Path({str(here.var)!r})
        settings = Settings(home=Path({str(HOME)!r}), var=var, sources=var, landing=var)
        print(postgres.up(settings, lambda _: None), postgres.status(settings).pid)
        """
    )
    ups = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {up.communicate(timeout=120)[0] for up in ups}
    assert [up.returncode for up in ups] == [0, 0, 0]
    assert len(answers) == 1


def test_a_secret_that_is_not_the_databases_is_said_at_once(here) -> None:
    postgres.up(here, quiet)
    postgres.down(here)
    (here.secrets / "peel_owner").write_text("another\n")
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="secret peel_owner is not the one"):
        postgres.up(here, quiet)
    assert time.monotonic() - began < 20


def test_remove_leaves_nothing(here) -> None:
    postgres.up(here, quiet)
    postgres.remove(here)
    assert not (here.var / "postgres").exists()
    assert not postgres.status(here).running


@as_root
def test_as_root_another_user_runs_it(here) -> None:
    postgres.up(here, quiet)
    assert psutil.Process(postgres.status(here).pid).uids().real != 0


@as_root
def test_as_root_below_a_folder_of_roots_own_the_data_go_elsewhere(open_folder) -> None:
    open_folder.chmod(0o700)
    settings = installation(open_folder / "project" / "var")
    said: list[str] = []
    try:
        postgres.up(settings, said.append)
        data = postgres.status(settings).data
        assert not data.is_relative_to(open_folder)
        assert "cannot enter" in said[0]
        assert mode(data) == 0o700
        assert value(settings, "select 1") == 1
        postgres.down(settings)
        postgres.up(settings, quiet)
        assert postgres.status(settings).data == data
    finally:
        postgres.remove(settings)
    assert not data.exists()
    assert not data.parent.exists()


@as_root
def test_as_root_with_programs_nobody_else_can_reach_they_are_copied(open_folder, monkeypatch) -> None:
    package = postgres.programs().parents[1]
    hidden = open_folder / "root-only"
    hidden.mkdir(mode=0o700)
    for part in (f"{package.name}/pginstall18", f"{package.name}.libs"):
        shutil.copytree(package.parent / part, hidden / part, symlinks=True)
    monkeypatch.setattr(postgres, "programs", lambda: hidden / package.name / "pginstall18" / "bin")
    settings = installation(open_folder / "var")
    try:
        postgres.up(settings, quiet)
        program = Path(psutil.Process(postgres.status(settings).pid).exe())
        assert not program.is_relative_to(hidden)
        assert value(settings, "select 1") == 1
    finally:
        postgres.remove(settings)
    assert not program.exists()


def ordinary_python(user: str) -> list[str]:
    """A command that runs Python with this environment's packages as another user; skips if there is none."""
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    for interpreter in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin")):
        command = ["runuser", "-u", user, "--", "env", f"PYTHONPATH={HOME / 'plugins'}:{':'.join(packages)}"]
        command += ["PYTHONDONTWRITEBYTECODE=1", str(interpreter)]
        probe = [*command, "-c", "import peel.local.postgres"]
        if interpreter and subprocess.run(probe, capture_output=True, cwd="/").returncode == 0:
            return command
    pytest.skip("another user can reach no Python with these packages")


@as_root
def test_an_ordinary_user_runs_it_without_help(open_folder) -> None:
    user = "nobody"
    python = ordinary_python(user)
    owned = open_folder / "owned"
    owned.mkdir()
    shutil.chown(owned, user)
    program = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        from peel.local import postgres
        from peel.settings import Settings
        var = Path({str(owned / "var")!r})
        settings = Settings(home=var, var=var, sources=var, landing=var)
        if sys.argv[1] == "up":
            postgres.up(settings, lambda _: None)
            print(postgres.status(settings).pid)
        else:
            print(postgres.down(settings))
        """
    )

    def run(what: str) -> str:
        done = subprocess.run([*python, "-c", program, what], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    pid = int(run("up"))
    assert psutil.Process(pid).username() == pwd.getpwnam(user).pw_name
    assert run("up") == str(pid)
    # what a user made stays that user's when root works with it
    settings = installation(owned / "var")
    assert postgres.up(settings, quiet) == postgres.remembered(settings)
    assert run("down") == "True"
    assert not postgres.status(settings).running


# --- Airflow ---


@pytest.mark.airflow
def test_airflow_is_healthy_and_knows_every_dag(services) -> None:
    status = airflow.status(services)
    assert status.running == dict.fromkeys(airflow.COMPONENTS, True)
    api = airflow.api(services)
    wanted = {"build_warehouse", "publish_release", "maintain_warehouse", "simulate_deliveries"}
    wanted |= {f"ingest_{feed}" for feed in ("census", "hr", "postcode", "recruitment")}
    wait_for(lambda: api.dag_ids() == wanted, seconds=60)
    assert api.import_errors() == []
    assert (services.var / "said").read_text().splitlines()[-1].startswith("Airflow is running on http://127.0.0.1:")


@pytest.mark.airflow
def test_a_second_up_finds_airflow_running(services) -> None:
    pids = [processes.read(services, f"airflow-{name}").pid for name in airflow.COMPONENTS]
    began = time.monotonic()
    airflow.up(services, pytest.fail)
    assert time.monotonic() - began < 5
    assert [processes.read(services, f"airflow-{name}").pid for name in airflow.COMPONENTS] == pids


@pytest.mark.airflow
def test_settings_that_change_would_start_airflow_again_and_a_callers_terminal_would_not(services, monkeypatch) -> None:
    port = airflow._remembered(services)

    def fingerprint(settings: Settings) -> str:
        return airflow._fingerprint(settings, airflow.environment_of(settings, port))

    assert fingerprint(services) == airflow._server(services)["fingerprint"]
    monkeypatch.setenv("TERM", "another")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    assert fingerprint(services) == airflow._server(services)["fingerprint"]
    changed = dataclasses.replace(services, scale=services.scale / 2)
    assert fingerprint(changed) != airflow._server(services)["fingerprint"]


@pytest.mark.airflow
def test_airflow_listens_on_this_machine_only(services) -> None:
    family: set[psutil.Process] = set()
    for name in airflow.COMPONENTS:
        process = processes.leader(processes.read(services, f"airflow-{name}"))
        family |= {process, *process.children(recursive=True)}
    listening = set()
    for process in family:
        # Airflow's task processes forbid even their own user to look into them; one may also just have ended.
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            listening |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.airflow
def test_no_secret_is_on_a_command_line_in_a_log_or_open_to_others(services) -> None:
    known = [path.read_text().strip() for path in services.secrets.iterdir() if path.suffix != ".json"]
    assert len(known) >= 6
    assert all(len(secret) > 20 for secret in known)
    commands = []
    for process in psutil.process_iter():
        try:
            commands.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    logs = [path.read_text(errors="replace") for path in services.logs.rglob("*.log")]
    configuration = [path.read_text() for path in (services.var / "airflow").glob("*.*") if path.is_file()]
    for text in (*commands, *logs, *configuration):
        assert not [secret for secret in known if secret in text]
    assert all(mode(path) == 0o600 for path in services.secrets.iterdir())


@pytest.mark.airflow
def test_only_who_knows_the_password_gets_in(services) -> None:
    address = airflow.address_of(services)
    with httpx.Client(base_url=address.url, trust_env=False) as client:
        assert client.get("/api/v2/dags").status_code == 401
        assert client.get("/peel/drafts/latest/").status_code == 401
        wrong = client.post("/auth/token", json={"username": address.user, "password": "wrong"})
        assert wrong.status_code == 401
        right = client.post("/auth/token", json={"username": address.user, "password": address.password})
        assert right.status_code == 201


@pytest.mark.airflow
def test_the_menu_leads_to_the_draft(services) -> None:
    folder = services.drafts / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<p>a page")
    (services.var / "private").write_text("not a draft")
    try:
        address = airflow.address_of(services)
        with httpx.Client(base_url=address.url, trust_env=False) as client:
            login = {"username": address.user, "password": address.password}
            token = client.post("/auth/token", json=login).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            (plugin,) = client.get("/api/v2/plugins").json()["plugins"]
            assert plugin["external_views"][0]["href"] == "/peel/drafts/latest/"
            assert client.get("/peel/drafts/0123456789ab/").text == "<p>a page"
            assert client.get("/peel/drafts/%2e%2e/private").status_code == 404
    finally:
        shutil.rmtree(folder)
