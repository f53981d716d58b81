"""Every DAG file parses quickly, imports nothing heavy, and says what it is, whose it is and when it runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[2]
DAGS = HOME / "dags"
FILES = ["ingest.py", "build_warehouse.py", "publish_release.py", "maintain_warehouse.py", "simulate_deliveries.py"]
INGESTS = ["ingest_census", "ingest_hr", "ingest_postcode", "ingest_recruitment"]
FORBIDDEN = {"pandas", "great_expectations", "dbt", "psycopg", "psycopg2", "numpy", "scipy", "pyarrow"}
PARSE_SECONDS = 0.5

PARSE = """
    import json, os, runpy, sys, time
    import airflow, airflow.sdk, airflow.dag_processing.dagbag
    from airflow.providers.standard.decorators import python, sensor
    sys.path.insert(0, {dags!r})
    answers = {{}}
    for file in {files!r}:
        best = None
        for _ in range(3):
            read, write = os.pipe()
            if os.fork() == 0:
                before = set(sys.modules)
                began = time.process_time()
                runpy.run_path(os.path.join({dags!r}, file))
                seconds = time.process_time() - began
                new = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
                engines = "sqlalchemy.engine" in set(sys.modules) - before
                os.write(write, json.dumps([seconds, new, engines]).encode())
                os._exit(0)
            os.close(write)
            answer = json.loads(os.fdopen(read).read())
            os.wait()
            best = min(best or answer, answer)
        answers[file] = best
    print(json.dumps(answers))
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PEEL_HOME": str(HOME), "PEEL_LOCAL": "1", **more}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """File to [seconds, new top-level modules, whether a database engine came in], in fresh processes."""
    program = textwrap.dedent(PARSE).format(dags=str(DAGS), files=FILES)
    home = tmp_path_factory.mktemp("airflow")
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(AIRFLOW_HOME=str(home)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    answers: dict[str, list[Any]] = json.loads(result.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def dagbag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    os.environ["PEEL_HOME"], os.environ["PEEL_LOCAL"] = str(HOME), "1"
    try:
        return DagBag(str(DAGS))
    finally:
        del os.environ["PEEL_HOME"], os.environ["PEEL_LOCAL"]


@pytest.fixture(scope="module")
def dags(dagbag: Any) -> dict[str, Any]:
    return dict(dagbag.dags)


def test_every_file_in_the_folder_is_measured() -> None:
    assert {path.name for path in DAGS.glob("*.py")} == {*FILES, "wiring.py"}


@pytest.mark.parametrize("file", FILES)
def test_a_dag_file_parses_in_under_half_a_second(parsed, file) -> None:
    assert parsed[file][0] < PARSE_SECONDS


@pytest.mark.parametrize("file", FILES)
def test_a_dag_file_imports_nothing_heavy(parsed, file) -> None:
    _, new, engines = parsed[file]
    assert not FORBIDDEN & set(new)
    assert not engines
    assert "peel" in new


def test_dags_import_without_error(dagbag) -> None:
    assert dagbag.import_errors == {}


def test_these_are_the_dags(dags) -> None:
    assert set(dags) == {*INGESTS, "build_warehouse", "publish_release", "maintain_warehouse", "simulate_deliveries"}


def test_the_simulation_is_local_only() -> None:
    program = (
        "import runpy, sys; sys.path.insert(0, 'dags');"
        "found = runpy.run_path('dags/simulate_deliveries.py');"
        "print('simulate_deliveries' in found)"
    )
    outside = {key: value for key, value in environment().items() if key != "PEEL_LOCAL"}
    result = subprocess.run([sys.executable, "-c", program], env=outside, cwd=HOME, capture_output=True, text=True)
    assert result.stdout.split()[-1] == "False"


def test_every_dag_says_what_it_is_and_whose(dags) -> None:
    for dag in dags.values():
        assert len(dag.doc_md or "") > 80, dag.dag_id
        assert "peel" in dag.tags
        assert {task.owner for task in dag.tasks} == {"data-engineering"}


def test_every_dag_runs_one_night_at_a_time_and_no_past_ones_by_itself(dags) -> None:
    for dag in dags.values():
        assert dag.max_active_runs == 1
        assert dag.catchup is False
        assert dag.dagrun_timeout


def test_every_task_is_tried_again_ends_some_time_and_tells_of_failure(dags) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            assert task.retries >= 1
            assert task.execution_timeout
            assert [callback.__name__ for callback in task.on_failure_callback] == ["tell_of_failure"]


def steps(dag: Any) -> list[str]:
    return [task.task_id for task in dag.topological_sort()]


def assets(found: Any) -> set[str]:
    """The names of Peel's own assets among these outlets, or in this condition."""
    from airflow.sdk import Asset

    each = [found] if isinstance(found, Asset) else getattr(found, "objects", found)
    return {asset.name for asset in each if asset.uri == f"peel://{asset.name}/"}


def test_ingest_lands_gates_and_applies_and_emits_its_asset(dags) -> None:
    for dag_id in INGESTS:
        dag = dags[dag_id]
        assert steps(dag) == ["land", "gate", "apply"]
        assert assets(dag.get_task("apply").outlets) == {dag_id.removeprefix("ingest_")}
        assert not dag.get_task("land").outlets
        assert not dag.get_task("gate").outlets


def test_ingest_looks_every_quarter_of_an_hour_without_holding_a_worker(dags) -> None:
    for dag_id in INGESTS:
        land = dags[dag_id].get_task("land")
        assert land.mode == "reschedule"
        assert land.poke_interval == 15 * 60


