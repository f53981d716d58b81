"""Runs steps of a night in processes of their own, which may be killed; the imports are paid for once.

Importing Great Expectations takes seconds, and a fault test kills a hundred processes. So one process imports
everything, runs a first gate to warm up what is loaded lazily, and then forks a child for each order it reads.
The child sets its environment, runs the step and ends; killed or not, nothing of it is left in the parent.

Run as ``python steps.py``; orders and answers are lines of JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARGUMENTS: dict[str, Callable[[str, str], list[Any]]] = {
    "land": lambda feed, date: [feed, dt.date.fromisoformat(date)],
    "gate": lambda feed, _: [feed],
    "apply": lambda feed, _: [feed, []],
    "build": lambda _, __: [],
    "gate_build": lambda build_id, _: [build_id],
    "switch": lambda build_id, _: [build_id],
}


@dataclass(frozen=True)
class Answer:
    """How a step ended: with a summary, with an error's line, or by a signal."""

    signal: int | None
    summary: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Steps:
    """The process that forks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment
        )

    def run(self, environment: Mapping[str, str], step: str, subject: str = "", date: str = "") -> Answer:
        """Run one step in a forked process."""
        return self._ask({"environment": dict(environment), "step": step, "subject": subject, "date": date})

    def warm(self, environment: Mapping[str, str], feed: str) -> None:
        """Land and gate in the process itself, so that its children find everything loaded."""
        assert self._ask({"environment": dict(environment), "step": "warm", "subject": feed, "date": ""}).error is None

    def _ask(self, order: Mapping[str, Any]) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Answer(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


def environment_of(settings: Any) -> dict[str, str]:
    """What makes a step find an installation."""
    return {
        "PEEL_HOME": str(settings.home),
        "PEEL_VAR": str(settings.var),
        "PEEL_SOURCES": str(settings.sources),
        "PEEL_LANDING": str(settings.landing),
        "PEEL_WAREHOUSE_DSN": settings.warehouse_dsn or "",
        "SCALE": str(settings.scale),
    }


def _serve() -> None:
    import psycopg2  # noqa: F401

    import peel.builds.gate
    import peel.builds.switch
    import peel.gates.delivery
    import peel.history.apply  # noqa: F401
    from peel import moments

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        if order["step"] == "warm":
            os.environ.update(order["environment"])
            found = {"signal": None, **_do("land", order["subject"], "2026-01-01")}
            found = {"signal": None, **_do("gate", order["subject"], "")}
            moments._seen.clear()
        else:
            found = _forked(order)
        print(json.dumps(found, default=str), file=answers, flush=True)


def _do(step: str, subject: str, date: str) -> dict[str, Any]:
    from peel import night

    try:
        return {"summary": dict(getattr(night, step)(*ARGUMENTS[step](subject, date)))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.environ.update(order["environment"])
        told = json.dumps(_do(order["step"], order["subject"], order["date"]), default=str)
        with os.fdopen(write, "w") as pipe:
            pipe.write(told)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"signal": None, **json.loads(told)}


KILLED = signal.SIGKILL.value
HERE = Path(__file__)

if __name__ == "__main__":
    _serve()
