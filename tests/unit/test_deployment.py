"""The team deployment, as far as it can be checked without a Docker engine; docs/deployment.md says what is not."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml
from cryptography.fernet import Fernet
from psycopg import conninfo
from sqlalchemy import make_url

from peel import __version__, deployment, secrets, warehouse
from peel.deliveries.pseudonyms import load_keys
from peel.errors import ConfigurationError
from peel.local import airflow, postgres, processes
from peel.settings import Settings
from tests.conftest import HOME

COMPOSE = HOME / "docker-compose.yml"
DEMO = HOME / "docker" / "compose.demo.yml"
DOCKERFILE = HOME / "Dockerfile"
COMPONENTS = {"api-server", "scheduler", "dag-processor", "triggerer"}
FILES = [
    COMPOSE,
    DEMO,
    DOCKERFILE,
    HOME / ".dockerignore",
    HOME / "docker" / "entrypoint.sh",
    HOME / "docker" / "healthcheck.py",
]
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[?-])([^}]*))?\}")


def interpolate(text: str, environment: dict[str, str]) -> str:
    """What Compose makes of ``${NAME:?message}`` and ``${NAME:-default}``."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        found = environment.get(name, "")
        if operator == ":?" and not found:
            raise LookupError(name)
        return found or (rest if operator == ":-" else "")

    return VARIABLE.sub(value, text)


