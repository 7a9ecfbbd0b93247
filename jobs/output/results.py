"""The files of an evaluation, beside the run or wherever they are asked for."""

from collections.abc import Iterable

from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.evaluation.output.csv_tables import csv_files
from hybrid_batch.evaluation.output.html import write_html
from hybrid_batch.evaluation.report import to_json
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.output.thumbnails import thumbnails

BESIDE = "_report"  # what begins with `_` is not taken for records by Spark, Athena or DuckDB


def write_results(report: Report, runs: Iterable[str], place: str) -> None:
    """Write `report.json`, `confusion.csv`, `per_class.csv`, `latency.csv` and `report.html` to a folder, local or
    s3://; what an earlier evaluation left there is replaced.

    `runs` are the runs evaluated, where images for the page are looked up. Raises StorageFailed.
    """
    storage = open_storage(place)
    files = {
        "report.json": f"{to_json(report)}\n".encode(),
        **csv_files(report),
        "report.html": write_html(report, thumbnails(runs)).encode(),
    }
    for name, data in files.items():
        storage.replace(name, data)
