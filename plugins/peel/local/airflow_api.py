"""A small client of Airflow's REST API: what the terminal needs to run a night and to say how it goes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from peel.errors import ConfigurationError, PeelError

_RETRIES = 5


@dataclass(frozen=True)
class Run:
    """One DAG run.

    Attributes:
        dag_id: the DAG.
        run_id: the run.
        state: ``queued``, ``running``, ``success`` or ``failed``.
        run_type: ``manual``, ``scheduled``, ``backfill``, ``asset_triggered``, ….
    """

    dag_id: str
    run_id: str
    state: str
    run_type: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.state in ("success", "failed")


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run.

    Attributes:
        dag_id: the DAG.
        run_id: the run.
        task_id: the task.
        state: Airflow's state, ``None`` before it is scheduled.
        tries: how often it was tried.
        ended_at: when it ended, ISO 8601; empty before.
    """

    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    tries: int
    ended_at: str


@dataclass(frozen=True)
class Health:
    """How a component does.

    Attributes:
        is_healthy: what Airflow thinks, which a killed component keeps for half a minute.
        heartbeat: its last sign of life, in seconds since the epoch; 0 if there was none.
    """

    is_healthy: bool
    heartbeat: float


class AirflowApi:
    """Airflow's REST API, version 2.

    Args:
        url: where the API server is, without a path.
        user: the user.
        password: the user's password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._login = {"username": user, "password": password}
        self._token: str | None = None
        # not by a proxy: it is on this machine
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def health(self) -> dict[str, Health]:
        """Return the health of each component; empty while the API server does not answer."""
        try:
            answer = self._client.get("/api/v2/monitor/health", timeout=10)
        except httpx.HTTPError:
            return {}
        if answer.status_code != httpx.codes.OK:
            return {}
        return {
            name: Health((part or {}).get("status") == "healthy", _heartbeat(part or {}))
            for name, part in answer.json().items()
        }

    def dag_ids(self) -> set[str]:
        """Return the DAGs that Airflow knows and that parse."""
        answer = self._call("GET", "/dags", params={"limit": 100, "exclude_stale": True})
        return {dag["dag_id"] for dag in answer["dags"]}

    def import_errors(self) -> list[str]:
        """Return the last line of each DAG file's import error."""
        answer = self._call("GET", "/importErrors")
        return [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in answer["import_errors"]
        ]

    def set_paused(self, dag_id: str, *, paused: bool) -> None:
        """Pause a DAG or let it run."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> Run:
        """Start a run of a DAG now, with these parameters."""
        answer = self._call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf)})
        return _run(answer)

    def runs(self, dag_ids: Collection[str], limit: int = 100) -> list[Run]:
        """Return the newest runs of these DAGs, the newest first."""
        body = {"dag_ids": sorted(dag_ids), "order_by": "-id", "page_limit": limit}
        answer = self._call("POST", "/dags/~/dagRuns/list", repeatable=True, json=body)
        return [_run(run) for run in answer["dag_runs"]]

    def task_instances(self, runs: Collection[Run]) -> list[TaskInstance]:
        """Return the tasks of these runs as they stand now."""
        if not runs:
            return []
        wanted = {(run.dag_id, run.run_id) for run in runs}
        body = {
            "dag_ids": sorted({run.dag_id for run in runs}),
            "dag_run_ids": sorted({run.run_id for run in runs}),
        }
        answer = self._call("POST", "/dags/~/dagRuns/~/taskInstances/list", repeatable=True, json=body)
        return [
            TaskInstance(
                dag_id=task["dag_id"],
                run_id=task["dag_run_id"],
                task_id=task["task_id"],
                state=task["state"],
                tries=int(task["try_number"]),
                ended_at=task["end_date"] or "",
            )
            for task in answer["task_instances"]
            if (task["dag_id"], task["dag_run_id"]) in wanted
        ]

    def _call(self, method: str, path: str, *, repeatable: bool | None = None, **arguments: Any) -> dict[str, Any]:
        if repeatable is None:
            repeatable = method != "POST"
        problem = "does not answer"
        for attempt in range(_RETRIES):
            if attempt:
                time.sleep(attempt)
            try:
                if self._token is None:
                    login = self._client.post("/auth/token", json=self._login)
                    login.raise_for_status()
                    self._token = str(login.json()["access_token"])
                answer = self._client.request(
                    method, f"/api/v2{path}", headers={"Authorization": f"Bearer {self._token}"}, **arguments
                )
            except httpx.HTTPStatusError as error:
                raise ConfigurationError(
                    f"Airflow does not accept its own password (HTTP {error.response.status_code}).",
                    do="Run `make stop`, then `make run`.",
                ) from None
            except httpx.HTTPError as error:
                problem = f"does not answer ({type(error).__name__})"
                if not repeatable and not isinstance(error, httpx.ConnectError):
                    break  # it may have been done
                continue
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._token, problem = None, "does not accept its own token"
                continue
            if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and repeatable:
                problem = f"has an internal error (HTTP {answer.status_code})"
                continue
            if answer.is_error:
                raise PeelError(f"Airflow refused {method} {path} (HTTP {answer.status_code}).")
            return dict(answer.json())
        raise PeelError(f"Airflow's API server {problem}.", do="See var/logs/airflow-api-server.log.")


def _run(value: Mapping[str, Any]) -> Run:
    return Run(value["dag_id"], value["dag_run_id"], value["state"], value["run_type"])


def _heartbeat(part: Mapping[str, Any]) -> float:
    """The component's last sign of life: each calls the field by its own name."""
    found = [value for name, value in part.items() if name.endswith("heartbeat") and value]
    return dt.datetime.fromisoformat(found[0]).timestamp() if found else 0.0
