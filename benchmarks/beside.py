"""Other ways of loading the benchmark's file, merely loading it: no pseudonyms, no gate, no history.

``python -m benchmarks.beside URL FILE`` with dlt[postgres], pandas, SQLAlchemy and psycopg2 at hand, which are no
dependencies of Peel's. Prints seconds by way; imports are left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

CHUNK = 50_000  # rows


def by_dlt(url: str, name: str, rows: Callable[[], Iterator[Any]]) -> None:
    """Load through dlt, replacing what is there."""
    import dlt

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            name, destination=dlt.destinations.postgres(url), dataset_name=name, pipelines_dir=folder
        )
        pipeline.run(dlt.resource(rows(), name="bench_assignment", write_disposition="replace"))


def main() -> None:
    """Load the file each way, twice; the quicker of the two counts."""
    import pandas as pd
    import pyarrow.csv
    import sqlalchemy

    url, path = sys.argv[1:]
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))

    def records() -> Iterator[Any]:
        for chunk in pd.read_csv(path, chunksize=CHUNK):
            yield chunk.to_dict("records")

    def tables() -> Iterator[Any]:
        yield pyarrow.csv.read_csv(path)

    ways: dict[str, Callable[[], Any]] = {
        "dlt, Arrow tables": lambda: by_dlt(url, "dlt_arrow", tables),
        "dlt, records": lambda: by_dlt(url, "dlt_records", records),
        "DataFrame.to_sql": lambda: pd.read_csv(path).to_sql(
            "to_sql", engine, if_exists="replace", index=False, chunksize=CHUNK
        ),
    }
    for way, load in ways.items():
        took = []
        for _ in range(2):
            start = time.perf_counter()
            load()
            took.append(time.perf_counter() - start)
        print(f"{way:<20}{min(took):8.2f} s", flush=True)


if __name__ == "__main__":
    main()
