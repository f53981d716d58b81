"""A second night that several tests begin with, run once for all of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from peel.settings import Settings
from tests.conftest import copy_night, drop_warehouse, keep, point_environment_at
from tests.warehouse.test_nights import day, other_sex, redeliver, run


@pytest.fixture(scope="session")
def corrected_night(server: Settings, london_night: Settings) -> Iterator[Settings]:
    """The night after ``london_night``, in which HR corrected an officer's sex; tests only read it."""
    folder = Path(tempfile.mkdtemp(prefix="peel-night-"))
    folder.chmod(0o755)
    settings = copy_night(server, london_night, folder / "var")
    with pytest.MonkeyPatch.context() as patch:
        point_environment_at(patch, settings)
        redeliver(settings, day(1), other_sex(settings))
        run(day(1))
    settings = keep(server, settings, "corrected")
    yield settings
    drop_warehouse(server, settings)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def corrected_copy(
    server: Settings, corrected_night: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A copy of the corrected night that a test may change."""
    settings = copy_night(server, corrected_night, tmp_path / "var")
    point_environment_at(monkeypatch, settings)
    yield settings
    drop_warehouse(server, settings)
