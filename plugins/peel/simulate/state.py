"""The world kept beside its deliveries, so that a night need not live through the years again.

A state is a pure function of seed, scale and date: what is kept is only ever a short cut. It is believed if it
was made by these parameters and this code; anything else is lived again from the beginning.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from peel.simulate.columns import Columns
from peel.simulate.days import month_of
from peel.simulate.march import advance, world_until
from peel.simulate.world import World

NAME = ".simulated-force.npz"
_ABOUT = "about"


def world_kept(folder: Path, seed: int, scale: float, date: dt.date, without: frozenset[str] = frozenset()) -> World:
    """The world of a seed and scale, simulated to the end of a date's month or further, and kept for the next night.

    Args:
        folder: of feeds; what is kept stands in it as ``.simulated-force.npz``.
        seed: which force.
        scale: size of the force, 1 is the Met's.
        date: the night.
        without: names of planted truths that the force lacks.
    """
    world = _read(folder / NAME, World(seed, scale, without))
    if world is None:
        world = world_until(seed, scale, date, without)
    elif world.month > month_of(date):
        return world
    else:
        advance(world, date)
    _write(folder / NAME, world)
    return world


@cache
def _made_by() -> str:
    """The hash of every file of the simulation, parameters and code."""
    digest = hashlib.sha256()
    here = resources.files("peel.simulate")
    files = [*here.iterdir(), *(here / "tables").iterdir()]
    for file in sorted((file for file in files if file.name.endswith((".py", ".csv"))), key=lambda file: file.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _about(world: World) -> dict[str, object]:
    return {
        "made_by": _made_by(),
        "seed": world.seed,
        "scale": world.asked_scale,
        "without": sorted(world.without),
    }


def _logs(world: World) -> dict[str, Columns]:
    return {name: value for name, value in vars(world).items() if isinstance(value, Columns)}


def _write(path: Path, world: World) -> None:
    arrays: dict[str, Any] = {
        f"{log}.{name}": column for log, columns in _logs(world).items() for name, column in columns.all()
    }
    leavers = {str(group): counts for group, counts in world.leavers.items()}
    about = json.dumps(_about(world) | {"month": world.month, "leavers": leavers})
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        np.savez(file, **(arrays | {_ABOUT: np.frombuffer(about.encode(), np.uint8)}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _read(path: Path, world: World) -> World | None:
    """A new world as it is kept, or None if nothing is kept that can be gone on from."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(kept[_ABOUT].tobytes())
            if {name: about.get(name) for name in _about(world)} != _about(world):
                return None
            for log, columns in _logs(world).items():
                columns.replace({name: kept[f"{log}.{name}"] for name, _ in columns.all()})
            world.month = about["month"]
            world.leavers = {int(group): counts for group, counts in about["leavers"].items()}
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        return None
    return world
