"""The command ``peel``: the night, the services and the warehouse from a terminal."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from peel import __version__, london, settings, warehouse
from peel.errors import ConfigurationError, PeelError
from peel.settings import Settings


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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[Settings, argparse.Namespace], int | None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

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
    clean = command("clean", _clean, "stop everything and remove what Peel wrote, keys included")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser


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


def _night(here: Settings, options: argparse.Namespace) -> None:
    if options.date:
        try:
            business_date = london.parse_business_date(options.date)
        except ValueError as error:
            raise ConfigurationError(f"DATE is no date: {error}.") from None
    else:
        business_date = london.yesterday()
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
        [str(dbt.program(here)), *options.rest], env=dbt.environment(here), cwd=here.dbt_project, check=False
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
