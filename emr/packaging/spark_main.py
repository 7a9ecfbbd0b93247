"""The Spark script on EMR: `spark_main.py [--by COLUMN]… [--skip-unreadable] RUN RESULT` writes RESULT/report.json.

EMR writes the standard output of a step to a log, so the report is an object of its own.
"""

import sys
from argparse import ArgumentParser


def main(arguments: list[str]) -> None:
    """Evaluate the run in the s3:// folder RUN and write its report to the s3:// folder RESULT."""
    from hybrid_batch.data.storage.open_storage import open_storage
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.jobs.evaluate_spark import evaluate
    from hybrid_batch.jobs.input.part_list import list_parts

    parser = ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("result")
    parser.add_argument("--by", action="append", default=[])
    parser.add_argument("--skip-unreadable", action="store_true")
    options = parser.parse_args(arguments)
    report = to_json(evaluate(list_parts([options.run]).parts, options.by, options.skip_unreadable))
    open_storage(options.result).write_once("report.json", report.encode())


if __name__ == "__main__":
    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.data.terminal.escapes import escape_controls

    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
