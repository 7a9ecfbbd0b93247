"""What Spark runs on EMR: `spark_main.py [--by COLUMN]… [--skip-bad] RUN RESULT` leaves `report.json` in RESULT.

A step's standard output ends in a log file, so the report goes where it can be fetched whole."""

import sys
from argparse import ArgumentParser


def main(arguments: list[str]) -> None:
    """Evaluate the run at RUN into the storage RESULT; both are s3://."""
    from hybrid_batch.data.storage.storage import open_storage
    from hybrid_batch.evaluation.report import to_json
    from hybrid_batch.jobs.evaluate_spark import evaluate
    from hybrid_batch.jobs.input.part_list import find_work

    parser = ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("result")
    parser.add_argument("--by", action="append", default=[])
    parser.add_argument("--skip-bad", action="store_true")
    options = parser.parse_args(arguments)
    report = to_json(evaluate(find_work([options.run]).parts, options.by, options.skip_bad))
    open_storage(options.result).write_once("report.json", report.encode())


if __name__ == "__main__":
    from hybrid_batch.data.errors import HybridBatchError

    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(f"hybrid-batch: {error}")
