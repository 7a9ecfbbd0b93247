"""Other programs read a log as one table, by its folder and by plain patterns."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.log.records import SCHEMA
from tests.conftest import HANG_S
from tests.docs.pages import blocks
from tests.factories.records import random_records, write_run

COUNT_BY_RUN = "SELECT run, count(*) FROM read_parquet($1) GROUP BY run"
COUNTS = {"a": 100, "b": 50}
ATHENA_TYPES = {
    pa.string(): "string",
    pa.dictionary(pa.int32(), pa.string()): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.timestamp("us", tz="UTC"): "timestamp",
    SCHEMA.field("top5").type: "array<struct<label:string,score:float>>",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two runs with several parts each and the files of an evaluation, and of an incomplete run."""
    folder = tmp_path_factory.mktemp("log")
    for name, count in COUNTS.items():
        write_run(str(folder / f"run={name}"), random_records(count, list("abc")), 30)
    write_run(str(folder / "run=c"), random_records(40, list("abc")), 30, finished=False)
    for name in COUNTS:
        assert main(["evaluate", f"{folder}/run={name}", "--quiet"]) == 0
    return folder


EXPECTED = {**COUNTS, "c": 30}


def by_run(frame: Any) -> dict[str, int]:
    return dict(sorted((str(run), int(count)) for run, count in frame["run"].value_counts().items()))


READERS: dict[str, Callable[[str], dict[str, int]]] = {
    "pandas": lambda log: by_run(pd.read_parquet(log)),
    "pyarrow": lambda log: by_run(pq.read_table(log).to_pandas()),
    **{
        f"duckdb {pattern}": lambda log, pattern=pattern: dict(
            duckdb.sql(COUNT_BY_RUN, params=[f"{log}/{pattern}"]).fetchall()
        )
        for pattern in ("*/*.parquet", "**/*.parquet")
    },
    **{
        f"polars {pattern}": lambda log, pattern=pattern: by_run(
            pl.read_parquet(f"{log}/{pattern}", hive_partitioning=True).to_pandas()
        )
        for pattern in ("*/*.parquet", "**/*.parquet")
    },
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_sees_each_record_once(log: Path, reader: str) -> None:
    assert READERS[reader](str(log)) == EXPECTED


def test_only_parts_end_in_parquet(log: Path) -> None:
    files = [path.name for path in log.rglob("*") if path.is_file() and path.parent.name != "_report"]
    assert not list(log.glob("*/_report/*.parquet"))
    assert {name for name in files if name.endswith(".parquet")} == {f"part-0000{shard}.parquet" for shard in range(4)}
    assert {name for name in files if not name.endswith(".parquet")} == {"_run.json", "_images.pq", "_SUCCESS"}


def test_the_columns_have_the_same_types_in_duckdb_and_polars(log: Path) -> None:
    columns = duckdb.read_parquet(f"{log}/*/*.parquet", hive_partitioning=True)
    types = dict(zip(columns.columns, map(str, columns.types), strict=True))
    assert list(types) == [*SCHEMA.names, "run"]
    assert types["latency_us"] == "BIGINT"
    assert types["top5"] == 'STRUCT("label" VARCHAR, score FLOAT)[]'
    assert types["started_at"] == "TIMESTAMP WITH TIME ZONE"
    assert pl.scan_parquet(f"{log}/*/*.parquet").collect_schema().names()[: len(SCHEMA.names)] == SCHEMA.names


def test_the_table_of_athena_has_the_columns_of_the_schema() -> None:
    create, _ = statements("s3://BUCKET/LOG/")
    body = create[create.index("(") + 1 : create.index("PARTITIONED")].rpartition(")")[0]
    columns = [tuple(line.strip().rstrip(",").split(" ", 1)) for line in body.strip().splitlines()]
    assert columns == [(field.name, ATHENA_TYPES[field.type]) for field in SCHEMA]


SPARK = """
import json, sys
from hybrid_batch.jobs.engines import spark_session

log, names, hive, statements = json.loads(sys.argv[1])
spark_session.LOCAL_SPARK_CONF |= hive
with spark_session.spark_session() as spark:
    found = [spark.read.parquet(path).count() for path in (log, f"{log}/*/*.parquet")]
    for statement in statements:
        spark.sql(statement)
    counts = ", ".join(f"count({name})" for name in names)
    table = spark.sql("SELECT run, count(*) FROM hybrid_batch_log GROUP BY run")
    found += [dict(table.collect()), list(spark.sql(f"SELECT {counts} FROM hybrid_batch_log").first())]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_spark_reads_the_log_and_executes_the_statements_for_athena(log: Path, tmp_path: Path) -> None:
    hive = {
        "spark.master": "local[1]",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:log;create=true",
    }
    job = json.dumps([str(log), SCHEMA.names, hive, statements(log.as_uri())])
    # A process of its own, because a session keeps its catalogue; Hive writes derby.log in the working folder.
    result = subprocess.run(
        [sys.executable, "-c", SPARK, job], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=HANG_S
    )
    assert result.returncode == 0, result.stderr
    whole, by_pattern, runs, counts = json.loads(result.stdout.splitlines()[-1])
    assert whole == by_pattern == sum(EXPECTED.values())
    assert runs == EXPECTED
    table = pq.read_table(log)
    assert counts == [len(table) - table[name].null_count for name in SCHEMA.names]


def statements(location: str) -> list[str]:
    """The statements of the page, with a location."""
    (sql,) = blocks("docs/log.md", "sql")
    sql = re.sub(r"LOCATION '.*?'", f"LOCATION '{location}'", sql)
    return [statement.strip() for statement in sql.split(";") if statement.strip()]
