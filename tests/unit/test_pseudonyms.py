"""Identifiers are normalised to one form and replaced by tokens that the test key fixes for ever."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peel.deliveries.columns import postcode_sector
from peel.deliveries.pseudonyms import Keys, backup_keys, load_keys, normalise
from peel.errors import ConfigurationError
from peel.settings import Settings

KEYS = Keys(bytes.fromhex("1" * 64), bytes.fromhex("2" * 64), 1, 1)


@pytest.mark.parametrize(
    ("kind", "written", "normal"),
    [
        ("ni_number", "QQ 12 34 56 C", "QQ123456C"),
        ("ni_number", "qq123456c", "QQ123456C"),
        ("ni_number", "QQ-12-34-56-C.", "QQ123456C"),
        ("ni_number", "unknown", ""),
        ("email", " Robert.PEEL@Example.Invalid ", "robert.peel@example.invalid"),
        ("email", "no address", ""),
        ("phone", "+44 (0)20 7946 0000", "02079460000"),
        ("phone", "020 7946 0000", "02079460000"),
        ("phone", "0044 7700 900123", "07700900123"),
        ("phone", "n/a", ""),
        ("person_id", " 00123 ", "00123"),
        ("person_number", "w-123/a", "W123A"),
        ("candidate_id", "0F8FAD5B-D9CB-469F-A165-70867728950E", "0F8FAD5BD9CB469FA16570867728950E"),
        ("person_number", "Cafe\u0301 1", "CAFÉ1"),
    ],
)
def test_an_identifier_has_one_normal_form(kind: str, written: str, normal: str) -> None:
    assert normalise(kind, written) == normal


def test_the_token_is_the_hmac_of_kind_and_normal_form() -> None:
    expected = hmac.new(KEYS.land, b"ni_number\x1fQQ123456C", hashlib.sha256).hexdigest()
    assert KEYS.landing_token("ni_number", "qq 12 34 56 c") == expected
    key = hmac.new(KEYS.warehouse, expected.encode(), hashlib.sha256).hexdigest()[:32]
    assert KEYS.person_keys()(pa.array([expected, ""], pa.string())).to_pylist() == [key, None]


def test_a_token_never_changes_under_the_same_key() -> None:
    assert KEYS.landing_token("person_id", "901") == (
        "d38e50cf3601c4f8cb08b62518330e52d0ce1e1967cf5dfc558cf9d56ce50388"
    )


def test_kinds_never_meet() -> None:
    assert KEYS.landing_token("person_id", "901") != KEYS.landing_token("person_number", "901")


@given(st.text(max_size=40))
def test_no_token_holds_its_identifier(identifier: str) -> None:
    token = KEYS.landing_token("person_number", identifier)
    assert token == "" or (len(token) == 64 and set(token) <= set("0123456789abcdef"))


def test_keys_are_never_shown() -> None:
    assert "11111" not in repr(KEYS)


@pytest.mark.parametrize(
    ("postcode", "sector"),
    [
        ("ZX15 4AB", "ZX15 4"),
        ("zx154ab", "ZX15 4"),
        ("E1 6AN", "E1 6"),
        ("EC1A 1BB", "EC1A 1"),
        ("nowhere", ""),
        ("", ""),
    ],
)
def test_a_postcode_is_shortened_to_its_sector(postcode: str, sector: str) -> None:
    assert postcode_sector(postcode) == sector


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("PEEL_SECRET_HMAC_KEYS")
    return Settings(tmp_path, tmp_path / "var", tmp_path / "sources", tmp_path / "landing")


def test_keys_are_made_once_with_mode_0600(bare: Settings) -> None:
    first = load_keys(bare, create=True)
    assert load_keys(bare, create=False) == first
    path = bare.secrets / "hmac_keys"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.land != first.warehouse


def test_lost_keys_are_never_replaced_in_silence(bare: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"Restore them from a `peel backup`"):
        load_keys(bare, create=False)


def test_a_backup_restores_the_same_keys(bare: Settings, tmp_path: Path) -> None:
    keys = load_keys(bare, create=True)
    copy = backup_keys(bare, tmp_path / "safe")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    (bare.secrets / "hmac_keys").unlink()
    (bare.secrets / "hmac_keys").write_text(copy.read_text())
    assert load_keys(bare, create=False) == keys
