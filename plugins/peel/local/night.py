"""A night through Airflow, told on the terminal: one line per step, and why if one fails.

Three things make this more than "trigger and wait":

* The build is not asked for but woken by the feeds' assets, as on any night. It may be woken too early, find
  nothing due and be skipped; a later one does the work. So the end is not a certain run's end: it is that
  nothing is due any more and no woken build is left.
* Should a wake-up be lost, the build is started by hand after a while: it finds for itself what is due.
* A second night over the same deliveries is a night, too: nothing is due, nothing is built, all is well.

A feed that fails does not keep the others from readers: what is fit is built, and the failure is raised at
the end, as `peel night --direct` does it.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from peel import contracts, london
from peel.errors import PeelError
from peel.local import airflow, processes
from peel.local.airflow_api import AirflowApi, Run, TaskInstance
from peel.settings import Settings

SIMULATE = "simulate_deliveries"
BUILD = "build_warehouse"
PUBLISH = "publish_release"
MAINTAIN = "maintain_warehouse"
_LOOK_EVERY = 1.0
_DAGS_SECONDS = 120
_WAKE_SECONDS = 20
_PATIENCE_SECONDS = 2 * 60 * 60
_LOG_LINES = 8
_DONE = {
    "deliver": "delivered",
    "land": "landed",
    "gate": "gated",
    "apply": "applied to history",
    "build": "built",
    "switch": "switched: readers see it",
    "draft": "draft made",
}


def run_night(
    settings: Settings,
    business_date: dt.date,
    say: Callable[[str], None],
    is_switched: Callable[[], bool] | None = None,
    *,
    simulated: bool = True,
) -> dict[str, Any]:
    """Run one night's DAGs in order and wait until readers see it.

    Args:
        settings: the installation; PostgreSQL and Airflow must be up.
        business_date: the date to deliver, take in and build.
        say: takes one line per step.
        is_switched: whether readers see everything that can be built; asked of the audit tables if not given.
        simulated: whether the simulated force delivers first.

    Returns:
        ``business_date``, ``switched`` (whether a new build was switched to), ``build_run`` (its run id or
        ``None``), ``drafted`` (whether a draft was made) and ``seconds``.

    Raises:
        PeelError: a run failed, or Airflow itself; the text names DAG and task and ends with its log.
    """
    return _Night(settings, business_date, say).run(is_switched or (lambda: _is_switched(settings)), simulated)


def _is_switched(settings: Settings) -> bool:
    """Whether no build is due."""
    from peel.builds import build, dbt
    from peel.warehouse import connect

    feeds = contracts.feeds(settings.contracts, validate=False)
    with connect(settings, "transform") as connection:
        arriving = build.arriving(settings, connection, feeds)
        return build.find_due(connection, feeds, dbt.checksum(settings), london.now(), arriving) is None


class _Night:
    def __init__(self, settings: Settings, business_date: dt.date, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._date = business_date
        self._say = say
        self._api: AirflowApi = airflow.api(settings)
        self._began = time.monotonic()
        self._told: set[tuple[str, str, str, str, int]] = set()
        self._ingests = [f"ingest_{feed.name}" for feed in contracts.feeds(settings.contracts)]

    def run(self, is_switched: Callable[[], bool], simulated: bool) -> dict[str, Any]:
        wanted = [*([SIMULATE] if simulated else []), *self._ingests, BUILD, PUBLISH]
        self._await_dags([*wanted, MAINTAIN])
        for dag_id in (MAINTAIN, *reversed(wanted)):
            self._api.set_paused(dag_id, paused=False)
        earlier = {run.run_id for run in self._api.runs([BUILD, PUBLISH]) if run.is_over}
        undrafted = self._lacks_draft()

        if simulated:
            self._follow([self._trigger(SIMULATE)])
        failures = self._follow([self._trigger(dag_id) for dag_id in self._ingests], to_the_end=True)
        try:
            build = self._await_switch(is_switched, earlier)
        except PeelError as error:
            raise _all_of([*failures, error]) from None
        drafted = build is not None or undrafted
        if drafted:
            self._await_draft(earlier, trigger=build is None)
        if build is None:
            self._tell("nothing new can be built: readers keep the build they have")
        if failures:
            raise _all_of(failures)
        return {
            "business_date": self._date.isoformat(),
            "switched": build is not None,
            "build_run": build.run_id if build else None,
            "drafted": drafted,
            "seconds": round(time.monotonic() - self._began, 1),
        }

    # --- steps ---

    def _await_dags(self, wanted: Collection[str]) -> None:
        deadline = time.monotonic() + _DAGS_SECONDS
        while missing := sorted(set(wanted) - self._api.dag_ids()):
            errors = self._api.import_errors()
            if errors or time.monotonic() > deadline:
                raise PeelError(
                    f"Airflow does not know the DAG {', '.join(missing)}."
                    + "".join(f"\n  {error}" for error in errors),
                    do=f"\nSee {airflow.log_of(self._settings, 'dag-processor')}.",
                )
            self._look_after_airflow()
            time.sleep(_LOOK_EVERY)

    def _trigger(self, dag_id: str) -> Run:
        return self._api.trigger(dag_id, {"business_date": self._date.isoformat()})

    def _follow(self, runs: list[Run], *, to_the_end: bool = False) -> list[PeelError]:
        """Tell of these runs' steps until all have ended.

        Args:
            runs: the runs.
            to_the_end: let the others end when one has failed, and return the failures.
        """
        ids = {run.run_id for run in runs}
        waiting_told = False
        began = time.monotonic()
        failures: dict[str, PeelError] = {}
        while True:
            of_dags = self._api.runs({run.dag_id for run in runs})
            current = [run for run in of_dags if run.run_id in ids]
            tasks = self._report(current)
            for run in current:
                if run.state == "failed" and run.run_id not in failures:
                    failures[run.run_id] = self._failure(run, tasks)
                    if not to_the_end:
                        raise failures[run.run_id]
            if all(run.is_over for run in current):
                return list(failures.values())
            queued = {run.dag_id for run in current if run.state == "queued"}
            before = [run for run in of_dags if run.dag_id in queued and run.state == "running"]
            if before and not waiting_told and time.monotonic() - began > 5:
                waiting_told = True
                self._tell(f"waiting for an earlier run of {before[0].dag_id} to end")
            self._pause(began)

    def _await_switch(self, is_switched: Callable[[], bool], earlier: Collection[str]) -> Run | None:
        """Wait until readers see everything accepted; return the run that switched last, if one did."""
        began = quiet_since = time.monotonic()
        woken_by_hand = False
        while True:
            runs = [run for run in self._api.runs([BUILD]) if run.run_id not in earlier]
            tasks = self._report(runs)
            self._raise_failed(runs, tasks)
            if any(not run.is_over for run in runs):
                quiet_since = time.monotonic()
            elif is_switched():
                switched = {task.run_id for task in tasks if (task.task_id, task.state) == ("switch", "success")}
                return next((run for run in runs if run.run_id in switched), None)
            elif time.monotonic() - quiet_since > _WAKE_SECONDS:
                if woken_by_hand:
                    raise PeelError(
                        f"{BUILD} finds nothing to build, but readers do not see everything accepted.",
                        do=f"`peel status` says what is missing; the reason is in the log of {BUILD}.build.",
                    )
                woken_by_hand = True
                quiet_since = time.monotonic()
                self._api.trigger(BUILD, {})
            self._pause(began)

    def _await_draft(self, earlier: Collection[str], *, trigger: bool) -> None:
        if trigger:
            self._follow([self._api.trigger(PUBLISH, {})])
            return
        began = time.monotonic()
        while True:
            runs = [run for run in self._api.runs([PUBLISH]) if run.run_id not in earlier]
            self._raise_failed(runs, self._report(runs))
            if runs and all(run.is_over for run in runs):
                return
            if not runs and time.monotonic() - began > _WAKE_SECONDS:
                self._follow([self._api.trigger(PUBLISH, {})])
                return
            self._pause(began)

    def _lacks_draft(self) -> bool:
        """Whether the last draft failed, so that this night makes it even if nothing else is new."""
        last = self._api.runs([PUBLISH], limit=1)
        return bool(last) and last[0].state == "failed"

    # --- telling ---

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {text}")

    def _report(self, runs: Collection[Run]) -> list[TaskInstance]:
        """Tell what is new about these runs' tasks, and return them."""
        tasks = self._api.task_instances(runs)
        for task in sorted(tasks, key=lambda task: task.ended_at):
            key = (task.dag_id, task.run_id, task.task_id, str(task.state), task.tries)
            if key in self._told:
                continue
            self._told.add(key)
            name = task.dag_id.removeprefix("ingest_").replace("_", " ")
            if task.state == "success":
                self._tell(f"{name}: {_DONE.get(task.task_id, task.task_id)}")
            elif task.state == "failed":
                self._tell(f"{name}: {task.task_id} FAILED")
            elif task.state == "up_for_retry":
                self._tell(f"{name}: {task.task_id} failed and will be tried again")
            elif task.state == "up_for_reschedule":
                self._tell(f"{name}: nothing has come yet; it looks again in a quarter of an hour")
        return tasks

    def _raise_failed(self, runs: Collection[Run], tasks: Collection[TaskInstance]) -> None:
        for run in runs:
            if run.state == "failed":
                raise self._failure(run, tasks)

    def _failure(self, run: Run, tasks: Collection[TaskInstance]) -> PeelError:
        of_run = [task for task in tasks if (task.dag_id, task.run_id) == (run.dag_id, run.run_id)]
        culprit = next((task for task in of_run if task.state == "failed"), None)
        where = f"{run.dag_id}.{culprit.task_id}" if culprit else run.dag_id
        log = airflow.task_log_of(self._settings, run.dag_id, run.run_id, culprit.task_id) if culprit else None
        lines = "".join(f"\n  {line}" for line in (_lines_of(log) if log else []))
        url = f"{airflow.address_of(self._settings).url}/dags/{run.dag_id}/runs/{run.run_id}"
        return PeelError(
            f"{where} failed for {self._date}; what readers saw before, they still see.{lines}",
            do=f"\nThe run is {url}" + (f"\nIts log is {log}" if log else ""),
        )

    def _pause(self, began: float) -> None:
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise PeelError(
                f"The night is not over after {_PATIENCE_SECONDS // 3600} hours.",
                do=f"Look at {airflow.address_of(self._settings).url}.",
            )
        self._look_after_airflow()
        time.sleep(_LOOK_EVERY)

    def _look_after_airflow(self) -> None:
        for component, running in airflow.status(self._settings).running.items():
            if not running:
                log = airflow.log_of(self._settings, component)
                raise PeelError(
                    f"Airflow's {component} has ended. Its log ends with:{processes.ending(log, _LOG_LINES)}",
                    do=f"\nThe log is {log}; `make run` starts it again.",
                )


def _all_of(errors: list[PeelError]) -> PeelError:
    return errors[0] if len(errors) == 1 else PeelError("\n\n".join(map(str, errors)))


def _lines_of(log: Path) -> list[str]:
    """What a task's log says went wrong: its errors, or its last lines if there is none.

    The log is one JSON object per line; an error's stack is left to the log itself.
    """
    entries = []
    for line in processes.last_lines(log, 200):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        text = str(entry.get("event", ""))
        for detail in entry.get("error_detail") or []:
            text += f" ({detail.get('exc_type')}: {detail.get('exc_value')})"
        # the failure message repeats the error it is about
        if text and not text.startswith("::") and entry.get("logger") != "peel.dags":
            entries.append((str(entry.get("level")), text))
    errors = [text for level, text in entries if level in ("error", "critical")]
    return (errors or [text for _, text in entries])[-_LOG_LINES:]
