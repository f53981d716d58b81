"""The team deployment's own steps: its ``.env``, its databases, and what a container does before its service.

``docker-compose.yml`` and ``peel env`` use them; docs/deployment.md tells the story. At the top this imports
nothing that must be installed, so that ``.env`` can be written on a machine that has only Python::

    PYTHONPATH=plugins python3 -m peel.deployment env
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import re
import secrets as random_secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from peel.errors import ConfigurationError, PeelError

HMAC_KEYS = "PEEL_SECRET_HMAC_KEYS"
ADMIN_PASSWORD = "PEEL_SECRET_AIRFLOW_ADMIN"  # noqa: S105  a variable's name
PASSWORDS_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
USER = "admin"

_RANDOM_SECRETS = {
    "PEEL_SECRET_PEEL_OWNER": "PostgreSQL's superuser, who owns the warehouse: in postgres and migrate only",
    "PEEL_SECRET_PEEL_INGEST": "the warehouse's roles",
    "PEEL_SECRET_PEEL_GATE": "",
    "PEEL_SECRET_PEEL_TRANSFORM": "",
    "PEEL_SECRET_PEEL_PUBLISH": "",
    "PEEL_SECRET_PEEL_ANALYST": "",
    "PEEL_SECRET_PEEL_BI": "",
    "PEEL_SECRET_AIRFLOW_DB": "Airflow's role in its own database",
    ADMIN_PASSWORD: f"the password of {USER} in the Airflow UI",
    "PEEL_SECRET_AIRFLOW_FERNET": "what Airflow encrypts its connections with; losing it loses them",
    "PEEL_SECRET_AIRFLOW_API": "what Airflow signs sessions with",
    "PEEL_SECRET_AIRFLOW_JWT": "what Airflow signs its tokens with (HS512 wants 64 bytes)",
}
_BYTES = {"PEEL_SECRET_AIRFLOW_JWT": 64}
_SETTINGS = (
    (
        "Where the Airflow UI and PostgreSQL listen on this machine. Only 127.0.0.1 unless you decide otherwise:\n"
        "# neither speaks TLS by itself.",
        {"PEEL_AIRFLOW_LISTEN": "127.0.0.1:8080", "PEEL_POSTGRES_LISTEN": "127.0.0.1:5432"},
    ),
    ("How a browser reaches the Airflow UI.", {"PEEL_AIRFLOW_URL": "http://localhost:8080"}),
    ("Who is written to when a task fails; nobody if empty.", {"PEEL_SMTP_TO": ""}),
    ("The simulated force, with docker/compose.demo.yml only.", {"SCALE": "0.25", "PEEL_SEED": "1829"}),
)
# Secrets that reach a container under Airflow's own names.
_AIRFLOW_SECRETS = ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY")
_STRONG = re.compile(r"[A-Za-z0-9_-]{40,}=?")  # also safe in a URL, which a password becomes part of


def write_env(path: Path) -> None:
    """Write the team deployment's settings and fresh secrets, mode 0600; never over an existing file.

    Args:
        path: the file, usually ``.env`` beside ``docker-compose.yml``.

    Raises:
        ConfigurationError: something of that name exists, or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(_env_text())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails if it exists; nobody ever reads half a file
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists, and its secrets are those of a running warehouse.",
            do="Keep it. Move it away only to begin afresh with empty volumes.",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} could not be written ({error.strerror}).") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _env_text() -> str:
    lines = [
        "# Settings and secrets of the team deployment, made by `peel env`. See docs/deployment.md.",
        "# Keep a copy apart from the data. The HMAC keys cannot be made again: without them nothing that is",
        "# delivered later joins what the warehouse holds.",
    ]
    for comment, settings in _SETTINGS:
        lines += ["", f"# {comment}", *(f"{name}={value}" for name, value in settings.items())]
    for name, comment in _RANDOM_SECRETS.items():
        lines += ["", f"# Secret: {comment}."] if comment else []
        lines.append(f"{name}={random_secrets.token_urlsafe(_BYTES.get(name, 32))}")
    lines += ["", "# Secret: the keys of pseudonyms, with their epochs.", f"{HMAC_KEYS}='{json.dumps(_hmac_keys())}'"]
    return "\n".join(lines) + "\n"


