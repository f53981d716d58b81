"""Exit 0 if a component of Airflow is healthy. Run by Compose inside the component's own container.

Airflow's own `airflow jobs check` imports all of Airflow each time, some ten seconds of a processor every
time it is asked. This asks the API server, which knows every component's last sign of life.
"""

import datetime as dt
import json
import os
import sys
import urllib.request
from pathlib import Path

URL = os.environ.get("PEEL_HEALTH_URL", "http://api-server:8080/api/v2/monitor/health")
STARTED = Path(os.environ.get("PEEL_STARTED", "/tmp/started"))  # noqa: S108  written by entrypoint.sh


def healthy(component: str) -> bool:
    """Whether the component is healthy; ``api-server`` is when it answers and reaches its database."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy between containers
    with opener.open(URL, timeout=8) as answer:
        health = json.load(answer)
    if component == "api-server":
        return bool(health["metadatabase"]["status"] == "healthy")
    part = health[component.replace("-", "_")]
    beats = [value for name, value in part.items() if name.endswith("heartbeat") and value]
    if part["status"] != "healthy" or not beats:
        return False
    return dt.datetime.fromisoformat(beats[0]).timestamp() >= STARTED.stat().st_mtime


if __name__ == "__main__":
    try:
        sys.exit(0 if healthy(sys.argv[1]) else 1)
    except Exception as error:
        sys.exit(f"{type(error).__name__}")