def test_the_build_is_woken_by_any_feed_or_by_the_clock(dags) -> None:
    schedule = dags["build_warehouse"].timetable
    assert type(schedule).__name__ == "AssetOrTimeSchedule"
    assert type(schedule.asset_condition).__name__ == "AssetAny"
    assert assets(schedule.asset_condition) == {"census", "hr", "postcode", "recruitment"}
    assert [task.task_id for task in dags["build_warehouse"].topological_sort()] == [
        "build",
        "gate",
        "switch",
    ]


def test_the_clock_wakes_the_build_after_the_last_due_time(dags) -> None:
    from peel import contracts

    dues = [feed.due_time for feed in contracts.feeds(HOME / "expectations") if feed.due_time]
    assert max(dues) < dt.time(6, 15)
    assert clock(dags["build_warehouse"].timetable.timetable) == ("15 6 * * *", "Europe/London")


def test_only_the_switch_says_that_the_warehouse_has_changed(dags) -> None:
    emitted = {task.task_id: assets(task.outlets) for task in dags["build_warehouse"].tasks}
    assert emitted == {"build": set(), "gate": set(), "switch": {"warehouse"}}


def test_a_draft_is_made_of_a_switched_warehouse(dags) -> None:
    assert assets(dags["publish_release"].timetable.asset_condition) == {"warehouse"}
    assert steps(dags["publish_release"]) == ["draft"]


def test_the_house_is_kept_once_the_night_is_done(dags) -> None:
    assert clock(dags["maintain_warehouse"].timetable) == ("30 11 * * *", "Europe/London")
    assert steps(dags["maintain_warehouse"]) == ["retain"]


def clock(timetable: Any) -> tuple[str, str]:
    return timetable.expression, str(timetable.timezone)


def test_the_night_runs_by_london_time_in_order(dags) -> None:
    assert clock(dags["simulate_deliveries"].timetable) == ("30 0 * * *", "Europe/London")
    for dag_id in INGESTS:
        assert clock(dags[dag_id].timetable) == ("45 0 * * *", "Europe/London")


def test_a_date_can_be_given_by_hand(dags) -> None:
    for dag_id in (*INGESTS, "simulate_deliveries"):
        schema = dags[dag_id].params.get_param("business_date").schema
        assert schema["format"] == "date"
        assert "null" in schema["type"]


def test_a_replay_can_be_asked_for_by_hand(dags) -> None:
    for dag_id in INGESTS:
        schema = dags[dag_id].params.get_param("replay_from").schema
        assert (schema["format"], dags[dag_id].params["replay_from"]) == ("date", None)


class Steps:
    """In the place of the night's steps: notes which was asked for what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from peel import night

        self.asked: list[tuple[Any, ...]] = []
        for name, answer in (
            ("land", {"landed": [], "refused": ["first"], "arrived": False, "due_passed": False}),
            ("gate", {"gated": [], "quarantined": {}}),
            ("replay", {"landed": [], "gated": 2, "flips": [], "refused": ["second"]}),
            ("retain", {"removed": 1}),
        ):
            monkeypatch.setattr(night, name, self.step(name, answer))

    def step(self, name: str, answer: dict[str, Any]) -> Any:
        def run(*arguments: Any) -> dict[str, Any]:
            self.asked.append((name, *arguments))
            return answer

        return run


def call(monkeypatch: pytest.MonkeyPatch, dag: Any, task_id: str, context: dict[str, Any], *arguments: Any) -> Any:
    function = dag.get_task(task_id).python_callable
    monkeypatch.setitem(function.__globals__, "get_current_context", lambda: context)
    monkeypatch.setitem(function.__globals__["wiring"].__dict__, "source", lambda feed: nullcontext())
    return function(*arguments)


class Store(dict[str, Any]):
    set = dict.__setitem__


def context_of(run_type: str, **params: Any) -> dict[str, Any]:
    at = dt.datetime(2026, 3, 9, 12, tzinfo=dt.UTC)
    run = SimpleNamespace(run_type=run_type, logical_date=at, run_after=at)
    return {"dag_run": run, "params": params, "task_state_store": Store()}


def test_a_run_with_replay_from_waits_for_nothing_and_replays(dags, monkeypatch) -> None:
    stand_in = Steps(monkeypatch)
    asked = context_of("manual", replay_from="2026-02-01")
    landed = call(monkeypatch, dags["ingest_hr"], "land", asked)
    assert landed.is_done
    assert call(monkeypatch, dags["ingest_hr"], "gate", asked, landed.xcom_value) == ["first", "second"]
    assert stand_in.asked[-1] == ("replay", "hr", dt.date(2026, 2, 1))


@pytest.mark.parametrize("context", [context_of("manual"), context_of("scheduled", replay_from="2026-02-01")])
def test_any_other_run_waits_and_gates_what_is_new(dags, monkeypatch, context) -> None:
    stand_in = Steps(monkeypatch)
    landed = call(monkeypatch, dags["ingest_hr"], "land", context)
    assert not landed.is_done
    assert call(monkeypatch, dags["ingest_hr"], "gate", context, landed.xcom_value) == ["first"]
    assert stand_in.asked[-1] == ("gate", "hr")


def test_keeping_house_is_one_step(dags, monkeypatch) -> None:
    stand_in = Steps(monkeypatch)
    assert dags["maintain_warehouse"].get_task("retain").python_callable() == {"removed": 1}
    assert stand_in.asked == [("retain",)]


def test_the_plugin_scan_leaves_the_package_alone() -> None:
    """Each module of peel would be loaded under its bare name, and peel/secrets.py replace Python's own."""
    program = (
        "import airflow.plugins_manager as manager, secrets;"
        "plugins, errors = manager._get_plugins();"
        "print([p.name for p in plugins], errors, hasattr(secrets, 'token_hex'))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment(), cwd=HOME, capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == "['peel'] {} True", result.stderr[-2000:]
