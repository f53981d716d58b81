"""DAG files are imported as Airflow imports them, with an Airflow home of their own and no database."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
DAGS = HOME / "dags"

# before anything imports Airflow, which reads its configuration once and would make a home in ~
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="peel-airflow-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(DAGS))
os.environ.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(HOME / "plugins"))
sys.path.insert(0, str(DAGS))