def load(path: Path, environment: dict[str, str]) -> dict[str, Any]:
    """A Compose file as Compose sees it: parsed, then interpolated."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(item) for key, item in node.items()}
        if isinstance(node, list):
            return [walk(item) for item in node]
        return interpolate(node, environment) if isinstance(node, str) else node

    return dict(walk(yaml.safe_load(path.read_text("utf-8"))))


def read_env(path: Path) -> dict[str, str]:
    """An ``.env`` file: a single-quoted value is literal."""
    lines = [line for line in path.read_text("ascii").splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    return {name: value[1:-1] if value.startswith("'") else value for name, value in pairs}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("deployment") / ".env"
    deployment.write_env(path)
    return read_env(path)


@pytest.fixture(scope="module")
def services(env: dict[str, str]) -> dict[str, dict[str, Any]]:
    return dict(load(COMPOSE, env)["services"])


# --- the Compose files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [COMPOSE, DEMO], ids=lambda path: path.name)
def test_fits_the_schema_of_compose(path: Path, env: dict[str, str]) -> None:
    vendored = files("check_jsonschema.builtin_schemas") / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(load(path, env), schema, jsonschema.Draft202012Validator)


def test_every_command_and_every_setting_is_known_to_airflow(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Asked of Airflow itself, in one process for all services."""
    script = """
import json, sys
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
asked = json.load(sys.stdin)
known = conf.configuration_description
for name in asked["settings"]:
    section, key = name.removeprefix("AIRFLOW__").lower().split("__")
    described = "core" if key == "mp_start_method" else section  # "can be overridden per component", it says there
    option = known.get(section, {}) and known[described]["options"].get(key)
    if option is None:
        sys.exit(f"Airflow knows no setting {name}")
    read = {"boolean": conf.getboolean, "integer": conf.getint, "float": conf.getfloat}.get(option["type"], conf.get)
    read(section, key)
for command in asked["commands"]:
    get_parser().parse_args(command)
"""
    settings = {
        name: value.replace("/var/lib/peel", str(tmp_path))  # Airflow makes the folder of its logs as it starts
        for service in services.values()
        for name, value in service["environment"].items()
        if name.startswith("AIRFLOW__")
    }
    commands = [service["command"][1:] for service in services.values() if service["command"][0] == "airflow"]
    assert len(commands) == len(COMPONENTS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    (tmp_path / "airflow.cfg").touch()
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **settings, "AIRFLOW_HOME": str(tmp_path)},
        input=json.dumps({"settings": sorted(settings), "commands": [*commands, ["db", "migrate"]]}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_the_other_commands_resolve(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrate"]["command"] == ["python", "-m", "peel.deployment", "migrate"]
    assert services["postgres"]["command"][0] == "postgres"
    for name in COMPONENTS:
        *program, script, component = services[name]["healthcheck"]["test"]
        assert (program, component) == (["CMD", "python", "-IS"], name)
        assert (HOME / Path(script).relative_to("/opt/peel")).is_file()


def test_airflow_is_configured_as_on_one_machine(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Only addresses, paths and secrets differ."""
    settings = Settings(HOME, tmp_path / "var", tmp_path / "sources", tmp_path / "landing")
    processes.write_json(settings.var / "postgres" / "server.json", {"host": "127.0.0.1", "port": 5432})
    local = {
        name: value
        for name, value in airflow.environment_of(settings, 8080).items()
        # Airflow 3.3 has no such section any more
        if name.startswith("AIRFLOW__") and not name.startswith("AIRFLOW__USAGE_DATA_COLLECTION__")
    }
    team = services["scheduler"]["environment"] | services["api-server"]["environment"]
    team = {name: value for name, value in team.items() if name.startswith("AIRFLOW__")}
    assert team.keys() == local.keys()
    differing = {name.removeprefix("AIRFLOW__") for name in team if team[name] != local[name]}
    assert differing <= {
        "API__HOST",
        "API__BASE_URL",
        "API__SECRET_KEY",
        "API_AUTH__JWT_SECRET",
        "CORE__DAGS_FOLDER",
        "CORE__EXECUTION_API_SERVER_URL",
        "CORE__FERNET_KEY",
        "CORE__PLUGINS_FOLDER",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH",
        "DATABASE__SQL_ALCHEMY_CONN",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC",
        "LOGGING__BASE_LOG_FOLDER",
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY",
    }


def test_nothing_is_reachable_but_the_ui_and_postgres_on_this_machine(env: dict[str, str]) -> None:
    for environment in (env, env | {"PEEL_AIRFLOW_LISTEN": "", "PEEL_POSTGRES_LISTEN": ""}):
        found = {name: service.get("ports") for name, service in load(COMPOSE, environment)["services"].items()}
        assert {name: ports for name, ports in found.items() if ports} == {
            "postgres": ["127.0.0.1:5432:5432"],
            "api-server": ["127.0.0.1:8080:8080"],
        }


def test_every_service_is_confined_watched_and_limited(services: dict[str, dict[str, Any]]) -> None:
    assert services.keys() == {"postgres", "migrate", *COMPONENTS}
    for name, service in services.items():
        assert service["init"] is True, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert float(service["deploy"]["resources"]["limits"]["cpus"]) <= 2, name  # more is refused on two cores
        assert service["healthcheck"].get("disable", False) is (name == "migrate"), name
        assert not {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"} & service.keys(), name
    assert services["postgres"]["user"] == "postgres"
    assert re.fullmatch(r"postgres:18\.\d+(-\w+)?", services["postgres"]["image"])
    assert {service["image"] for name, service in services.items() if name != "postgres"} == {f"peel:{__version__}"}


def test_services_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    migrated = {"migrate": "service_completed_successfully"}
    assert needs == {
        "postgres": {},
        "migrate": {"postgres": "service_healthy"},
        "api-server": migrated,
        "scheduler": migrated | {"api-server": "service_healthy"},
        "dag-processor": migrated,
        "triggerer": migrated,
    }


def test_volumes_are_named_and_lie_where_peel_and_the_image_look(env: dict[str, str]) -> None:
    compose = load(COMPOSE, env)
    mounts = {
        tuple(volume.split(":")) for service in compose["services"].values() for volume in service.get("volumes", [])
    }
    assert {mount[0] for mount in mounts} == compose["volumes"].keys()
    places = {mount[0]: mount[1] for mount in mounts}
    assert places.pop("pgdata") == "/var/lib/postgresql"
    var = Path("/var/lib/peel")
    assert places == {name: str(var / name) for name in ("landing", "sources", "drafts", "published", "logs", "dbt")}
    made = re.search(r"install -d [^\n]*\\\n([^\n]*)", DOCKERFILE.read_text("utf-8"))
    assert made is not None
    assert set(made[1].split()) == {"peel", *(f"peel/{name}" for name in places)}
    here = Settings(HOME, var, var / "sources", var / "landing")
    assert {str(here.drafts), str(here.published), str(here.logs)} <= set(places.values())


def test_the_simulated_force_delivers_only_where_it_was_asked_for(env: dict[str, str]) -> None:
    compose, demo = load(COMPOSE, env)["services"], load(DEMO, env)["services"]
    assert not [name for name, service in compose.items() if {"PEEL_LOCAL", "SCALE"} & service["environment"].keys()]
    assert "sources:/var/lib/peel/sources:ro" in compose["scheduler"]["volumes"]
    assert demo.keys() == {"scheduler", "dag-processor"}
    for service in demo.values():
        assert service["environment"] == {"PEEL_LOCAL": "1", "SCALE": "0.25", "PEEL_SEED": "1829"}


# --- PostgreSQL -------------------------------------------------------------------------------------------


def server_settings(command: list[str]) -> dict[str, str]:
    assert all(part.startswith("-c") for part in command[1:])
    return dict(part[2:].split("=", 1) for part in command[1:])


def test_postgres_is_set_up_as_on_one_machine(services: dict[str, dict[str, Any]]) -> None:
    team = server_settings(services["postgres"]["command"])
    lines = [line for line in postgres._CONFIGURATION.splitlines() if "=" in line and not line.startswith("#")]
    local = {name.strip(): value.strip().strip("'") for name, value in (line.split("=", 1) for line in lines)}
    place = {"listen_addresses", "port", "unix_socket_directories", "dynamic_shared_memory_type"}
    for_backups = {"wal_level", "max_wal_senders"}
    assert local.keys() - team.keys() == place | for_backups
    assert {name for name in team if team[name] != local[name]} == {"effective_cache_size"}
    assert len([name for name in team if name.startswith("log_")]) >= 18
    arguments = services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert {
        "--auth=scram-sha-256",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    } <= set(arguments)


def test_postgres_takes_its_settings(services: dict[str, dict[str, Any]], server: Settings) -> None:
    place = processes.read_json(server.var / "postgres" / "place.json")  # there is one if we are root
    programs, user = (Path(place["programs"]), place["uid"]) if place else (postgres.programs(), os.getuid())
    folder = server.var / "settings"
    folder.mkdir(mode=0o700)
    (folder / "postgresql.conf").touch()
    os.chown(folder, user, -1)
    command = services["postgres"]["command"][1:]
    asked = [str(programs / "postgres"), "-D", str(folder), "-C", "log_min_messages", *command]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*asked, *more], cwd="/", user=user, capture_output=True, text=True, timeout=30)

    assert (run().returncode, run().stdout) == (0, "log\n"), run().stderr
    assert run("-clog_statement=nonsense").returncode != 0


def test_migrate_makes_databases_and_roles_and_may_be_repeated(
    server: Settings, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = warehouse.parameters(server, "owner")
    metadata, database = f"airflow_{os.getpid()}", f"peel_{os.getpid()}"
    monkeypatch.setattr(postgres, "METADATA", metadata)
    monkeypatch.setattr(postgres, "WAREHOUSE", database)
    monkeypatch.setattr(warehouse, "DATABASE", database)
    for role in (warehouse.OWNER, *warehouse.ROLES):  # the session's own: roles are shared by its databases
        monkeypatch.setenv(f"PEEL_SECRET_{role.upper()}", secrets.secret(server, role))
    monkeypatch.setenv("PEEL_SECRET_AIRFLOW_DB", env["PEEL_SECRET_AIRFLOW_DB"])
    monkeypatch.setenv("PEEL_HOME", str(HOME))
    monkeypatch.setenv("PEEL_VAR", str(tmp_path / "var"))
    where = conninfo.make_conninfo(host=owner["host"], port=owner["port"], dbname=database)
    monkeypatch.setenv("PEEL_WAREHOUSE_DSN", where)
    asked: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(deployment.subprocess, "run", run)

    def connects(dbname: str, user: str, password: str) -> bool:
        try:
            psycopg.connect(where, dbname=dbname, user=user, password=password).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        for password in (env["PEEL_SECRET_AIRFLOW_DB"], env["PEEL_SECRET_AIRFLOW_API"]):  # the second is a changed one
            monkeypatch.setenv("PEEL_SECRET_AIRFLOW_DB", password)
            assert deployment.main(["migrate"]) == 0
            assert connects(metadata, metadata, password)
            assert not connects(database, metadata, password)
        assert not connects(metadata, metadata, env["PEEL_SECRET_AIRFLOW_DB"])
        bi = secrets.secret(server, "peel_bi")
        assert connects(database, "peel_bi", bi)
        assert not connects(metadata, "peel_bi", bi)
        assert asked == [[sys.executable, "-m", "airflow", "db", "migrate"]] * 2
        assert not (tmp_path / "var").exists()  # its folder is read-only there
        # what the tasks connect by: no user in the DSN, and nobody knows the owner's password
        here = Settings(HOME, tmp_path, tmp_path, tmp_path, warehouse_dsn=where)
        with warehouse.connect(here, "ingest") as connection:
            assert connection.execute("select count(*) from audit.delivery").fetchone() == (0,)
        log = (server.logs / "postgres.log").read_text("utf-8", "replace")
        assert not [name for name, value in env.items() if "SECRET" in name and value in log]
    finally:
        with psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True) as connection:
            for name in (metadata, database):
                connection.execute(f"drop database if exists {name} with (force)")
            connection.execute(f"drop role if exists {metadata}")


# --- secrets ----------------------------------------------------------------------------------------------


def test_every_variable_used_is_written_and_every_one_written_is_used(env: dict[str, str]) -> None:
    used = [match.groups() for path in (COMPOSE, DEMO) for match in VARIABLE.finditer(path.read_text("utf-8"))]
    assert {name for name, _, _ in used} == env.keys()
    assert "$" not in VARIABLE.sub("", COMPOSE.read_text("utf-8") + DEMO.read_text("utf-8"))
    for name, operator, rest in used:
        if name.startswith("PEEL_SECRET_"):
            assert operator == ":?", name
            assert "peel env" in rest, name
        else:
            assert (operator, rest) == (":-", env[name]), name
    assert set(deployment._RANDOM_SECRETS) == {name for name in env if "SECRET" in name} - {deployment.HMAC_KEYS}
    roles = {f"PEEL_SECRET_{role.upper()}" for role in (warehouse.OWNER, *warehouse.ROLES)}
    assert roles <= set(deployment._RANDOM_SECRETS)


def test_compose_refuses_a_missing_and_an_empty_secret(env: dict[str, str]) -> None:
    text = COMPOSE.read_text("utf-8")
    interpolate(text, env)
    for name in env:
        if name.startswith("PEEL_SECRET_"):
            for without in ({k: v for k, v in env.items() if k != name}, env | {name: ""}):
                with pytest.raises(LookupError, match=name):
                    interpolate(text, without)


def test_env_is_private_fresh_and_never_overwritten(tmp_path: Path) -> None:
    texts = []
    before = os.umask(0)
    try:
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            assert deployment.main(["env", str(folder / ".env")]) == 0
            assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
            assert [path.name for path in folder.iterdir()] == [".env"]
            texts.append(read_env(folder / ".env"))
    finally:
        os.umask(before)
    one, two = texts
    drawn = [name for name in one if name.startswith("PEEL_SECRET_")]
    assert len(drawn) == 13
    assert not [name for name in drawn if one[name] == two[name]]
    assert len({one[name] for name in drawn}) == len(drawn)

    path = tmp_path / "one" / ".env"
    for existing in (path, tmp_path / "two"):
        with pytest.raises(ConfigurationError, match="exists"):
            deployment.write_env(existing)
    assert read_env(path) == one
    assert [each.name for each in path.parent.iterdir()] == [".env"]
    with pytest.raises(ConfigurationError, match="could not be written"):
        deployment.write_env(tmp_path / "missing" / ".env")


def test_env_can_be_written_where_nothing_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "peel.deployment", "env", str(tmp_path / ".env")]
    run = subprocess.run(command, env={"PYTHONPATH": str(HOME / "plugins")}, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    assert "SECRET" not in run.stdout
    again = subprocess.run(command, env={"PYTHONPATH": str(HOME / "plugins")}, capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1


def test_the_secrets_fit_what_they_are_for(
    env: dict[str, str], services: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = services["api-server"]["environment"]
    Fernet(environment["AIRFLOW__CORE__FERNET_KEY"])
    assert len(environment["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    url = make_url(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    assert (url.username, url.password) == ("airflow", env["PEEL_SECRET_AIRFLOW_DB"])
    monkeypatch.setenv("PEEL_SECRET_HMAC_KEYS", services["scheduler"]["environment"]["PEEL_SECRET_HMAC_KEYS"])
    keys = load_keys(Settings(HOME, tmp_path, tmp_path, tmp_path), create=False)
    assert len(keys.land) == len(keys.warehouse) == 32
    assert keys.land != keys.warehouse


def test_each_secret_is_only_where_it_is_needed(services: dict[str, dict[str, Any]], env: dict[str, str]) -> None:
    found = {
        name.removeprefix("PEEL_SECRET_"): {
            service for service, text in ((key, json.dumps(each)) for key, each in services.items()) if value in text
        }
        for name, value in env.items()
        if name.startswith("PEEL_SECRET_") and name != deployment.HMAC_KEYS
    }
    runs_airflow = COMPONENTS | {"migrate"}
    assert found == {
        "PEEL_OWNER": {"postgres", "migrate"},
        "PEEL_INGEST": {"migrate", "scheduler"},
        "PEEL_GATE": {"migrate", "scheduler"},
        "PEEL_TRANSFORM": {"migrate", "scheduler"},
        "PEEL_PUBLISH": {"migrate", "scheduler"},
        "PEEL_ANALYST": {"migrate"},
        "PEEL_BI": {"migrate"},
        "AIRFLOW_DB": runs_airflow,
        "AIRFLOW_FERNET": runs_airflow,
        "AIRFLOW_ADMIN": {"api-server"},
        "AIRFLOW_API": {"api-server"},
        "AIRFLOW_JWT": {"api-server", "scheduler"},
    }
    assert {name for name, each in services.items() if deployment.HMAC_KEYS in each["environment"]} == {"scheduler"}


def test_a_container_refuses_weak_secrets_without_showing_them(
    services: dict[str, dict[str, Any]], env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in services.values():
        deployment.check_secrets(service["environment"])
    strong = env["PEEL_SECRET_PEEL_BI"]
    weak = ["changeme", "airflow", strong[:30], "x" * 43, "ab" * 30, f"{strong}@", f" {strong}"]
    for name in ("PEEL_SECRET_PEEL_OWNER", "PEEL_SECRET_AIRFLOW_ADMIN", "AIRFLOW__API_AUTH__JWT_SECRET"):
        for value in weak:
            with pytest.raises(ConfigurationError, match=name) as refusal:
                deployment.check_secrets({name: value})
            assert value not in str(refusal.value)
    with pytest.raises(ConfigurationError, match="same secret"):
        deployment.check_secrets({"PEEL_SECRET_PEEL_BI": strong, "PEEL_SECRET_PEEL_GATE": strong})
    keys = json.loads(env[deployment.HMAC_KEYS])
    for document in ("{}", "changeme", json.dumps({"land": keys["land"], "warehouse": keys["land"]})):
        monkeypatch.setenv(deployment.HMAC_KEYS, document)
        with pytest.raises(ConfigurationError):
            deployment.check_secrets({deployment.HMAC_KEYS: document})


def test_the_entrypoint_writes_the_password_file_and_gives_way(
    services: dict[str, dict[str, Any]], env: dict[str, str], tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords.json"
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PEEL_SECRET_AIRFLOW_ADMIN": env["PEEL_SECRET_AIRFLOW_ADMIN"],
        deployment.PASSWORDS_FILE: str(passwords),
    }
    script = (HOME / "docker" / "entrypoint.sh").read_text("utf-8").replace("/tmp/started", str(tmp_path / "started"))
    (tmp_path / "entrypoint.sh").write_text(script, "utf-8")
    command = ["sh", str(tmp_path / "entrypoint.sh"), "sh", "-c", "umask; echo ${PEEL_SECRET_AIRFLOW_ADMIN-none}"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.split()) == (0, ["0077", "none"]), run.stderr
    assert json.loads(passwords.read_text("ascii")) == {"admin": env["PEEL_SECRET_AIRFLOW_ADMIN"]}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert (tmp_path / "started").exists()
    assert services["api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "admin:admin"

    weak = environment | {"PEEL_SECRET_AIRFLOW_ADMIN": "admin"}
    refused = subprocess.run(command, env=weak, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "PEEL_SECRET_AIRFLOW_ADMIN" in refused.stderr


# --- health -----------------------------------------------------------------------------------------------


@pytest.fixture
def health() -> Iterator[dict[str, Any]]:
    """An API server that answers with what the test puts in here; ``url`` says where."""
    answer: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer["health"]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answer["url"] = f"http://127.0.0.1:{server.server_port}/"
        yield answer
        server.shutdown()


def test_a_component_is_healthy_by_a_heartbeat_of_its_own(health: dict[str, Any], tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.touch()
    # a proxy that is not there must not be asked
    environment = {"PEEL_STARTED": str(started), "http_proxy": "http://127.0.0.1:9", "PEEL_HEALTH_URL": health["url"]}

    def check(component: str) -> int:
        command = [sys.executable, "-IS", str(HOME / "docker" / "healthcheck.py"), component]
        return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode

    def state(status: str, age: float) -> dict[str, str]:
        at = dt.datetime.fromtimestamp(time.time() - age, dt.UTC)
        return {"status": status, "latest_dag_processor_heartbeat": at.isoformat()}

    fine = {"metadatabase": {"status": "healthy"}, "dag_processor": state("healthy", -1)}
    health["health"] = fine
    assert (check("api-server"), check("dag-processor")) == (0, 0)
    for ill in (state("unhealthy", -1), state("healthy", 60), {"status": None, "latest_dag_processor_heartbeat": None}):
        health["health"] = fine | {"dag_processor": ill}
        assert (check("api-server"), check("dag-processor")) == (0, 1)
    health["health"] = fine | {"metadatabase": {"status": "unhealthy"}}
    assert check("api-server") == 1
    environment["PEEL_HEALTH_URL"] = "http://127.0.0.1:9/"
    assert check("api-server") == 1


# --- the image --------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line.strip()]


def ignored(path: str) -> bool:
    """Whether ``.dockerignore`` keeps a path out: the last pattern that matches it or a folder above it wins."""
    parts = path.split("/")
    result = False
    for line in (HOME / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = parts if pattern.startswith("**/") else []
        pattern = pattern.removeprefix("**/")
        if any(fnmatchcase(each, pattern) and ("/" not in each or "/" in pattern) for each in [*above, *names]):
            result = not line.startswith("!")
    return result


def test_the_dockerfile_copies_only_what_exists_and_is_let_through() -> None:
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from=")
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (HOME / source).exists(), source
        assert not ignored(source.rstrip("/")), source
    assert not [name for name, _ in instructions() if name == "ADD"]
    # everything a task needs is among it
    assert {"plugins/", "dags/", "dbt_project/", "expectations/", "reference/"} <= set(copied)


def test_no_secret_and_no_environment_gets_into_the_image() -> None:
    for path in (
        ".env",
        ".env.old",
        "docker/.env",
        "var/secrets/hmac_keys",
        ".git/config",
        ".venv/bin/python",
        "dbt_project/.venv/bin/dbt",
        "dbt_project/target/manifest.json",
        "plugins/peel/__pycache__/cli.pyc",
        "plugins/peel.egg-info/PKG-INFO",
        "tests/conftest.py",
    ):
        assert ignored(path), path
    for path in ("dbt_project/models/fields.md", "plugins/.airflowignore", "reference/census/census_sex.csv"):
        assert not ignored(path), path


def test_the_image_is_built_from_hashed_locks_and_runs_without_root() -> None:
    runs = [rest for name, rest in instructions() if name == "RUN"]
    installing = [part.strip() for run in runs for part in run.split("&&") if re.search(r"pip (install|sync)", part)]
    locks = ["requirements-uv.lock", "requirements.lock", "dbt_project/requirements.lock"]
    assert [part.split()[-1] for part in installing] == [*locks, "."]
    assert all("--require-hashes" in part for part in installing[:3])
    assert {"--no-deps", "--offline", "--editable"} <= set(installing[3].split())
    for lock in locks:
        pinned = re.sub(r"\\\n", " ", (HOME / lock).read_text("utf-8"))
        assert all("--hash=sha256:" in line for line in pinned.splitlines() if re.match(r"[a-z0-9]", line))

    last = max(index for index, (name, _) in enumerate(instructions()) if name == "FROM")
    users = [(index, rest) for index, (name, rest) in enumerate(instructions()) if name == "USER"]
    assert users[-1][0] > last
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1][1])
    assert not [name for name, _ in instructions()[users[-1][0] :] if name in ("RUN", "COPY")]
    assert dict(instructions())["ENTRYPOINT"] == '["sh", "/opt/peel/docker/entrypoint.sh"]'
    assert dict(instructions())["ARG"] == "UV_DEFAULT_INDEX"  # the last one: a mirror is given, never written here
    assert [rest for name, rest in instructions() if name == "ARG"] == [
        "PYTHON_IMAGE=python:3.11-slim-bookworm",
        "PIP_INDEX_URL",
        "UV_DEFAULT_INDEX",
    ]


def test_no_host_name_is_written_down() -> None:
    inside = {"api-server", "localhost"}
    for path in FILES:
        text = path.read_text("utf-8")
        assert set(re.findall(r"https?://([\w.-]+)", text)) <= inside, path.name
        assert not re.search(r"pypi|pythonhosted|index-url|@sha256:[0-9a-f]{8}", text, re.IGNORECASE), path.name
    assert ignored(".env")
    assert "/.env" in (HOME / ".gitignore").read_text("utf-8").splitlines()
