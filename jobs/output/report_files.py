"""The files of an evaluation, in the run's folder or in a folder that the user names."""

from collections.abc import Sequence

from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.output.csv_tables import csv_files
from hybrid_batch.evaluation.output.html import write_html
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.image_roots import find_image_roots
from hybrid_batch.jobs.input.run_facts import read_run_facts
from hybrid_batch.jobs.output.thumbnails import thumbnail_loader

REPORT_FOLDER = "_report"  # Spark, Athena and DuckDB ignore names that start with `_` when they read the records


def write_report_files(report: Report, runs: Sequence[str], folder: str, notes: Sequence[str] = ()) -> None:
    """Write `report.json`, `report.html` and the tables of `csv_files` to a local folder or s3:// prefix.

    Existing files of these names are replaced. `runs` are the evaluated runs, whose settings the page shows, and whose
    images if this user started them on this machine; `notes` are sentences about them. Raises StorageFailed.
    """
    storage = open_storage(folder)
    roots = find_image_roots(runs).own
    files = {
        "report.json": f"{to_json(report)}\n".encode(),
        **csv_files(report),
        "report.html": write_html(report, thumbnail_loader(roots), read_run_facts(runs), notes).encode(),
    }
    for name, data in files.items():
        storage.replace(name, data)
