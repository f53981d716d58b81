"""Secrets of this installation: made on first use, one file each, mode 0600, never logged."""

from __future__ import annotations

import contextlib
import os
import secrets as random_secrets
from pathlib import Path

from peel.disk import sync
from peel.errors import ConfigurationError
from peel.settings import Settings


def secret(settings: Settings, name: str) -> str:
    """Return the secret of that name, making it on first use.

    ``PEEL_SECRET_<NAME>`` in the environment wins, so that a team deployment can inject its own.

    Args:
        settings: the installation.
        name: lower-case name, such as ``peel_bi`` or ``airflow_db``.

    Returns:
        The secret: 43 URL-safe characters (256 bits) when made here.
    """
    injected = os.environ.get(f"PEEL_SECRET_{name.upper()}")
    if injected:
        return injected
    return store(settings, name, random_secrets.token_urlsafe(32))


def store(settings: Settings, name: str, value: str) -> str:
    """Write a secret of one's own making, unless one of that name exists; return the one that holds."""
    path = settings.secrets / name
    if not path.exists():
        _create(path, value)
    return path.read_text(encoding="ascii").strip()


def existing(settings: Settings, name: str) -> str | None:
    """Return the secret of that name if it was injected or made before, else ``None``."""
    injected = os.environ.get(f"PEEL_SECRET_{name.upper()}")
    if injected:
        return injected
    path = settings.secrets / name
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def put(settings: Settings, name: str, value: str) -> None:
    """Write a secret in the place of one that may exist, in one rename."""
    path = settings.secrets / name
    temporary = _written(path, value)
    temporary.replace(path)
    sync(path.parent)


def _create(path: Path, value: str) -> None:
    temporary = _written(path, value)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # the first to arrive wins; nobody ever reads half a secret
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _written(path: Path, value: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from None
    return temporary


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The secret {path.name} could not be written ({error.strerror}).",
        do="Check the folder's owner and free space.",
    )