def _hmac_keys() -> dict[str, list[dict[str, object]]]:
    """Fresh keys in the shape that ``peel.deliveries.pseudonyms`` reads."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return {
        name: [{"epoch": 1, "since": today, "until": None, "key": random_secrets.token_hex(32)}]
        for name in ("land", "warehouse")
    }


def start(environment: Mapping[str, str]) -> None:
    """Do what every container of Peel's image does before its service.

    Refuses secrets that were not drawn at random, and writes Airflow's password file where there is a password.

    Args:
        environment: the container's.

    Raises:
        ConfigurationError: a secret is weak or used twice; names the variable, never its value.
    """
    check_secrets(environment)
    password, file = environment.get(ADMIN_PASSWORD), environment.get(PASSWORDS_FILE)
    if password and file:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            json.dump({USER: password}, opened)


def check_secrets(environment: Mapping[str, str]) -> None:
    """Refuse secrets that a person typed, shortened or used twice.

    Raises:
        ConfigurationError: names the variable, never its value.
    """
    advice = "Write a new .env with `peel env` and take the value from there."
    seen: dict[str, str] = {}
    for name, value in sorted(environment.items()):
        if name == HMAC_KEYS or not (name.startswith("PEEL_SECRET_") or name in _AIRFLOW_SECRETS):
            continue
        if not _STRONG.fullmatch(value) or len(set(value)) < 16:
            raise ConfigurationError(f"{name} is no random secret of 40 or more URL-safe characters.", do=advice)
        if value in seen:
            raise ConfigurationError(f"{name} is the same secret as {seen[value]}.", do=advice)
        seen[value] = name
    if HMAC_KEYS in environment:
        from peel import settings
        from peel.deliveries.pseudonyms import load_keys

        keys = load_keys(settings.load(), create=False)
        if keys.land == keys.warehouse:
            raise ConfigurationError(f"{HMAC_KEYS} holds one key for both layers of pseudonym.", do=advice)


def migrate() -> None:
    """Make the databases and roles, bring both schemas up to date; safe to repeat and to kill.

    ``PEEL_WAREHOUSE_DSN`` says where the server is and names no user; ``PEEL_SECRET_PEEL_OWNER`` is its
    superuser's password. Passwords of all other roles follow the environment, so that a changed one takes hold.

    Raises:
        ConfigurationError: a variable is missing, or Airflow could not make its schema.
        PeelError: any database error.
    """
    from psycopg import conninfo

    from peel import settings, warehouse
    from peel.local import postgres

    here = settings.load()
    password = os.environ.get("PEEL_SECRET_PEEL_OWNER")
    if not here.warehouse_dsn or not password:
        raise ConfigurationError("PEEL_WAREHOUSE_DSN and PEEL_SECRET_PEEL_OWNER must be set.")
    given = conninfo.conninfo_to_dict(here.warehouse_dsn)
    server = postgres.Server(str(given["host"]), int(given.get("port") or 5432))
    with warehouse.value_free("peel_owner"):
        postgres.prepare(replace(here, warehouse_dsn=None), server)
    if subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"]).returncode != 0:
        raise ConfigurationError("Airflow could not bring its database up to date; its lines above say why.")
    owner = conninfo.make_conninfo(here.warehouse_dsn, user=warehouse.OWNER, password=password)
    warehouse.bootstrap(replace(here, warehouse_dsn=owner))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step; 0 when done, 1 with one clear line when not."""
    parser = argparse.ArgumentParser(prog="python -m peel.deployment", description="Steps of the team deployment.")
    steps = parser.add_subparsers(required=True, dest="step", metavar="STEP")
    env = steps.add_parser("env", help="write settings and fresh secrets")
    env.add_argument("path", type=Path, nargs="?", default=Path(".env"))
    steps.add_parser("start", help="in a container: check the secrets, write Airflow's password file")
    steps.add_parser("migrate", help="in a container: make the databases and bring them up to date")
    options = parser.parse_args(arguments)
    try:
        if options.step == "env":
            write_env(options.path)
            sys.stdout.write(f"Written: {options.path} (mode 0600). Keep a copy apart from the data.\n")
        elif options.step == "start":
            start(os.environ)
        else:
            migrate()
    except PeelError as error:
        sys.stderr.write(f"peel: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
