"""The line of the logs that explains a failure."""

import gzip

import pytest

from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.emr.jobs.logs import failure_line, read_logs
from hybrid_batch.emr.jobs.submitted_job import LogLocation

PYTHON = "Traceback (most recent call last):\n  File x\npyarrow.lib.ArrowInvalid: no\nValueError: bad 3\n"
JAVA = (
    "24/01/01 00:00:00 ERROR SparkContext: boom\n"
    'Exception in thread "main" org.apache.spark.SparkException: Job aborted\n\tat org.apache.X.y(Z.scala:1)\n'
    "Caused by: java.io.FileNotFoundException: No such file s3://b/k\n\tat java.base/java.lang.Thread.run\n"
)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ([JAVA, PYTHON, "hybrid-batch: the part is gone.\n24/01/01 00:00:00 INFO X: bye\n"], "the part is gone."),
        ([JAVA, PYTHON], "ValueError: bad 3"),
        ([JAVA], "java.io.FileNotFoundException: No such file s3://b/k"),
        (["bash: line 1: python3.11: command not found\n"], "bash: line 1: python3.11: command not found"),
        (["24/01/01 00:00:00 INFO A: x\n24/01/01 00:00:00 ERROR Y: lost\n"], "Y: lost"),
        (["24/01/01 00:00:00 INFO A: fine\n"], None),
        ([], None),
    ],
)
def test_the_most_informative_line_is_chosen(texts: list[str], line: str | None) -> None:
    assert failure_line(texts) == line


def test_an_incomplete_log_is_read_as_empty(bucket: str) -> None:
    import boto3

    s3 = boto3.client("s3")
    whole = gzip.compress(b"x" * 1000)
    for name, body in {"a/stderr.gz": whole[:-9], "a/stdout.gz": whole, "b/controller": b"plain"}.items():
        s3.put_object(Bucket=bucket, Key=f"logs/{name}", Body=body)
    texts = read_logs(LogLocation(open_storage(f"s3://{bucket}/logs"), ["a/", "b/"]))
    assert texts == {"a/stderr.gz": "", "a/stdout.gz": "x" * 1000, "b/controller": "plain"}
