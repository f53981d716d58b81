"""The command's manners: usage, one line for each refusal, exit codes; no database is asked."""

from __future__ import annotations

import pytest

from peel import cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEEL_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("PEEL_WAREHOUSE_DSN", raising=False)


@pytest.mark.parametrize(
    "command",
    [
        ["quarantine"],
        ["quarantine", "show", "abcd"],
        ["quarantine", "readmit", "abcd", "hr_person", "first", "--who", "x", "--reason", "x"],
        ["quarantine", "discard", "abcd", "hr_person", "1", "--who", "x"],
        ["quarantine", "map", "hr_person", "sex", "W", "--who", "x", "--reason", "x"],
        ["accept", "abcd"],
        ["accept", "abcd", "--who", "x"],
        ["bridge", "recruitment", "--from", "w1", "--who", "x", "--reason", "x"],
        ["replay", "hr"],
        ["gate"],
        ["deliveries", "hr", "recruitment"],
        ["status", "--unknown"],
        ["grant"],
        ["grant", "analyst", "founder", "--until", "2099-01-01"],
        ["grant", "analyst", "founder", "--approver", "x"],
        ["grant", "revoke", "founder"],
    ],
)
def test_bad_usage_is_told_and_exits_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 2
    assert "usage: peel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["replay", "hr", "tomorrow"], "DATE is no date: a business date has the form YYYY-MM-DD."),
        (["deliveries", "--since", "2026-02-30"], "--since is no date: a business date has the form YYYY-MM-DD."),
        (["reads", "--since", "soon"], "--since is no date: a business date has the form YYYY-MM-DD."),
        (["grant", "analyst", "peel_x", "--approver", "x", "--until", "2099-01-01"], "This cannot be a login."),
        (["deliveries", "nothing"], "feed nothing: there is no such feed. Feeds are"),
        (["deliveries", "--state", "lost"], "there is no such state. States are landed,"),
        (["deliveries", "hr"], "PostgreSQL has not been started here. Run `peel up`"),
        (["gate", "abcd"], "PostgreSQL has not been started here."),
        (["quarantine", "list", "nothing"], "file nothing: no feed brings such a table. Tables are"),
        (["quarantine", "codes", "nothing"], "feed nothing: there is no such feed."),
        (["quarantine", "show", "abcd", "hr_person", "--values"], "Values are shown to a named person only."),
        (["accept", "abcd", "--who", "x", "--reason", " "], "A decision needs the name of who makes it, and a reason."),
        (
            ["accept", "abcd", "--who", "x", "--reason", "see QQ123456C"],
            "A name or reason is too long, or has the shape",
        ),
        (["night", "2999-01-01"], "A business date lies before today in London."),
    ],
)
def test_a_refusal_is_one_line_and_exits_1(command: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"peel: {line}")
    assert said.err.count("\n") == 1
    assert "QQ123456C" not in said.err
