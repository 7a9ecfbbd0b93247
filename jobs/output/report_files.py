"""The files of an evaluation, in the run's folder or in a folder that the user names."""

from collections.abc import Sequence
from dataclasses import replace

from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.output.csv_tables import csv_files
from hybrid_batch.evaluation.output.html import write_html
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.image_roots import find_image_roots
from hybrid_batch.jobs.input.run_facts import read_run_facts
from hybrid_batch.jobs.output.thumbnails import thumbnail_loader

REPORT_FOLDER = "_report"  # Spark, Athena and DuckDB ignore names that start with `_` when they read the records


def default_storage(run: str) -> Storage:
    """The folder `_report` of a run. Nothing is written through a symbolic link, nor if the run is one."""
    storage = open_storage(run)
    if isinstance(storage, LocalStorage):
        storage = replace(storage, inside=storage.folder.parts[-1:])
    return storage.child(REPORT_FOLDER)


def write_report_files(report: Report, runs: Sequence[str], storage: Storage, notes: Sequence[str] = ()) -> None:
    """Write `report.json`, `report.html` and the tables of `csv_files` to a folder or prefix.

    Existing files of these names are replaced. `runs` are the evaluated runs, whose settings the page shows, and whose
    images if this user started them on this machine; `notes` are sentences about them. Raises StorageFailed.
    """
    roots = find_image_roots(runs).own
    files = {
        "report.json": f"{to_json(report)}\n".encode(),
        **csv_files(report),
        "report.html": write_html(report, thumbnail_loader(roots), read_run_facts(runs), notes).encode(),
    }
    for name, data in files.items():
        storage.replace(name, data)
