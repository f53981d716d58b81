"""Airflow on one machine: scheduler, API server, dag processor and triggerer, each a recorded process.

* **Configuration** is made here and handed over in the environment, all of it: no ``airflow.cfg`` to drift,
  no password in a file that Airflow writes or on a command line that anybody can read.
* **Only 127.0.0.1** listens, and only the API server: the log servers of scheduler and triggerer, which would
  listen on every address, are left out, because every log is in one folder anyway.
* **Tasks start from a warm process.** A task that imports Great Expectations and pandas by itself spends most
  of its life importing. The executor's workers come from a fork server that has imported them once; it
  imports nothing of Peel, so that a changed file is what the next task runs.
* **The schema** of the metadata database is brought up to date once per Airflow version, and not looked at by
  each of the four processes again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from peel import secrets
from peel.errors import ConfigurationError
from peel.local import ports, postgres, processes
from peel.local.airflow_api import AirflowApi
from peel.settings import Settings

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
USER = "admin"
PARALLELISM = 3
_START_SECONDS = 240
_STOP_SECONDS = 6.0
_HEALTH = {  # what the health check calls them
    "scheduler": "scheduler",
    "dag_processor": "dag-processor",
    "triggerer": "triggerer",
}
# Imported once, in the process that the executor's workers are forked from.
_PRELOADED = (
    "airflow.sdk",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.executors.local_executor",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.decorators.sensor",
    "airflow.providers.smtp.hooks.smtp",
    "great_expectations",
    "jsonschema",
    "pandas",
    "psycopg",
    "yaml",
)


@dataclass(frozen=True)
class Address:
    """Where Airflow's UI and REST API are, and who may enter."""

    url: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"Address(url={self.url!r}, user={self.user!r})"


@dataclass(frozen=True)
class Status:
    """What is known of Airflow without changing anything.

    Attributes:
        running: component to whether its process is running.
        url: where the UI is, or was last; ``None`` if there never was one.
    """

    running: dict[str, bool]
    url: str | None


def up(settings: Settings, say: Callable[[str], None]) -> Address:
    """Start whatever of Airflow is not running and wait until all of it is healthy.

    Safe to call again, from several commands at once, and after a run that was killed at any instant.

    Args:
        settings: the installation; its PostgreSQL must be up.
        say: takes one line of progress.

    Returns:
        Where the UI is and the administrator's password.

    Raises:
        ConfigurationError: it does not start; with the last lines of the log that matters.
    """
    with processes.lock(settings, "airflow"):
        began = time.monotonic()
        records = {name: record for name in COMPONENTS if (record := processes.read(settings, _name(name)))}
        running = [name for name, record in records.items() if processes.is_running(record)]
        port = _remembered(settings)
        if "api-server" not in running or port is None or settings.airflow_port not in (None, port):
            port = _choose_port(settings, say)
        environment = environment_of(settings, port)
        fingerprint = _fingerprint(settings, environment)
        if running and _server(settings).get("fingerprint") != fingerprint:
            say("Airflow's settings have changed: it is started again")
            running = []
        if len(running) < len(COMPONENTS):
            # and what an earlier run left behind, such as the workers of a killed scheduler
            processes.stop_all([record for name, record in records.items() if name not in running], _STOP_SECONDS)
            _prepare(settings, environment, say)
            written = {"host": ports.HOST, "port": port, "fingerprint": fingerprint}
            processes.write_json(settings.var / "airflow" / "server.json", written)
            for name in COMPONENTS:
                if name not in running:
                    _start(settings, name, environment)
        address = address_of(settings)
        _await_health(settings, address)
        if len(running) < len(COMPONENTS):
            say(f"Airflow is running on {address.url} ({time.monotonic() - began:.0f} s)")
        return address


def down(settings: Settings, timeout: float = _STOP_SECONDS) -> bool:
    """End the processes that ``up`` started and everything they started.

    Args:
        settings: the installation.
        timeout: seconds for an orderly end. A task that is running then is killed: every step may be.

    Returns:
        Whether any was running.
    """
    with processes.lock(settings, "airflow"):
        records = [record for name in COMPONENTS if (record := processes.read(settings, _name(name)))]
        stopped = processes.stop_all(records, timeout)
        for name in COMPONENTS:
            processes.forget(settings, _name(name))
        return stopped


def status(settings: Settings) -> Status:
    """Say which of Airflow's processes are running, and where its UI is."""
    records = {name: processes.read(settings, _name(name)) for name in COMPONENTS}
    port = _remembered(settings)
    return Status(
        {name: record is not None and processes.is_running(record) for name, record in records.items()},
        f"http://{ports.HOST}:{port}" if port else None,
    )


