"""What Spark runs on EMR: `spark_main.py RUN RESULT` evaluates the run and leaves `report.json` in RESULT.

A step's standard output ends in a log file, so the report goes where it can be fetched whole."""

import sys


def main(run: str, result: str) -> None:
    """Evaluate the run at `run` into the storage `result`; both are s3://."""
    from data.storage import open_storage
    from evaluation.report import to_json
    from jobs.evaluate_spark import evaluate
    from jobs.parts import find_work

    report = to_json(evaluate(find_work([run]).parts))
    open_storage(result).write_once("report.json", report.encode())


if __name__ == "__main__":
    from data.errors import HybridBatchError

    try:
        main(*sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(f"hybrid-batch: {error}")
