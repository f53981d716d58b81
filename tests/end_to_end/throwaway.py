"""Installations that are made for a test and thrown away."""

from __future__ import annotations

from pathlib import Path

from peel.settings import Settings

HOME = Path(__file__).resolve().parents[2]


def installation(var: Path, *, scale: float = 0.02) -> Settings:
    """Settings of this repository with everything written to another folder."""
    return Settings(home=HOME, var=var, sources=var / "sources", landing=var / "landing", scale=scale, seed=1829)