def address_of(settings: Settings) -> Address:
    """Return where the UI is and the administrator's password.

    Raises:
        ConfigurationError: Airflow was never started here.
    """
    port = _remembered(settings)
    if port is None:
        raise ConfigurationError("Airflow has not been started here yet.", do="Run: make run.")
    return Address(f"http://{ports.HOST}:{port}", USER, secrets.secret(settings, "airflow_admin"))


def api(settings: Settings) -> AirflowApi:
    """Return a client of the REST API, logged in as the administrator."""
    address = address_of(settings)
    return AirflowApi(address.url, address.user, address.password)


def log_of(settings: Settings, component: str) -> Path:
    """Return the log file of one of Airflow's processes."""
    return settings.logs / f"airflow-{component}.log"


def task_log_of(settings: Settings, dag_id: str, run_id: str, task_id: str) -> Path | None:
    """Return the log file of a task's latest attempt, if there is one."""
    folder = settings.logs / "airflow" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    attempts = sorted(folder.glob("attempt=*.log"), key=lambda path: path.stat().st_mtime)
    return attempts[-1] if attempts else None


def environment_of(settings: Settings, port: int) -> dict[str, str]:
    """Return the whole environment of Airflow's processes, and so of the tasks.

    Args:
        settings: the installation.
        port: the port of the API server.
    """
    server = postgres.remembered(settings)
    if server is None:
        raise ConfigurationError("PostgreSQL has not been started here yet.", do="Run: make run.")
    database = f"airflow:{secrets.secret(settings, 'airflow_db')}@{server.host}:{server.port}/airflow"
    url = f"http://{ports.HOST}:{port}"
    jwt_secret = hashlib.sha512(secrets.secret(settings, "airflow_jwt").encode()).hexdigest()
    configuration: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": settings.home / "dags",
            "plugins_folder": settings.home / "plugins",
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": PARALLELISM,
            "mp_forkserver_preload": ",".join(_PRELOADED),
            "default_timezone": "Europe/London",
            "dags_are_paused_at_creation": True,
            "fernet_key": f"{secrets.secret(settings, 'airflow_fernet')}=",
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": _passwords(settings),
            "hostname_callable": "socket.gethostname",  # the default asks a name server
            "min_serialized_dag_update_interval": 5,
        },
        "database": {
            "sql_alchemy_conn": f"postgresql+psycopg2://{database}",
            "sql_alchemy_conn_async": f"postgresql+asyncpg://{database}",
            "check_migrations": False,
        },
        "logging": {
            "base_log_folder": settings.logs / "airflow",
            "dag_processor_child_process_log_directory": settings.logs / "airflow" / "dag_processor",
            "file_task_handler_new_folder_permissions": "0o700",
            "file_task_handler_new_file_permissions": "0o600",
            "colored_console_log": False,
            "namespace_levels": "http.access=WARNING",
        },
        "api": {
            "host": ports.HOST,
            "port": port,
            "base_url": url,
            "workers": 1,
            "secret_key": secrets.secret(settings, "airflow_api"),
            "instance_name": "Peel",
        },
        "api_auth": {"jwt_secret": jwt_secret},  # HS512 wants 64 bytes
        "scheduler": {
            "mp_start_method": "forkserver",
            "scheduler_heartbeat_sec": 2,
            "scheduler_idle_sleep_time": 0.5,
            # what a killed scheduler left running is found soon after the next start
            "orphaned_tasks_check_interval": 30,
            "task_instance_heartbeat_timeout": 120,
            "enable_health_check": False,
        },
        "dag_processor": {
            "dag_bundle_storage_path": settings.var / "airflow" / "bundles",
            "refresh_interval": 60,
            "min_file_process_interval": 120,
            "parsing_processes": 1,
            "print_stats_interval": 0,
        },
        "metrics": {"statsd_on": False, "otel_on": False},
        "traces": {"otel_on": False},
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW") or name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))
    }
    for name in (
        "PYTHONDONTWRITEBYTECODE",  # else each process compiles every module again
        "PEEL_PG_PORT",  # say how to start, and say nothing to what is running
        "PEEL_AIRFLOW_PORT",
        processes.MARKER,
    ):
        inherited.pop(name, None)
    # whatever proxy this machine goes out by, its own address is not behind it
    without_proxy = ",".join(
        filter(None, [inherited.get("no_proxy") or inherited.get("NO_PROXY"), ports.HOST, "localhost"])
    )
    return {
        **inherited,
        "NO_PROXY": without_proxy,
        "no_proxy": without_proxy,
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW_HOME": str(settings.var / "airflow"),
        **{
            f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
            for section, options in configuration.items()
            for key, value in options.items()
        },
        **_peel(settings),
    }


