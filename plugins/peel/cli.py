"""The command ``peel``: the night, the services and the warehouse from a terminal."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from peel import __version__, london, settings, warehouse
from peel.errors import ConfigurationError, PeelError
from peel.settings import Settings

if TYPE_CHECKING:
    from peel.deliveries.decisions import Signed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 with one clear line when not, 2 for bad usage."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.run in (_sql, _dbt):
        options.rest = [argument for argument in rest if argument != "--"]  # psql's and dbt's own
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return int(options.run(settings.load(), options) or 0)
    except PeelError as error:
        print(f"peel: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("peel: stopped by you; what was done stands, run it again to go on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peel", description="The police beside the people.")
    parser.add_argument("--version", action="version", version=f"peel {__version__}")
    command = _actions(parser, "COMMAND")
    up = command("up", _up, "start PostgreSQL and Airflow")
    up.add_argument("--no-airflow", action="store_true", help="PostgreSQL only")
    command("down", _down, "stop what `peel up` started")
    status = command("status", _status, "what came, what was refused, what readers see")
    status.add_argument("--json", action="store_true", help="everything, for programs")
    night = command("night", _night, "run one night")
    night.add_argument(
        "date", metavar="DATE", nargs="?", help="business date, YYYY-MM-DD; yesterday in London if left out"
    )
    night.add_argument("--direct", action="store_true", help="in this process, without Airflow")
    night.add_argument("--no-delivery", action="store_true", help="take what the sources hold; simulate nothing")
    _simulation(command)
    _desk(command)
    dsn = command("dsn", _dsn, "print a connection URL, password included")
    dsn.add_argument("--role", default="bi", help="bi, analyst, publish, transform, gate, ingest or owner")
    sql = command("sql", _sql, "open psql, or run statements: peel sql --role bi -c 'select …'")
    sql.add_argument("--role", default="bi")
    command("dbt", _dbt, "run dbt with the right profile: peel dbt -- ls")
    backup = command("backup", _backup, "copy the HMAC keys and their epochs to a folder")
    backup.add_argument("folder", type=Path)
    picture = command("picture", _picture, "take a picture of the latest draft (needs Chromium)")
    picture.add_argument("file", type=Path)
    env = command("env", _env, "write the .env of a team deployment, every secret fresh")
    env.add_argument("file", type=Path, nargs="?", default=Path(".env"))
    command("dbt-sources", _dbt_sources, "write dbt's sources from the contracts")
    command("dictionary", _dictionary, "write docs/dictionary.md and docs/star.md from dbt's models")
    clean = command("clean", _clean, "stop everything and remove what Peel wrote, keys included")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser


_Run = Callable[[Settings, argparse.Namespace], int | None]


class _Add(Protocol):
    def __call__(self, name: str, run: _Run, text: str) -> argparse.ArgumentParser: ...


def _actions(parser: argparse.ArgumentParser, metavar: str = "ACTION") -> _Add:
    """A function that adds a command, or an action of one, with what it runs."""
    commands = parser.add_subparsers(required=True, metavar=metavar)

    def add(name: str, run: _Run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    return add


def _simulation(command: _Add) -> None:
    """The simulated force on its own, away from any installation."""
    simulate = command("simulate", _simulate_deliver, "have the simulated force deliver into a folder of its own")
    add = _actions(simulate)

    def action(name: str, run: _Run, text: str) -> argparse.ArgumentParser:
        added = add(name, run, text)
        added.add_argument("folder", type=Path, help="the folder of feeds")
        added.add_argument("--until", metavar="DATE", help="the last night; yesterday in London if left out")
        return added

    deliver = action("deliver", _simulate_deliver, "deliver nights of the HR and recruitment feeds")
    deliver.add_argument(
        "--since", metavar="DATE", help="the first night, with everything up to it; --until if left out"
    )
    deliver.add_argument("--scale", type=float, help="size of the force, 1 is the Met's; SCALE if left out")
    deliver.add_argument("--seed", type=int, help="which force; PEEL_SEED if left out")
    deliver.add_argument(
        "--dirt",
        metavar="NAME[=RATE]",
        action="append",
        default=[],
        help="plant a kind of dirt, RATE in a million; its usual rate if left out; `usual` for every kind",
    )
    deliver.add_argument(
        "--without", metavar="TRUTH", action="append", default=[], help="leave out a planted truth, for a null variant"
    )
    deliver.add_argument("--database", metavar="URL", help="also write the HR tables of the last night to PostgreSQL")
    action("compare", _simulate_compare, "hold a delivered night against published figures; 1 if any is missed")
    draw = action("draw", _simulate_draw, "draw strength, shares and funnel with the published points")
    draw.add_argument("pictures", type=Path, help="folder for the pictures")


def _desk(command: _Add) -> None:
    """What a person looks up, has done again, and decides."""

    def signed(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
        parser.add_argument("--who", required=required, help="who decides: a name or a role, shown in the audit")
        parser.add_argument("--reason", required=required, help="why, shown in the audit")

    deliveries = command("deliveries", _deliveries, "list what came, and what became of it")
    deliveries.add_argument("feed", metavar="FEED", nargs="?")
    deliveries.add_argument("--state", help="landed, gated, applied, replaced, waiting or refused")
    deliveries.add_argument("--since", metavar="DATE", help="from this business date on")
    deliveries.add_argument("--json", action="store_true")
    gate = command("gate", _gate, "run one delivery's rules again, and resolve anew what becomes of it")
    gate.add_argument("delivery", metavar="DELIVERY", help="its id, or enough of its beginning")
    replay = command(
        "replay", _replay, "gate a feed's deliveries from a date on under the present contracts, and apply"
    )
    replay.add_argument("feed", metavar="FEED")
    replay.add_argument("date", metavar="DATE")
    accept = command("accept", _accept, "take in a delivery though a rule refused it")
    accept.add_argument("delivery", metavar="DELIVERY")
    signed(accept)
    bridge = command("bridge", _bridge, "go on across a delivery that is lost for good")
    bridge.add_argument("feed", metavar="FEED")
    bridge.add_argument("--from", dest="start", metavar="WATERMARK", help="the last one reached; none for the start")
    bridge.add_argument("--to", dest="end", metavar="WATERMARK", required=True, help="where a delivery begins")
    signed(bridge)
    switch = command("switch", _switch, "take readers back to the night before and hold them there, or lift the hold")
    what = switch.add_mutually_exclusive_group(required=True)
    what.add_argument("--back", action="store_true", help="take back the last switch; nothing is built until lifted")
    what.add_argument("--lift", action="store_true", help="let builds go on")
    signed(switch)
    decisions = command("decisions", _decisions, "list who decided what, when and why; newest last")
    decisions.add_argument("feed", metavar="FEED", nargs="?")
    decisions.add_argument("--json", action="store_true")

    erase = command("erase", _erase, "erase a person whose identifiers are read from the standard input")
    erase.add_argument(
        "--objection", action="store_true", help="take away only what is of a special category (DPA 2018, Sch. 1 8(5))"
    )
    signed(erase)
    rotate = command("rotate", _rotate, "change a key of the pseudonyms; everyone stays joined")
    rotate.add_argument("key", choices=["warehouse", "land"], help="warehouse: at once; land: by an overlap")
    step = rotate.add_mutually_exclusive_group()
    step.add_argument("--show", action="store_true", help="how far the overlap of the landing key has come")
    step.add_argument("--close", action="store_true", help="end the overlap: the old landing key is gone for good")
    signed(rotate, required=False)  # to look is no decision

    granted = _actions(command("grant", _grant_list, "let named persons read core, and see who may"))
    analyst = granted("analyst", _grant_analyst, "give a person a login, or renew it; prints its URL once")
    analyst.add_argument("login", metavar="LOGIN", help="small letters, digits and underscores")
    analyst.add_argument("--approver", required=True, help="who approves it, shown in the audit")
    analyst.add_argument("--until", metavar="DATE", required=True, help="the last day on which they may log in")
    revoked = granted("revoke", _grant_revoke, "take a login away at once, and end what it is doing")
    revoked.add_argument("login", metavar="LOGIN")
    revoked.add_argument("--who", required=True, help="who decides, shown in the audit")
    list_grants = granted("list", _grant_list, "who may read core, by whose approval, until when")
    list_grants.add_argument("--all", action="store_true", help="those that have ended too")
    list_grants.add_argument("--json", action="store_true")
    reads = command("reads", _reads, "who read which table of core, by day, from the server's log")
    reads.add_argument("--since", metavar="DATE", help="from this day on")
    reads.add_argument("--json", action="store_true")

    action = _actions(command("quarantine", _quarantine_list, "see and settle rows that are held back"))
    listed = action("list", _quarantine_list, "rows held back, by table, delivery and rule")
    listed.add_argument("what", metavar="FEED|TABLE", nargs="?")
    listed.add_argument("--rule", help="such as listed_code, or sex:listed_code")
    listed.add_argument("--all", action="store_true", help="settled rows too")
    listed.add_argument("--json", action="store_true")
    show = action("show", _quarantine_show, "rows one by one; their values only to a named person, on record")
    show.add_argument("delivery", metavar="DELIVERY")
    show.add_argument("table", metavar="TABLE")
    show.add_argument("row", metavar="ROW", nargs="?", type=int)
    show.add_argument("--values", action="store_true", help="show values; needs --who")
    show.add_argument("--who")
    for kind, text in (("readmit", "this row is right"), ("discard", "this row is nobody's: free its key")):
        one = action(kind, _quarantine_decide, text)
        one.set_defaults(kind=kind)
        one.add_argument("delivery", metavar="DELIVERY")
        one.add_argument("table", metavar="TABLE")
        one.add_argument("row", metavar="ROW", type=int)
        signed(one)
    codes = action("codes", _quarantine_codes, "codes that no contract lists, the most frequent first")
    codes.add_argument("feed", metavar="FEED", nargs="?")
    mapped = action("map", _quarantine_map, "read a code that no contract lists as one that it does")
    for name in ("table", "column", "old", "new"):
        mapped.add_argument(name, metavar=name.upper())
    signed(mapped)
    command("retain", _retain, "let go of landed files past their retention and of working copies, then vacuum")


def _say(text: str) -> None:
    print(text, flush=True)


def _up(here: Settings, options: argparse.Namespace) -> None:
    from peel.local import airflow, postgres

    postgres.up(here, _say)
    warehouse.bootstrap(here)
    if not options.no_airflow:
        airflow.up(here, _say)


def _down(here: Settings, options: argparse.Namespace) -> None:
    from peel.local import airflow, postgres

    airflow.down(here)
    postgres.down(here)
    _say("Stopped.")


def _simulate_draw(here: Settings, options: argparse.Namespace) -> None:
    from peel.simulate import pictures

    until = _date(options.until, "--until") or london.yesterday()
    for file in pictures.draw(options.folder, until, options.pictures):
        _say(str(file))


def _simulate_deliver(here: Settings, options: argparse.Namespace) -> None:
    from peel.simulate import deliver_nights

    until = _date(options.until, "--until") or london.yesterday()
    scale = here.scale if options.scale is None else options.scale
    seed = here.seed if options.seed is None else options.seed
    since = _date(options.since, "--since")
    started = time.monotonic()
    folders = deliver_nights(
        options.folder,
        until,
        since=since,
        scale=scale,
        seed=seed,
        dirt=_dirt(options.dirt),
        without=frozenset(options.without),
        database=options.database,
    )
    _say(f"{len(folders)} deliveries in {time.monotonic() - started:.0f} s under {options.folder}")


def _dirt(asked: Sequence[str]) -> dict[str, int]:
    from peel.simulate.dirt.catalogue import usual_rates

    usual = usual_rates("hr") | usual_rates("recruitment")
    rates: dict[str, int] = {}
    for text in asked:
        name, given, rate = text.partition("=")
        if name == "usual" and not given:
            rates |= usual
            continue
        try:
            rates[name] = int(rate) if given else usual.get(name, 0)
        except ValueError:
            raise ConfigurationError(f"--dirt {name}: the rate is a whole number in a million.") from None
    return rates


def _simulate_compare(here: Settings, options: argparse.Namespace) -> int:
    from peel.simulate import calibration

    until = _date(options.until, "--until") or london.yesterday()
    compared = calibration.compare(options.folder, until)
    for line in calibration.lines(compared):
        _say(line)
    return int(any(one.verdict == "outside" for one in compared))


def _night(here: Settings, options: argparse.Namespace) -> None:
    business_date = _date(options.date, "DATE") or london.yesterday()
    if business_date >= london.now().date():
        raise ConfigurationError("A business date lies before today in London.", do="Give an earlier DATE.")
    started = time.monotonic()
    from peel.local import postgres

    if options.direct:
        from peel import night

        postgres.up(here, lambda _: None)
        warehouse.bootstrap(here)

        def say(text: str) -> None:
            _say(f"{time.monotonic() - started:5.0f} s  {text}")

        night.run_direct(business_date, say, simulated=not options.no_delivery)
    else:
        from peel.local.night import run_night

        _up(here, argparse.Namespace(no_airflow=False))
        run_night(here, business_date, _say, simulated=not options.no_delivery)
    from peel.status import headlines, places

    for line in [*headlines(here), *places(here)]:
        _say(line)


def _status(here: Settings, options: argparse.Namespace) -> None:
    from peel.status import document, lines

    if options.json:
        _say(json.dumps(document(here), indent=1, default=str))
    else:
        for line in lines(here):
            _say(line)


def _date(text: str | None, what: str) -> dt.date | None:
    if text is None:
        return None
    try:
        return london.parse_business_date(text)
    except ValueError as error:
        raise ConfigurationError(f"{what} is no date: {error}.") from None


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        _say(line)


def _deliveries(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import ledger, lines

    rows = ledger.deliveries(here, options.feed, options.state, _date(options.since, "--since"))
    _tell([json.dumps(rows, indent=1, default=str)] if options.json else lines.of_deliveries(rows))


def _gate(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import again, lines

    done, rules = again.gate(here, options.delivery)
    _tell([*lines.of_rules(rules), *lines.of_again(done)])


def _replay(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import again, lines

    since = _date(options.date, "DATE")
    assert since is not None
    _tell(lines.of_again(again.replay(here, options.feed, since)))


def _signed(options: argparse.Namespace) -> Signed:
    from peel.deliveries.decisions import Signed

    return Signed(options.who or "", options.reason or "")


def _accept(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import decide, lines

    _tell(lines.of_decided(decide.accept(here, options.delivery, _signed(options))))


def _bridge(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import decide, lines

    _tell(lines.of_decided(decide.bridge(here, options.feed, options.start, options.end, _signed(options))))


def _switch(here: Settings, options: argparse.Namespace) -> None:
    from peel import night
    from peel.builds import back

    if options.lift:
        back.lift_hold(here, _signed(options))
        _say("The hold is lifted: the next build takes in everything that came meanwhile.")
        return
    taken = back.switch_back(here, _signed(options))
    _say(f"Readers see the night of {taken.business_date} again, build {taken.build_id}.")
    _say(f"{sum(taken.rows.values()):,} rows put back or taken away. Nothing is built until: peel switch --lift")
    night.draft()
    _say("The draft of that night is made anew.")


def _decisions(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import ledger, lines

    rows = ledger.decisions(here, options.feed)
    _tell([json.dumps(rows, indent=1, default=str)] if options.json else lines.of_decisions(rows))


def _grant_analyst(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import grants

    until = _date(options.until, "--until")
    assert until is not None
    password = grants.grant(here, options.login, options.approver, until)
    _say(f"{options.login} may read core until {until}, approved by {options.approver}. Shown once, kept nowhere:")
    _say(warehouse.url(warehouse.parameters(here, "analyst") | {"user": options.login, "password": password}))


def _grant_revoke(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import grants

    ended = grants.revoke(here, options.login, options.who)
    _say(f"{options.login} cannot log in any more; {ended} sessions ended.")


def _grant_list(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import grants, lines

    rows = grants.grants(here, ended=options.all)
    _tell([json.dumps(rows, indent=1, default=str)] if options.json else lines.of_grants(rows))


def _reads(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import grants, lines

    rows = grants.reads(here, _date(options.since, "--since"))
    _tell([json.dumps(rows, indent=1, default=str)] if options.json else lines.of_reads(rows))


def _erase(here: Settings, options: argparse.Namespace) -> None:
    from peel.builds.erasing import erase_person
    from peel.deliveries.decisions import Signed
    from peel.desk import persons

    if sys.stdin.isatty():
        print("One `KIND IDENTIFIER` on each line, then Ctrl-D:", file=sys.stderr)
    known = persons.identifiers(sys.stdin)
    kind: Literal["objection", "erasure"] = "objection" if options.objection else "erasure"
    report = erase_person(here, known, Signed(options.who, options.reason), kind)
    persons.settle(here)
    found = ", ".join(f"{count} {name}" for name, count in sorted(report.identifiers.items()))
    _say(f"Request {report.request_id}: known by {found}.")
    _say(f"{sum(report.versions.values())} versions and {sum(report.quarantined.values())} quarantined rows changed;")
    _say(f"{report.objects} landed tables written anew, {report.rows} rows gone from them.")
    if report.kept:
        _say(f"{report.kept} rows of closed months stay in the star, under no key: published totals do not move.")
    _say("Readers lose them with the next build. Copies elsewhere are yours to find: the source, backups, exports.")


def _rotate(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import persons
    from peel.history import rotation

    if options.key == "warehouse" and (options.show or options.close):
        raise ConfigurationError("The warehouse key changes at once.", do="--show and --close are of the landing key.")
    if options.show:
        changed = rotation.overlap(here)
        _say(
            f"k_land changes to epoch {changed.epoch}: {changed.persons} identifiers known in both, {changed.left} not."
        )
        return
    signed = _signed(options)
    if options.key == "warehouse":
        changed = persons.rotate_warehouse_key(here, signed)
        _say(f"k_wh is in epoch {changed.epoch}: {changed.rows} rows written anew for {changed.persons} identifiers.")
    elif options.close:
        changed = rotation.close_landing_key(here, signed)
        _say(f"k_land is in epoch {changed.epoch}; {changed.left} identifiers stay under the epoch before.")
    else:
        changed = rotation.begin_landing_key(here, signed)
        _say(f"k_land begins epoch {changed.epoch}, beside the one before. Let every feed deliver in full, then:")
        _say("  peel rotate land --show and, when nobody is missing, peel rotate land --close …")
    _say("Take a new backup now: peel backup FOLDER.")


def _quarantine_list(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import lines, quarantine

    rows = quarantine.held(here, options.what, options.rule, options.all)
    _tell([json.dumps(rows, indent=1, default=str)] if options.json else lines.of_held(rows))


def _quarantine_show(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import lines, quarantine

    rows = quarantine.show(here, options.delivery, options.table, options.row, values=options.values, who=options.who)
    _tell(lines.of_shown(rows))


def _quarantine_decide(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import decide, lines

    decided = decide.on_row(here, options.kind, options.delivery, options.table, options.row, _signed(options))
    _tell(lines.of_decided(decided))


def _quarantine_codes(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import lines, quarantine

    _tell(lines.of_codes(*quarantine.codes(here, options.feed)))


def _quarantine_map(here: Settings, options: argparse.Namespace) -> None:
    from peel.desk import decide, lines

    decided = decide.map_code(here, options.table, options.column, options.old, options.new, _signed(options))
    _tell(lines.of_decided(decided))


def _retain(here: Settings, options: argparse.Namespace) -> None:
    from peel import night

    done = night.retain()
    for feed, date in done["baselines"].items():
        _say(f"{feed}: history to {date} is the baseline")
    _say(f"{done['removed']} landed deliveries removed, {done['dropped']} delivery tables dropped")
    _say(f"{done['vacuumed']} tables vacuumed")


def _dsn(here: Settings, options: argparse.Namespace) -> None:
    _say(warehouse.dsn(here, options.role))


def _sql(here: Settings, options: argparse.Namespace) -> int:
    from peel.local import postgres

    p = warehouse.parameters(here, options.role)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    names |= {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}
    connection = {names[key]: value for key, value in p.items() if key in names}
    psql = postgres.programs() / "psql"
    return subprocess.run([str(psql), "-X", *options.rest], env=os.environ | connection, check=False).returncode


def _dbt(here: Settings, options: argparse.Namespace) -> int:
    from peel.builds import dbt

    run = subprocess.run(
        [*dbt.command(here), *options.rest], env=dbt.environment(here), cwd=here.dbt_project, check=False
    )
    return run.returncode


def _backup(here: Settings, options: argparse.Namespace) -> None:
    from peel.deliveries.pseudonyms import backup_keys

    path = backup_keys(here, options.folder)
    _say(f"HMAC keys and their epochs: {path} (mode 0600). Keep them apart from the warehouse.")
    _say("Losing them loses every join to come. Save beside them, by your own means:")
    _say(f"  the warehouse     pg_dump of database {warehouse.DATABASE} (peel dsn --role owner)")
    _say(f"  the landing store {here.landing}")
    _say(f"  the releases      {here.published}")


def _picture(here: Settings, options: argparse.Namespace) -> None:
    from peel.releases.picture import take_picture

    take_picture(here.drafts / "latest" / "index.html", options.file)
    _say(f"Written: {options.file}")


def _env(here: Settings, options: argparse.Namespace) -> None:
    from peel.deployment import write_env

    write_env(options.file)
    _say(f"Written: {options.file} (mode 0600). Keep a copy apart: it holds the HMAC keys.")


def _dbt_sources(here: Settings, options: argparse.Namespace) -> None:
    from peel.builds.sources import sources_document

    path = here.dbt_project / "models" / "staging" / "_sources.yml"
    path.write_text(sources_document(here.contracts), "utf-8")
    _say(f"Written: {path.relative_to(here.home)}")


def _dictionary(here: Settings, options: argparse.Namespace) -> None:
    from peel.builds import dbt, describe

    manifest = dbt.parse(here)
    for name, text in (("dictionary.md", describe.dictionary(manifest)), ("star.md", describe.star(manifest))):
        path = here.home / "docs" / name
        path.write_text(text, "utf-8")
        _say(f"Written: {path.relative_to(here.home)}")


def _clean(here: Settings, options: argparse.Namespace) -> None:
    import shutil

    from peel.local import airflow, postgres

    if not options.yes:
        answer = input(f"Remove {here.var} with its warehouse, landing store and HMAC keys? Type yes: ")
        if answer.strip() != "yes":
            raise ConfigurationError("Nothing was removed.")
    airflow.down(here)
    postgres.down(here)
    postgres.remove(here)
    shutil.rmtree(here.var, ignore_errors=True)
    _say(f"Removed {here.var}.")


if __name__ == "__main__":
    sys.exit(main())
