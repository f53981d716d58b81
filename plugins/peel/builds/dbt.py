"""Running dbt: one process for a whole build, in its own environment, telemetry off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from peel import moments
from peel.contracts import contracts
from peel.errors import ConfigurationError, PeelError
from peel.settings import Settings
from peel.warehouse import parameters

_MANIFESTS_KEPT = 5
"""The newest, whatever became of their builds; those that readers may be taken back to are kept beside them."""

_TIED = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, kept through exec
if os.getppid() == parent:
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Ties dbt to the life of this process: one that outlived a killed build would write into the next one's schema."""


def command(settings: Settings) -> list[str]:
    """How dbt is started, in the environment beside its project or where ``PEEL_DBT`` says its executable is.

    Its interpreter runs `dbt_project/terse_dbt.py`, so that errors of the database name no value; what has no
    interpreter beside it is run as it is.

    Raises:
        ConfigurationError: that environment has not been made.
    """
    configured = os.environ.get("PEEL_DBT")
    path = Path(configured) if configured else settings.dbt_project / ".venv" / "bin" / "dbt"
    if not path.exists():
        raise ConfigurationError("dbt's environment has not been made.", do="Run `make run` once.")
    interpreter = path.with_name("python")
    return [str(interpreter), str(settings.dbt_project / "terse_dbt.py")] if interpreter.exists() else [str(path)]


def environment(settings: Settings, target: str = "by_hand") -> dict[str, str]:
    """The environment dbt runs in: connection as peel_transform, everything it writes under ``var/``.

    Args:
        settings: the installation.
        target: the folder dbt writes its artifacts to; what a person runs stays apart from the nights' builds.
    """
    p = parameters(settings, "transform")
    return _everywhere(settings) | {
        "PEEL_DBT_HOST": p.get("host", "localhost"),
        "PEEL_DBT_PORT": p.get("port", "5432"),
        "PEEL_DBT_USER": p["user"],
        "PEEL_DBT_DBNAME": p.get("dbname", "peel"),
        "DBT_ENV_SECRET_PASSWORD": p.get("password", ""),
        "DBT_TARGET_PATH": str(settings.var / "dbt" / target),
        "DBT_LOG_PATH": str(settings.logs / "dbt"),
    }


_LEFT_OUT = ("AIRFLOW", "AWS_", "DBT_", "PYTHON", "PEEL_SECRET_", "PEEL_SOURCE_", "PEEL_WAREHOUSE_DSN")
"""Variables dbt is not given, by how they begin: it has the one password it needs, in a variable of its own."""


def _everywhere(settings: Settings) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_LEFT_OUT)}
    return kept | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_PROJECT_DIR": str(settings.dbt_project),
        "DBT_PROFILES_DIR": str(settings.dbt_project),
        "DBT_VERSION_CHECK": "false",
        "DO_NOT_TRACK": "1",
    }


def checksum(settings: Settings) -> str:
    """sha256 over models, seeds, macros and contracts: when it differs, every month is built again."""
    digest = hashlib.sha256()
    for folder in ("models", "seeds", "macros"):
        for path in sorted((settings.dbt_project / folder).rglob("*")):
            if path.suffix in (".sql", ".csv", ".yml"):
                digest.update(f"{path.relative_to(settings.dbt_project)}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    for contract in contracts(settings.contracts, validate=False).values():
        digest.update(f"{contract.name} {contract.checksum}\n".encode())
    return digest.hexdigest()


def build(settings: Settings, build_id: str, told: Mapping[str, str]) -> None:
    """Run ``dbt build`` and keep its manifest under the build's id.

    Args:
        settings: the installation.
        build_id: the build.
        told: what the models are told of the night, as environment variables: dbt parses everything again when a
            variable of its own differs.

    Raises:
        PeelError: dbt failed or built nothing; names the models, never a value.
    """
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    target = settings.var / "dbt" / "nightly"
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, "-c", _TIED, str(os.getpid()), *command(settings), "--quiet", *arguments],
        env=environment(settings, "nightly") | dict(told),
        cwd=settings.dbt_project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    nodes = json.loads(results.read_text("utf-8"))["results"] if results.exists() else []
    failed = [node["unique_id"].split(".", 2)[-1] for node in nodes if node["status"] in ("error", "fail")]
    advice = f"See {settings.logs / 'dbt' / 'dbt.log'}; run the build again once it is put right."
    if failed:
        names = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        raise PeelError(f"dbt failed at {names}.", rule="dbt", count=len(failed), do=advice)
    if run.returncode != 0:
        raise PeelError(f"dbt ended with exit code {run.returncode}.", rule="dbt", do=advice)
    if not nodes:
        raise PeelError("dbt built nothing at all.", rule="dbt", do=advice)
    kept = manifest_path(settings, build_id)
    kept.parent.mkdir(parents=True, exist_ok=True)
    moments.before("dbt manifest kept")
    shutil.copyfile(target / "manifest.json", kept)
    moments.after("dbt manifest kept")


def parse(settings: Settings) -> dict[str, Any]:
    """The manifest of the models as they stand, with the schemas readers see; no warehouse is asked.

    Raises:
        PeelError: the project is not fit, or dbt warns of something in it.
    """
    nowhere = {"PEEL_DBT_HOST": "localhost", "PEEL_DBT_PORT": "5432", "PEEL_DBT_USER": "peel_transform"}
    nowhere |= {"PEEL_DBT_DBNAME": "peel", "DBT_ENV_SECRET_PASSWORD": "none"}
    with tempfile.TemporaryDirectory(prefix="peel-dbt-") as folder:
        written = {"DBT_TARGET_PATH": folder, "DBT_LOG_PATH": folder}
        run = subprocess.run(
            [*command(settings), "--quiet", "--warn-error", "parse", "--target", "readers"],
            env=_everywhere(settings) | nowhere | written,
            cwd=settings.dbt_project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        if run.returncode != 0:
            raise PeelError("dbt cannot read its project.", rule="dbt", do=run.stdout.strip())
        document: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text("utf-8"))
    return document


def manifest_path(settings: Settings, build_id: str) -> Path:
    """Where a build's manifest is kept."""
    return _manifests(settings) / f"{build_id}.json"


def _manifests(settings: Settings) -> Path:
    return settings.var / "dbt" / "builds"


def drop_manifests(settings: Settings, needed: Collection[str]) -> None:
    """Remove manifests that nobody will ask for.

    Args:
        settings: the installation.
        needed: builds whose manifest stays, however old.
    """
    for old in sorted(_manifests(settings).glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_MANIFESTS_KEPT]:
        if old.stem not in needed:
            old.unlink()


def manifest(settings: Settings, build_id: str) -> dict[str, Any]:
    """A build's manifest.

    Raises:
        PeelError: it is not kept.
    """
    path = manifest_path(settings, build_id)
    if not path.exists():
        raise PeelError("the build's manifest is gone.", rule="dbt", do="Run the build again.")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document
