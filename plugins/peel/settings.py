"""Where things are and how this installation is set up. Read once, from the environment.

| variable | meaning | default |
|---|---|---|
| ``PEEL_HOME`` | the project's root, with ``expectations/`` | found from this package or the working directory |
| ``PEEL_VAR`` | everything Peel writes | ``<home>/var`` |
| ``PEEL_LANDING`` | the landing store, a folder on a file system (decision 0020) | ``<var>/landing`` |
| ``PEEL_SOURCES`` | the folder sources deliver to | ``<var>/sources`` |
| ``PEEL_SOURCE_<FEED>`` | a feed's own source, a URL (:mod:`peel.sources.configure`) | the folder ``PEEL_SOURCES`` |
| ``PEEL_SECRET_SOURCE_<FEED>`` | its password or key | none, or in the URL |
| ``PEEL_WAREHOUSE_DSN`` | an administrator's DSN of one's own PostgreSQL | Peel's own server |
| ``PEEL_PG_PORT`` | the port of Peel's own server | a free one, remembered |
| ``PEEL_AIRFLOW_PORT`` | the port of the local Airflow UI | a free one, remembered |
| ``SCALE`` | size of the simulated force, 1 is the Met's | 0.25 |
| ``PEEL_SEED`` | seed of the simulated force | 1829 |
| ``PEEL_KEEP_REFUSED_DAYS`` | days a refused delivery's tables are kept to be looked at | 14 |
| ``PEEL_SMTP_TO`` | who is written to when a task fails | nobody: the log only |
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from peel.errors import ConfigurationError


def _find_home() -> Path:
    configured = os.environ.get("PEEL_HOME")
    if configured:
        home = Path(configured)
        if not (home / "expectations").is_dir():
            raise ConfigurationError(
                "PEEL_HOME names a folder without expectations/.", do="Point it at the project's root."
            )
        return home.resolve()
    for start in (Path(__file__).resolve().parent, Path.cwd()):
        for folder in (start, *start.parents):
            if (folder / "expectations").is_dir() and (folder / "dbt_project").is_dir():
                return folder
    raise ConfigurationError(
        "The project's root was not found.", do="Set PEEL_HOME to the folder with expectations/ in it."
    )


@dataclass(frozen=True)
class Settings:
    """One installation's settings; every path is absolute."""

    home: Path
    var: Path
    sources: Path
    landing: Path
    warehouse_dsn: str | None = field(default=None, repr=False)
    pg_port: int | None = None
    airflow_port: int | None = None
    scale: float = 0.25
    seed: int = 1829
    keep_refused_days: int = 14
    smtp_to: str | None = None

    @property
    def contracts(self) -> Path:
        """The folder of contracts."""
        return self.home / "expectations"

    @property
    def dbt_project(self) -> Path:
        """The dbt project."""
        return self.home / "dbt_project"

    @property
    def secrets(self) -> Path:
        """Generated secrets, each a file of mode 0600."""
        return self.var / "secrets"

    @property
    def drafts(self) -> Path:
        """Draft releases, one folder per build."""
        return self.var / "drafts"

    @property
    def published(self) -> Path:
        """Approved releases only."""
        return self.var / "published"

    @property
    def logs(self) -> Path:
        """Logs of the local services."""
        return self.var / "logs"


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a variable holds something it cannot hold.
    """
    home = _find_home()
    var = Path(os.environ.get("PEEL_VAR") or home / "var").absolute()
    return Settings(
        home=home,
        var=var,
        sources=Path(os.environ.get("PEEL_SOURCES") or var / "sources").absolute(),
        landing=Path(os.environ.get("PEEL_LANDING") or var / "landing").absolute(),
        warehouse_dsn=os.environ.get("PEEL_WAREHOUSE_DSN") or None,
        pg_port=_port("PEEL_PG_PORT"),
        airflow_port=_port("PEEL_AIRFLOW_PORT"),
        scale=_number("SCALE", 0.25, low=0.001, high=1.0),
        seed=int(_number("PEEL_SEED", 1829, low=0, high=2**31)),
        keep_refused_days=int(_number("PEEL_KEEP_REFUSED_DAYS", 14, low=0, high=3650)),
        smtp_to=os.environ.get("PEEL_SMTP_TO") or None,
    )


def _port(variable: str) -> int | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise ConfigurationError(f"{variable} is no port number.", do="Give a number from 1 to 65535.")
    return int(value)


def _number(variable: str, default: float, *, low: float, high: float) -> float:
    value = os.environ.get(variable)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ConfigurationError(f"{variable} must be a number from {low:g} to {high:g}.")
    return number
