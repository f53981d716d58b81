"""A throwaway installation with real services. Airflow is started once for a file of tests, and ended after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from throwaway import installation

from peel import warehouse
from peel.local import airflow, postgres, processes
from peel.settings import Settings


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are its owner's alone."""
    folder = Path(tempfile.mkdtemp(prefix="peel-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def here(open_folder: Path) -> Iterator[Settings]:
    """An installation in which nothing is running yet."""
    settings = installation(open_folder / "var")
    yield settings
    postgres.remove(settings)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An installation with PostgreSQL, the bootstrapped warehouse and Airflow up; ended after the file, so that
    they do not run beside every other test.

    Lives below pytest's own 0700 folder, so that as root PostgreSQL is one that another user runs elsewhere; under
    a name of its own, since that other place goes by it and outlives a session that was killed.
    """
    settings = installation(Path(tempfile.mkdtemp(dir=tmp_path_factory.mktemp("services"))) / "var")
    said: list[str] = []
    try:
        postgres.up(settings, said.append)
        warehouse.bootstrap(settings)
        airflow.up(settings, said.append)
        (settings.var / "said").write_text("\n".join(said))
        yield settings
    finally:
        records = [
            record
            for name in (*(f"airflow-{component}" for component in airflow.COMPONENTS), postgres.NAME)
            if (record := processes.read(settings, name))
        ]
        airflow.down(settings)
        postgres.remove(settings)
        left = [process.pid for process in processes._carriers({record.instance for record in records})]
        assert not [pid for pid in left if psutil.pid_exists(pid)], "down left processes behind"
