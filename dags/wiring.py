"""What the DAG files share: business dates, retries, failure messages. No step's logic is in here.

Nothing heavy is imported at the top: Airflow parses these files every few minutes, in a process of their own.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import CronTriggerTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from peel import contracts, london, settings
from peel.errors import ConfigurationError, DeliveryRefused, PeelError

if TYPE_CHECKING:
    from peel.contracts import Feed

OWNER = "data-engineering"
TIMEZONE = "Europe/London"
SMTP_CONNECTION = "smtp_default"
SOURCE_CONNECTION = "peel_source_{feed}"

log = logging.getLogger("peel.dags")
Result = TypeVar("Result")


def feeds() -> list[Feed]:
    """The feeds, from the contracts."""
    return contracts.feeds(settings.load().contracts, validate=False)  # landing validates


def nightly(cron: str) -> CronTriggerTimetable:
    """Run at a London time; the first run is the next one to come, not the last one that was missed."""
    return CronTriggerTimetable(cron, timezone=TIMEZONE, run_immediately=dt.timedelta(0))


def business_date_param(meaning: str) -> dict[str, Param]:
    """The parameter with which a person gives a date by hand."""
    return {
        "business_date": Param(None, type=["null", "string"], format="date", title="Business date", description=meaning)
    }


def replay_param() -> dict[str, Param]:
    """The parameter with which a person has a feed replayed."""
    meaning = "Gate everything delivered from this business date on again, under the present contracts."
    return {
        "replay_from": Param(None, type=["null", "string"], format="date", title="Replay from", description=meaning)
    }


def replay_from(context: Mapping[str, Any]) -> dt.date | None:
    """The date a person asked to replay from; only a run started by hand has one.

    Raises:
        ConfigurationError: what was given is no date.
    """
    run_type = context["dag_run"].run_type
    given = (context.get("params") or {}).get("replay_from")
    if not given or str(getattr(run_type, "value", run_type)) != "manual":
        return None
    try:
        return london.parse_business_date(str(given))
    except ValueError as error:
        raise ConfigurationError(f"The parameter replay_from is no date: {error}.") from None


def common(*tags: str) -> dict[str, Any]:
    """What every DAG has in common."""
    return {
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["peel", *tags],
        "dagrun_timeout": dt.timedelta(hours=12),
        "default_args": {
            "owner": OWNER,
            "retries": 2,
            "retry_delay": dt.timedelta(seconds=30),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": dt.timedelta(minutes=10),
            "execution_timeout": dt.timedelta(hours=2),
            "on_failure_callback": tell_of_failure,
        },
    }


def business_date(context: Mapping[str, Any]) -> dt.date:
    """The date a run is for: what happened on that London day, delivered on the day after.

    | run | business date |
    |---|---|
    | scheduled, backfilled | the London day before its logical date |
    | by hand, by another DAG | its parameter ``business_date``, else the London day before it was asked for |
    | by assets | the newest ``business_date`` the events carry, else the London day before the events |

    Neither depends on the hour at which a task happens to run, so a retry after midnight keeps its date.

    Raises:
        ConfigurationError: a date was given that is none.
    """
    run = context["dag_run"]
    run_type = str(getattr(run.run_type, "value", run.run_type))
    if run_type in ("scheduled", "backfill") and run.logical_date is not None:
        return _day_before(run.logical_date)
    given = [(context.get("params") or {}).get("business_date")]
    if run_type == "asset_triggered":
        events: Mapping[Any, Iterable[Any]] = context.get("triggering_asset_events") or {}
        given = [(event.extra or {}).get("business_date") for of_asset in events.values() for event in of_asset]
    try:
        dates = [london.parse_business_date(str(text)) for text in given if text]
    except ValueError as error:
        raise ConfigurationError(f"The parameter business_date is no date: {error}.") from None
    return max(dates) if dates else _day_before(run.run_after)


@contextmanager
def source(feed: str) -> Iterator[None]:
    """Let a step find the feed's source where Airflow keeps connections, if ``peel_source_<feed>`` is one.

    Its URL is the extra ``url``, or the connection's own; with the extra, its password is the source's secret.
    Without such a connection the step reads the environment as it is.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    try:
        connection = Connection.get(SOURCE_CONNECTION.format(feed=feed))
    except AirflowNotFoundException:
        yield
        return
    url = connection.extra_dejson.get("url")
    given = {f"PEEL_SOURCE_{feed.upper()}": url or connection.get_uri()}
    if url and connection.password:
        given[f"PEEL_SECRET_SOURCE_{feed.upper()}"] = connection.password
    before = {name: os.environ.get(name) for name in given}
    for value in given.values():
        mask_secret(value)
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def attempt(step: Callable[..., Result], *arguments: Any) -> Result:
    """Run a step of the night so that Airflow learns what it may, and no value of any row.

    Raises:
        AirflowFailException: a person must act, so that trying again is in vain.
        AirflowException: it may go well another time. Of an exception that is not Peel's own only the type
            and the place are passed on: its text could quote a value.
    """
    try:
        return step(*arguments)
    except (DeliveryRefused, ConfigurationError) as error:
        failure: Exception = AirflowFailException(str(error))
    except PeelError as error:
        failure = AirflowException(str(error))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        place = " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)  # noqa: PTH119
        failure = AirflowException(f"{type(error).__name__} at {place}")
    raise failure  # outside the handlers: the original exception is not attached


def tell_of_failure(context: Mapping[str, Any]) -> None:
    """Send one message about a task that has finally failed: to the log, and by SMTP if that is set up.

    It says which DAG, task and run, for which date, and the one line of the error; never a value.
    """
    task = context["task_instance"]
    try:
        date = business_date(context).isoformat()
    except Exception:  # the message must go out whatever is wrong
        date = "unknown"
    error = context.get("exception")
    known = isinstance(error, (AirflowException, AirflowFailException))
    line = str(error) if known else (type(error).__name__ if error is not None else "no reason given")
    subject = f"Peel: {task.dag_id}.{task.task_id} failed for {date}"
    log.error("%s (run %s): %s", subject, task.run_id, line)

    recipients = os.environ.get("PEEL_SMTP_TO")
    if not recipients:
        return
    try:
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        body = (
            f"DAG: {task.dag_id}\nTask: {task.task_id}\nRun: {task.run_id}\nBusiness date: {date}\n"
            f"Try: {task.try_number}\n\n{line}\n"
        )
        with SmtpHook(smtp_conn_id=SMTP_CONNECTION) as hook:
            hook.send_email_smtp(
                to=[address.strip() for address in recipients.split(",") if address.strip()],
                subject=subject,
                html_content=f"<pre>{_escaped(body)}</pre>",
            )
    except Exception as problem:  # a failed message must not hide the failure it is about
        log.error("the message could not be sent by e-mail (%s)", type(problem).__name__)


def _escaped(text: str) -> str:
    from html import escape

    return escape(text, quote=False)


def _day_before(moment: dt.datetime) -> dt.date:
    return moment.astimezone(london.LONDON).date() - dt.timedelta(days=1)