def _peel(settings: Settings) -> dict[str, str]:
    """What a task needs to find the same installation."""
    wanted = {
        "PEEL_HOME": settings.home,
        "PEEL_VAR": settings.var,
        "PEEL_SOURCES": settings.sources,
        "PEEL_LANDING": settings.landing,
        "PEEL_WAREHOUSE_DSN": settings.warehouse_dsn,
        "SCALE": settings.scale,
        "PEEL_SEED": settings.seed,
        "PEEL_SMTP_TO": settings.smtp_to,
        "PEEL_LOCAL": "1",
    }
    return {name: str(value) for name, value in wanted.items() if value is not None}


def _name(component: str) -> str:
    return f"airflow-{component}"


def _passwords(settings: Settings) -> Path:
    return settings.secrets / "airflow_passwords.json"


def _server(settings: Settings) -> dict[str, Any]:
    return processes.read_json(settings.var / "airflow" / "server.json") or {}


def _remembered(settings: Settings) -> int | None:
    port = _server(settings).get("port")
    return int(port) if port else None


def _fingerprint(settings: Settings, environment: dict[str, str]) -> str:
    """What a running Airflow must have been started with to be the one that is asked for."""
    lock = settings.home / "requirements.lock"
    parts = [lock.read_bytes() if lock.exists() else b"", sys.executable.encode()]
    names = sorted(name for name in environment if name.startswith(("AIRFLOW", "PEEL_", "SCALE")))
    parts += [f"{name}={environment[name]}".encode() for name in names]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _choose_port(settings: Settings, say: Callable[[str], None]) -> int:
    port = next(
        ports.candidates(
            settings,
            "Airflow",
            asked=settings.airflow_port,
            variable="PEEL_AIRFLOW_PORT",
            last=_remembered(settings),
            say=say,
        ),
        None,
    )
    if port is None:
        raise ConfigurationError("No free port was found for Airflow.", do="Give one: PEEL_AIRFLOW_PORT.")
    return port


def _prepare(settings: Settings, environment: dict[str, str], say: Callable[[str], None]) -> None:
    """Write the password file and bring the metadata database to this Airflow's schema."""
    home = settings.var / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    # an empty one, or Airflow writes its own with keys that nobody uses
    processes.write_json(_passwords(settings), {USER: secrets.secret(settings, "airflow_admin")})
    (home / "airflow.cfg").touch(mode=0o600)

    version = importlib.metadata.version("apache-airflow")
    done = processes.read_json(home / "schema.json") or {}
    revision = _revision(settings)
    if revision is not None and done == {"airflow": version, "revision": revision}:
        return
    say("Airflow makes its database ...")
    log = settings.logs / "airflow-migrate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        log.chmod(0o600)
        result = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if result.returncode != 0:
        raise ConfigurationError(
            f"Airflow could not make its database. The log ends with:{processes.ending(log)}",
            do=f"\nThe log is {log}.",
        )
    processes.write_json(home / "schema.json", {"airflow": version, "revision": _revision(settings)})


def _revision(settings: Settings) -> str | None:
    """Return the revision of the metadata database, ``None`` if it is empty."""
    server = postgres.remembered(settings)
    assert server is not None
    with psycopg.connect(
        host=server.host,
        port=server.port,
        dbname=postgres.METADATA,
        user=postgres.METADATA,
        password=secrets.secret(settings, "airflow_db"),
        connect_timeout=10,
        sslmode="disable",
    ) as connection:
        if connection.execute("select to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("select version_num from alembic_version").fetchone()
        return str(row[0]) if row else None


def _start(settings: Settings, component: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "airflow", component]
    if component in ("scheduler", "triggerer"):
        command.append("--skip-serve-logs")  # they would listen on every address
    processes.start(
        settings,
        _name(component),
        command,
        log=log_of(settings, component),
        environment=environment,
        folder=settings.var / "airflow",
    )


def _await_health(settings: Settings, address: Address) -> None:
    deadline = time.monotonic() + _START_SECONDS
    client = AirflowApi(address.url, address.user, address.password)
    while True:
        started: dict[str, float] = {}
        for component in COMPONENTS:
            record = processes.read(settings, _name(component))
            if record is None or not processes.is_running(record):
                raise _failed(settings, component, "has ended while Airflow was starting")
            started[component] = record.started or 0
        health = client.health()
        ill = [
            name
            for part, name in _HEALTH.items()
            # a sign of life from before the start is one of a killed earlier run
            if not (part in health and health[part].is_healthy and health[part].heartbeat >= started[name])
        ]
        if not ill:
            return
        if time.monotonic() > deadline:
            component = ill[0] if health else "api-server"
            raise _failed(settings, component, f"is not healthy after {_START_SECONDS} s")
        time.sleep(0.5)


def _failed(settings: Settings, component: str, how: str) -> ConfigurationError:
    log = log_of(settings, component)
    return ConfigurationError(
        f"Airflow's {component} {how}. Its log ends with:{processes.ending(log)}",
        do=f"\nThe log is {log}; `make stop`, then `make run`, starts afresh.",
    )
