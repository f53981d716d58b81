"""Two layers of pseudonym, so that landing and warehouse can be rotated apart.

*Landing token* = HMAC-SHA-256(k_land, kind ‖ 0x1f ‖ normalised identifier): what landing holds.
*Person key* = HMAC-SHA-256(k_wh, landing token): what everything after holds.
The kind is the same in every feed, so that an HR number in a recruitment file meets itself.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import os
import re
import secrets as random_secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peel.errors import ConfigurationError
from peel.secrets import existing, store
from peel.settings import Settings

_CACHE = 200_000  # tokens remembered while one file streams by

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_FORMS = {
    "ni_number": re.compile(r"[A-Z]{2}\d{6}[A-D]"),
    "email": re.compile(r"[^@]+@[^@]+\.[^@]+"),
    "phone": re.compile(r"\d{7,15}"),
}


def normalise(kind: str, identifier: str) -> str:
    """Bring an identifier to the one form it is hashed in.

    Unicode NFC, then by kind: e-mail addresses lose case and space; phones become digits with a
    leading 0 for +44; every other kind loses case, space and punctuation.

    Returns:
        The normalised identifier; empty where the text is no identifier of its kind.
    """
    text = unicodedata.normalize("NFC", identifier)
    if kind == "email":
        normal = "".join(text.split()).casefold()
    elif kind == "phone":
        digits = "".join(character for character in text if character.isdigit())
        international = text.strip().startswith("+") or digits.startswith("00")
        digits = digits.removeprefix("00")
        if international and digits.startswith("44"):
            digits = "0" + digits.removeprefix("44").removeprefix("0")
        normal = digits
    else:
        normal = _NOT_ALPHANUMERIC.sub("", text).upper()
    form = _FORMS.get(kind)
    return normal if form is None or form.fullmatch(normal) else ""


@dataclass(frozen=True)
class Keys:
    """The two keys in force, with their epochs."""

    land: bytes
    warehouse: bytes
    land_epoch: int
    warehouse_epoch: int

    def __repr__(self) -> str:
        """Epochs only; a key is never shown."""
        return f"Keys(land_epoch={self.land_epoch}, warehouse_epoch={self.warehouse_epoch})"

    def landing_token(self, kind: str, identifier: str) -> str:
        """The landing token of a raw identifier: 64 hex digits, or empty for none."""
        normal = normalise(kind, identifier)
        if not normal:
            return ""
        return hmac.digest(self.land, f"{kind}\x1f{normal}".encode(), "sha256").hex()

    def person_key(self, landing_token: str) -> str:
        """The warehouse's key for a landing token: 64 hex digits, or empty for none."""
        if not landing_token:
            return ""
        return hmac.digest(self.warehouse, landing_token.encode("ascii"), "sha256").hex()

    def fingerprint(self, name: str) -> str:
        """A key's name card: tells keys apart and gives nothing away."""
        key = self.land if name == "land" else self.warehouse
        return hashlib.sha256(b"peel key fingerprint\x1f" + key).hexdigest()[:16]


def remembering(function: Callable[[str], str]) -> Callable[[str], str]:
    """Remember a bounded number of results: identifiers repeat within a file."""
    known: dict[str, str] = {}

    def call(value: str) -> str:
        token = known.get(value)
        if token is None:
            token = function(value)
            if len(known) >= _CACHE:
                known.clear()
            known[value] = token
        return token

    return call


def load_keys(settings: Settings, *, create: bool) -> Keys:
    """Read the keys, making them only where nothing has ever been landed.

    Args:
        settings: the installation.
        create: whether new keys may be made when there are none.

    Raises:
        ConfigurationError: the keys are missing though deliveries were landed under them, or unreadable.
    """
    text = existing(settings, "hmac_keys")
    if text is None:
        if not create:
            raise ConfigurationError(
                "The HMAC keys are missing, and deliveries have been landed under them.",
                do="Restore them from a `peel backup` into var/secrets; new keys would break every join.",
            )
        today = dt.datetime.now(dt.UTC).date().isoformat()
        document = {
            name: [{"epoch": 1, "since": today, "until": None, "key": random_secrets.token_hex(32)}]
            for name in ("land", "warehouse")
        }
        text = store(settings, "hmac_keys", json.dumps(document))
    try:
        document = json.loads(text)
        land, warehouse = (max(document[name], key=lambda e: e["epoch"]) for name in ("land", "warehouse"))
        keys = Keys(bytes.fromhex(land["key"]), bytes.fromhex(warehouse["key"]), land["epoch"], warehouse["epoch"])
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "The file of HMAC keys is unreadable.", do="Restore it from a `peel backup` into var/secrets."
        ) from None
    if min(len(keys.land), len(keys.warehouse)) < 32:
        raise ConfigurationError("An HMAC key is shorter than 256 bits.")
    return keys


def backup_keys(settings: Settings, target: Path) -> Path:
    """Copy the keys and their epochs into a folder, mode 0600.

    Returns:
        The file written.

    Raises:
        ConfigurationError: there are no keys yet, or the folder cannot be written.
    """
    text = existing(settings, "hmac_keys")
    if text is None:
        raise ConfigurationError("There are no HMAC keys yet.", do="Run a first night, then back up.")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = target / f"peel-hmac-keys-{stamp}.json"
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"The keys could not be written there ({error.strerror}).") from None
    return path
